"""The solver layer: its traps, its failures, its limits; and who loads it."""

import subprocess
import sys
from dataclasses import replace

import pytest
from ortools.math_opt.python import mathopt

import planner.placement.solve as solve_module
from planner.model import PlanStatus, Stage
from planner.placement.formulation import Outcome, Programme
from planner.placement.solve import solve
from planner.placement.verify import verify
from tests.planner.placement.fleets import batch, deployment, fleet, node

CHAT = deployment("chat", min_replicas=2, spread=True)


def _large_fleet():
    nodes = [node(f"n{i:02}", devices=8, gib=80, failure_domain=f"d{i % 5}") for i in range(50)]
    wanted = [
        deployment(
            f"m{i}",
            min_replicas=i % 3,
            max_replicas=100,
            tensor_parallel_size=(1, 1, 2, 4)[i % 4],
            spread=i % 2 == 0,
            stage=Stage.ACTIVE,
            online_work=2_000.0 + 3_000.0 * i,
            offline_work=30_000.0,
            offline_weight=1.0 + i % 3,
        )
        for i in range(8)
    ]
    return fleet(nodes, wanted)


def test_solve_proves_fifty_nodes_with_eight_deployments_within_its_first_limits():
    """400 devices, 8 deployments: a proved or small gap from node limits alone (seconds)."""
    plans = list(solve(_large_fleet(), work_left=lambda: 1.0))

    assert plans[-1].solver == "GSCIP"
    assert plans[-1].gap < 0.01
    assert verify(_large_fleet(), plans[-1]) == ()


def test_solve_yields_the_greedy_alone_when_no_work_is_left():
    """The search is not started on an empty budget."""
    plans = list(solve(fleet([node("n1"), node("n2")], [CHAT]), work_left=lambda: 0.0))

    assert [plan.solver for plan in plans] == ["greedy"]


@pytest.mark.parametrize("failure", [RuntimeError("solver died"), AttributeError("StatusNotOk")])
def test_solve_ends_with_the_incumbent_when_the_solver_raises(monkeypatch, caplog, failure):
    """Whatever MathOpt raises (trap 2: AttributeError for a status), the incumbent stands."""

    def die(*_args, **_kwargs):
        raise failure

    monkeypatch.setattr(Programme, "solve", die)
    plans = list(solve(fleet([node("n1"), node("n2")], [CHAT]), work_left=lambda: 1.0))

    assert [plan.solver for plan in plans] == ["greedy"]
    assert "placement_solver_failed" in caplog.text


def test_solve_ends_with_the_incumbent_when_the_solver_has_no_answer(monkeypatch):
    """A limit without a solution yields no plan and raises nothing (trap 3)."""
    nothing = Outcome(counts=None, bound=None, is_proven=False, detail="no solution")
    monkeypatch.setattr(Programme, "solve", lambda *_a, **_k: nothing)

    plans = list(solve(fleet([node("n1")], [CHAT]), work_left=lambda: 1.0))

    assert len(plans) == 1


def test_solve_refuses_a_plan_when_the_verifier_does(monkeypatch, caplog):
    """A wrong answer is logged and never yielded; the incumbent stands."""

    def verify_corrupted(snapshot, plan):
        if plan.solver == "GSCIP":
            plan = replace(plan, placements=plan.placements * 2)
        return verify(snapshot, plan)

    monkeypatch.setattr(solve_module, "verify", verify_corrupted)
    plans = list(solve(fleet([node("n1")], [deployment("chat")]), work_left=lambda: 1.0))

    assert [plan.solver for plan in plans] == ["greedy"]
    assert "placement_plan_refused" in caplog.text


def test_solve_keeps_the_incumbent_when_all_is_well():
    """Nothing to do is said so at once, and proved."""
    plans = list(solve(fleet([node("n1")], []), work_left=lambda: 1.0))

    assert plans[0].status is PlanStatus.KEPT_INCUMBENT
    assert plans[0].moves == ()


def test_bound_is_finite_and_below_when_only_the_greedy_ran():
    """Without a solver the bound is the trivial one: all backlog served at no cost."""
    snapshot = fleet([node("n1")], [batch("bulk", max_replicas=2)])
    plan = next(solve(snapshot, work_left=lambda: 0.0))

    assert -1e6 < plan.bound <= plan.objective


def _rates_model() -> mathopt.Model:
    """Counts with rates: 0.35 to 0.4 of online work, 0.45 of offline, n replicas; best -2.5."""
    model = mathopt.Model(name="trap")
    n = model.add_integer_variable(lb=0.0, ub=3.0)
    online, short, offline = (model.add_variable(lb=0.0, ub=10.0) for _ in range(3))
    model.add_linear_constraint(online + short >= 0.35)
    model.add_linear_constraint(online + short <= 0.4)
    model.add_linear_constraint(online <= 0.7 * n)
    model.add_linear_constraint(online + offline <= 0.9 * n)
    model.add_linear_constraint(offline <= 0.45)
    model.minimize(3000.0 * short - 10.0 * offline + 2.0 * n)
    return model


def test_gscip_answers_rightly_when_rates_are_continuous():
    """The solver in use takes threads, a seed and a node limit, and keeps fractions."""
    result = mathopt.solve(
        _rates_model(),
        mathopt.SolverType.GSCIP,
        params=mathopt.SolveParameters(threads=1, random_seed=7, node_limit=50),
    )

    assert result.termination.reason == mathopt.TerminationReason.OPTIMAL
    assert result.objective_value() == pytest.approx(-2.5)


def test_cp_sat_calls_a_feasible_model_infeasible_when_rates_are_continuous():
    """Trap 1: CP-SAT makes rates integral. Should this fail, it may be reconsidered."""
    result = mathopt.solve(_rates_model(), mathopt.SolverType.CP_SAT)

    assert result.termination.reason == mathopt.TerminationReason.INFEASIBLE


def test_highs_rejects_threads_with_an_error_without_a_common_base():
    """Trap 2: why `solve` catches Exception, and why HIGHS is not the solver here."""
    model = _rates_model()
    with pytest.raises(Exception):  # noqa: B017 - the point is that it is none in particular
        mathopt.solve(model, mathopt.SolverType.HIGHS, params=mathopt.SolveParameters(threads=1))


@pytest.mark.parametrize(
    "module",
    [
        "planner.batching.decide",
        "planner.latency.predictor",
        "planner.interference.frontier",
        "planner.reconcile.node",
        "planner.placement.verify",
        "planner.placement.diff",
        "planner.placement.greedy",
        "planner.placement.explain",
    ],
)
def test_module_does_not_load_the_solver(module):
    """An agent and a gateway import decisions without ortools in memory."""
    code = f"import sys, {module}; sys.exit('ortools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == 0
