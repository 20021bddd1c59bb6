"""A snapshot with a plan for it, changed a little at a time, and the rules that notice."""

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings

from planner.model import Desired, Move, MoveKind, Placement, Plan, Snapshot
from planner.placement.verify import verify
from tests.planner.placement.fleets import deployment, fleet, node, running

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A snapshot and a plan for it."""

    snapshot: Snapshot
    plan: Plan

    def rules(self):
        """Rules the plan breaks."""
        return {violation.rule for violation in verify(self.snapshot, self.plan)}

    def placement(self, of, *, is_new):
        """Index of the first placement of a deployment that is new, or that is kept."""
        for i, p in enumerate(self.plan.placements):
            if p.deployment == of and (p.replica is None) is is_new:
                return i
        raise AssertionError(f"no such placement of {of}")

    def with_placement(self, index, **fields):
        """The plan with one placement changed, its moves made anew."""
        placements = list(self.plan.placements)
        placements[index] = replace(placements[index], **fields)
        return self.with_placements(placements)

    def with_placements(self, placements):
        """The plan with other placements, its moves made anew."""
        plan = replace(
            self.plan,
            placements=tuple(placements),
            moves=moves(self.snapshot, placements),
        )
        return replace(self, plan=plan)

    def with_node(self, name, **fields):
        """The snapshot with one node changed."""
        nodes = tuple(replace(n, **fields) if n.id == name else n for n in self.snapshot.nodes)
        return replace(self, snapshot=replace(self.snapshot, nodes=nodes))

    def without_node(self, name):
        """The snapshot without one node."""
        nodes = tuple(n for n in self.snapshot.nodes if n.id != name)
        return replace(self, snapshot=replace(self.snapshot, nodes=nodes))

    def with_deployment(self, name, **fields):
        """The snapshot with one deployment changed."""
        wanted = tuple(
            replace(d, **fields) if d.id == name else d for d in self.snapshot.deployments
        )
        return replace(self, snapshot=replace(self.snapshot, deployments=wanted))

    def with_allocation(self, replica, **fields):
        """The snapshot with one allocation changed."""
        rows = tuple(
            replace(a, **fields) if a.replica == replica else a for a in self.snapshot.allocations
        )
        return replace(self, snapshot=replace(self.snapshot, allocations=rows))

    def with_moves(self, planned):
        """The plan with other moves."""
        return replace(self, plan=replace(self.plan, moves=tuple(planned)))

    def beside(self, *allocations):
        """More allocations in the snapshot; those that are not going are kept."""
        rows = (*self.snapshot.allocations, *allocations)
        kept = [
            Placement(
                replica=a.replica,
                deployment=a.deployment,
                node=a.node,
                devices=a.devices,
                online_share=1.0,
                latency_budget_ms=20.0,
            )
            for a in allocations
            if a.desired is Desired.RUNNING
        ]
        grown = replace(self, snapshot=replace(self.snapshot, allocations=rows))
        return grown.with_placements([*self.plan.placements, *kept])


def moves(snapshot, placements):
    """The least that is said: one move a change, each its own group."""
    kept = {p.replica for p in placements}
    found = [
        Move(group=i, kind=MoveKind.ADD, replica=f"new:{i}", deployment=p.deployment, node=p.node)
        for i, p in enumerate(placements)
        if p.replica is None
    ]
    found += [
        Move(
            group=1000 + i,
            kind=MoveKind.REMOVE,
            replica=a.replica,
            deployment=a.deployment,
            node=a.node,
        )
        for i, a in enumerate(snapshot.allocations)
        if a.replica not in kept
    ]
    return tuple(found)


class Spoilers:
    """Ways to spoil a valid plan, each with the rule that has to refuse it."""

    def __init__(self):
        self._rules = {}

    def by(self, rule):
        """Registers a mutation of a case."""

        def register(mutate):
            self._rules[mutate.__name__] = (rule, mutate)
            return mutate

        return register

    @property
    def names(self):
        """For parametrising."""
        return sorted(self._rules)

    def refuse(self, name, cases):
        """Whatever case is drawn, it is valid, and its mutation is refused by the rule."""
        rule, mutate = self._rules[name]

        @QUICK
        @given(cases)
        def spoilt(case):
            assert case.rules() == set()
            assert rule in mutate(case).rules()

        spoilt()


def test_moves_lead_to_the_placements_when_a_case_is_changed():
    """One ADD for what is new, one REMOVE for what is no longer kept, and nothing else."""
    snapshot = fleet(
        [node("n0")],
        [deployment("chat"), deployment("code")],
        [running("r0", "chat", "n0", 0), running("r1", "chat", "n0", 1)],
    )
    kept = Placement(replica="r1", deployment="chat", node="n0", devices=(1,))
    new = Placement(replica=None, deployment="code", node="n0", devices=(0,))

    assert [(m.kind, m.replica) for m in moves(snapshot, [kept, new])] == [
        (MoveKind.ADD, "new:1"),
        (MoveKind.REMOVE, "r0"),
    ]
