"""The order of a rolling upgrade."""

from hypothesis import given
from hypothesis import strategies as st

from planner.rollout.upgrade import Action, ProcessKind, SeenProcess, Step, plan_upgrade

CONTROL_PLANE, GATEWAY, AGENT = ProcessKind.CONTROL_PLANE, ProcessKind.GATEWAY, ProcessKind.AGENT


def seen(kind: ProcessKind, id_: str, version: str = "1", **how: bool) -> SeenProcess:
    return SeenProcess(kind=kind, id=id_, version=version, **how)


FLEET = [
    seen(AGENT, "n10"), seen(AGENT, "n2"), seen(GATEWAY, "g1"), seen(CONTROL_PLANE, "cp1"),
]  # fmt: skip


def order(steps: tuple[Step, ...]) -> list[str]:
    return [step.id for step in steps]


def test_plan_upgrade_goes_from_control_plane_to_agents_when_all_are_old() -> None:
    """Control plane, gateway, then agents by number, not by letter."""
    assert order(plan_upgrade(FLEET, target="2")) == ["cp1", "g1", "n2", "n10"]


def test_plan_upgrade_empties_a_node_first_when_its_agent_runs() -> None:
    """No agent is replaced under running requests."""
    step = plan_upgrade([seen(AGENT, "n1")], target="2")[0]
    assert step.actions == (Action.DRAIN, Action.REPLACE, Action.UNCORDON)


def test_plan_upgrade_is_empty_when_all_run_the_target() -> None:
    """A second walk does nothing."""
    assert plan_upgrade([seen(AGENT, "n1", "2"), seen(GATEWAY, "g1", "2")], target="2") == ()


def test_plan_upgrade_only_uncordons_when_a_walk_stopped_after_the_replacement() -> None:
    """A node held by an earlier walk is given back, not drained again."""
    steps = plan_upgrade([seen(AGENT, "n1", "2", is_held=True)], target="2")
    assert steps[0].actions == (Action.UNCORDON,)


def test_plan_upgrade_takes_up_the_held_node_first_when_a_walk_stopped() -> None:
    """One node is out at a time: the one that is out already comes first."""
    steps = plan_upgrade([seen(AGENT, "n1"), seen(AGENT, "n2", is_held=True)], target="2")
    assert order(steps) == ["n2", "n1"]


def test_plan_upgrade_does_not_drain_when_nothing_runs() -> None:
    """An agent that died needs no drain, and an operator's cordon stays."""
    steps = plan_upgrade([seen(AGENT, "n1", is_running=False)], target="2")
    assert steps[0].actions == (Action.REPLACE,)


processes = st.lists(
    st.builds(
        SeenProcess,
        kind=st.sampled_from(ProcessKind),
        id=st.from_regex(r"[a-z][0-9]{1,2}", fullmatch=True),
        version=st.sampled_from(["1", "2"]),
        is_running=st.booleans(),
        is_held=st.booleans(),
    ),
    unique_by=lambda p: (p.kind, p.id),
    max_size=12,
)


def act(process: SeenProcess, step: Step, target: str) -> SeenProcess:
    replaced = Action.REPLACE in step.actions
    return SeenProcess(
        kind=process.kind,
        id=process.id,
        version=target if replaced else process.version,
        is_running=process.is_running or replaced,
        is_held=process.is_held and Action.UNCORDON not in step.actions,
    )


@given(processes)
def test_plan_upgrade_reaches_the_target_when_its_steps_are_taken(fleet: list[SeenProcess]) -> None:
    """Taking the first step and asking again ends with every process at the target."""
    for _ in range(len(fleet) + 1):
        steps = plan_upgrade(fleet, target="2")
        if not steps:
            break
        first = steps[0]
        fleet = [act(p, first, "2") if (p.kind, p.id) == (first.kind, first.id) else p
                 for p in fleet]  # fmt: skip
    assert plan_upgrade(fleet, target="2") == ()
    assert all(p.version == "2" and p.is_running for p in fleet)


@given(processes, st.randoms(use_true_random=False))
def test_plan_upgrade_is_the_same_when_the_processes_come_in_another_order(
    fleet: list[SeenProcess], source: object
) -> None:
    """The order of looking does not matter."""
    shuffled = list(fleet)
    source.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan_upgrade(fleet, target="2") == plan_upgrade(shuffled, target="2")
