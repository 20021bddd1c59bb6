"""HiGHS through MathOpt as the counts use it: its traps, limits and failures."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.linear_solver import pywraplp
from ortools.math_opt.python import mathopt
from scipy.optimize import Bounds, LinearConstraint, milp

from planner.placement.counts import solver as solver_module
from planner.placement.counts.programme import Programme, whole
from planner.placement.counts.solver import SolverError, solve_lp, solve_mip
from planner.placement.counts.sparse import Sparse
from tests.planner.placement.drawn_counts import CELL, ONLINE, SHAPE, WANTED, problem_of

_LIMITS = {"node_limit": 50, "relative_gap": 0.0}


def _rates() -> Sparse:
    """Counts with rates: 0.35 to 0.4 of online work, 0.45 of offline, n replicas; best -2.5."""
    made = Sparse()
    n = made.column(3.0, cost=2.0, is_integer=True)
    online = made.column(10.0)
    short = made.column(10.0, cost=3000.0)
    offline = made.column(10.0, cost=-10.0)
    made.at_least([(online, 1.0), (short, 1.0)], 0.35)
    made.at_most([(online, 1.0), (short, 1.0)], 0.4)
    made.at_most([(online, 1.0), (n, -0.7)], 0.0)
    made.at_most([(online, 1.0), (offline, 1.0), (n, -0.9)], 0.0)
    made.at_most([(offline, 1.0)], 0.45)
    return made


def _large() -> Programme:
    """Sixteen deployments of odd sizes in four cells: more than a node of the search answers."""
    cells = tuple(CELL for _ in range(4))
    problem = problem_of(
        cells=tuple(_with(cell, domain=i, slots=7, nodes=1) for i, cell in enumerate(cells)),
        shapes=tuple(_with(SHAPE, deployment=d, slots=1 + d % 3) for d in range(16)),
        wanted=tuple(
            _with(WANTED, classes=(_with(ONLINE, work=0.2 + 0.37 * (d % 5), failover_ratio=0.5),))
            for d in range(16)
        ),
    )
    return Programme(problem, whole(problem), counts={})


def _with(value, **fields):
    return type(value)(
        **{name: getattr(value, name) for name in type(value).__dataclass_fields__} | fields
    )


def test_mip_keeps_fractions_when_rates_are_continuous():
    """Trap 1, which CP-SAT falls into: rates are not integers."""
    found = solve_mip(_rates().proto(), **_LIMITS)

    assert found.cost == pytest.approx(-2.5)
    assert found.is_optimal
    assert found.values[0] == pytest.approx(1.0)
    assert found.values[3] == pytest.approx(0.45)


def test_cp_sat_packs_rightly_when_all_is_integer():
    """What CP-SAT is good for: three sizes into two bins."""
    model = mathopt.Model(name="packing")
    sizes = (3, 4, 5, 6)
    lies = [[model.add_binary_variable() for _ in range(2)] for _ in sizes]
    for own in lies:
        model.add_linear_constraint(sum(own) <= 1)
    for b in range(2):
        model.add_linear_constraint(
            sum(size * own[b] for size, own in zip(sizes, lies, strict=True)) <= 9
        )
    model.maximize(sum(size * x for size, own in zip(sizes, lies, strict=True) for x in own))
    result = mathopt.solve(model, mathopt.SolverType.CP_SAT)

    assert result.termination.reason is mathopt.TerminationReason.OPTIMAL
    assert result.objective_value() == 18


def test_parameters_name_no_threads_and_no_time(monkeypatch):
    """Trap 2: `threads` fails unreadably; and a limit in time would not reproduce."""
    seen = []
    real = mathopt.solve

    def watched(*args, params, **fields):
        seen.append(params)
        return real(*args, params=params, **fields)

    monkeypatch.setattr(solver_module.mathopt, "solve", watched)
    solve_lp(_rates().proto(is_relaxed=True))
    solve_mip(_rates().proto(), node_limit=3, relative_gap=0.1)

    assert [params.threads for params in seen] == [None, None]
    assert [params.time_limit for params in seen] == [None, None]
    assert seen[0].random_seed == seen[1].random_seed is not None
    assert (seen[1].node_limit, seen[1].relative_gap_tolerance) == (3, 0.1)


def test_limit_in_nodes_gives_values_and_a_bound_when_it_is_reached():
    """Trap 3, of other interfaces: at a limit the feasible values found are returned."""
    found = solve_mip(_large().sparse.proto(), node_limit=1, relative_gap=0.0)
    better = solve_mip(_large().sparse.proto(), node_limit=30, relative_gap=0.0)

    assert found.bound <= better.bound + 1e-6 <= better.cost + 2e-6
    assert better.cost <= found.cost + 1e-6


def test_same_model_gives_the_same_values_when_solved_again():
    """One thread, a seed, node limits: to the last bit."""
    one, other = (solve_mip(_large().sparse.proto(), node_limit=5, relative_gap=0.0) for _ in "12")

    assert list(one.values) == list(other.values)
    assert (one.cost, one.bound) == (other.cost, other.bound)


def test_partial_hint_is_completed_and_never_lost():
    """Counts alone are hinted; the answer costs no more than they do with their best work.

    Without the hint there is no answer at that limit at all.
    """
    programme = _large()
    reached = solve_mip(programme.sparse.proto(), node_limit=30, relative_gap=0.0)
    start = {column: round(reached.values[column]) for column in programme.n.values()}
    with pytest.raises(SolverError):
        solve_mip(programme.sparse.proto(), node_limit=0, relative_gap=1.0)
    again = solve_mip(programme.sparse.proto(), node_limit=0, relative_gap=1.0, start=start)

    assert again.cost <= reached.cost + 1e-4 * abs(reached.cost)


def test_infeasible_and_unbounded_models_are_errors():
    """No programme of ours is either: whatever says so is a defect, not a plan."""
    contradiction = Sparse()
    one = contradiction.column(1.0, is_integer=True)
    contradiction.at_least([(one, 1.0)], 2.0)
    endless = Sparse()
    endless.column(float("inf"), cost=-1.0)

    with pytest.raises(SolverError):
        solve_mip(contradiction.proto(), **_LIMITS)
    with pytest.raises(SolverError):
        solve_lp(endless.proto())


@pytest.mark.parametrize("failure", [RuntimeError("died"), AttributeError("'StatusNotOk'")])
def test_whatever_mathopt_raises_is_a_solver_error(monkeypatch, failure):
    """Its errors share no base; the cause is kept."""

    def die(*_args, **_kwargs):
        raise failure

    monkeypatch.setattr(solver_module.mathopt, "solve", die)
    with pytest.raises(SolverError, match=type(failure).__name__) as raised:
        solve_lp(_rates().proto())
    assert raised.value.__cause__ is failure


@pytest.mark.parametrize(
    ("reason", "has_values"),
    [
        (mathopt.TerminationReason.NO_SOLUTION_FOUND, False),
        (mathopt.TerminationReason.FEASIBLE, False),
        (mathopt.TerminationReason.NUMERICAL_ERROR, True),
        (mathopt.TerminationReason.IMPRECISE, True),
        (mathopt.TerminationReason.OTHER_ERROR, True),
    ],
)
def test_values_are_not_read_when_the_status_does_not_vouch_for_them(
    monkeypatch, reason, has_values
):
    """Status first; then whether there is a solution; values last."""

    def unread():
        raise AssertionError("values read")

    answer = SimpleNamespace(
        termination=SimpleNamespace(reason=reason, detail="as drawn"),
        has_primal_feasible_solution=lambda: has_values,
        variable_values=unread,
        objective_value=unread,
    )
    monkeypatch.setattr(solver_module.mathopt, "solve", lambda *_a, **_k: answer)
    with pytest.raises(SolverError, match="as drawn"):
        solve_lp(_rates().proto())


def test_pywraplp_names_another_solver_when_it_runs_highs():
    """Trap 4: its label says PDLP. Should this fail, the label was mended."""
    assert "PDLP" in pywraplp.Solver.CreateSolver("HIGHS").SolverVersion()


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_mip_costs_what_another_solver_finds(data):
    """Small random models with duplicate terms, against scipy's own."""
    amount = st.sampled_from([-2.0, -0.5, 0.0, 1.0, 1.5, 3.0])
    n = data.draw(st.integers(1, 5))
    made = Sparse()
    for _ in range(n):
        made.column(
            data.draw(st.sampled_from([1.0, 3.0])),
            cost=data.draw(amount),
            is_integer=data.draw(st.booleans()),
        )
    rows, limits = [], []
    for _ in range(data.draw(st.integers(0, 4))):
        terms = [(data.draw(st.integers(0, n - 1)), data.draw(amount)) for _ in range(n)]
        limits.append(data.draw(st.sampled_from([0.0, 2.0, 5.0])))  # none at all satisfies it
        made.at_most(terms, limits[-1])
        rows.append([sum(v for c, v in terms if c == k) for k in range(n)])
    other = milp(
        made.cost,
        integrality=[int(one) for one in made.is_integer],
        bounds=Bounds(made.lower, made.upper),
        constraints=[LinearConstraint(rows, ub=limits)] if rows else [],
    )
    found = solve_mip(made.proto(), **_LIMITS)

    assert found.cost == pytest.approx(other.fun, abs=1e-6)
    assert solve_lp(made.proto(is_relaxed=True)).bound <= found.cost + 1e-6
    assert made.cost_of(found.values, range(n)) == pytest.approx(found.cost, abs=1e-6)
