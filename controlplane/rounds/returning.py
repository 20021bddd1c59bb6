"""A rollback on its way: one step a round, until the earlier placement is reached.

Owns what a transaction does of it. Invariants: a step is verified and committed in move
groups as any plan is; the rollback ends once nothing is left to do, once nothing of a step
fits the state, or once the plan it returns to is no longer in the ledger.
"""

from controlplane.rounds.apply import Committed, Round, commit_plan, note_failure
from controlplane.rounds.rollback import Restoration, restored
from controlplane.rounds.snapshot import build_snapshot
from planner.model import Snapshot
from storage.plan_records import PlanOutcome, PlanRecord
from storage.records import FleetView
from storage.store import FleetTransaction


def restoration(view: FleetView, snapshot: Snapshot, target: PlanRecord) -> Restoration:
    """The next plan on the way back to a round's placement; later deployments stay."""
    later = {one.id for one in view.deployments if one.create_s > target.create_s}
    return restored(snapshot, target.plan.placements, untouched=later)


def return_step(state: FleetTransaction, round_: Round) -> Committed:
    """Commits the next step and ends the rollback where it was the last."""
    view = state.view()
    target = state.plan(view.state.rollback_round)
    if target is None:
        state.set_rollback(0)
        return note_failure(
            state,
            Round(trigger=round_.trigger, failure="the plan it returns to is pruned"),
            revision=view.state.revision,
        )
    way = restoration(view, build_snapshot(view, round_.demand, round_.settings), target)
    committed = commit_plan(state, way.plan, round_)
    if way.is_reached or committed.record.outcome is PlanOutcome.REFUSED:
        state.set_rollback(0)
    return committed
