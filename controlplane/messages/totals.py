"""Totals, differences and explanations as messages."""

from dataclasses import asdict

from slacktide.v1 import placement_pb2, placement_service_pb2
from slacktide.wire.names import resource_name

from controlplane.messages.plans import to_misfit, to_term
from controlplane.rounds.explanation import Explanation
from controlplane.rounds.totals import Totals
from planner.placement.explaining.differences import ChangeKind, Difference

_KIND_VALUES = {
    ChangeKind.ONE_MORE_REPLICA: placement_service_pb2.DIFFERENCE_KIND_ONE_MORE_REPLICA,
    ChangeKind.ONE_LESS_REPLICA: placement_service_pb2.DIFFERENCE_KIND_ONE_LESS_REPLICA,
    ChangeKind.BOUND_RELAXED: placement_service_pb2.DIFFERENCE_KIND_BOUND_RELAXED,
    ChangeKind.NODE_OPENED: placement_service_pb2.DIFFERENCE_KIND_NODE_OPENED,
    ChangeKind.NODE_ADDED: placement_service_pb2.DIFFERENCE_KIND_NODE_ADDED,
}


def to_totals(totals: Totals) -> placement_pb2.PlacementTotals:
    """What a placement serves and takes; the fields are named alike."""
    return placement_pb2.PlacementTotals(**asdict(totals))


def to_deployment_totals(deployment: str, totals: Totals) -> placement_pb2.DeploymentTotals:
    """The same of one deployment."""
    return placement_pb2.DeploymentTotals(
        deployment=resource_name("deployments", deployment), totals=to_totals(totals)
    )


def to_explanation(
    explanation: Explanation, *, revision: int
) -> placement_service_pb2.ExplainPlacementResponse:
    """Why a deployment has what it has."""
    return placement_service_pb2.ExplainPlacementResponse(
        misfits=[to_misfit(one) for one in explanation.misfits],
        binding=explanation.binding,
        summary=explanation.summary,
        differences=[_difference(one) for one in explanation.differences],
        totals=to_totals(explanation.totals),
        revision=revision,
    )


def _difference(difference: Difference) -> placement_service_pb2.Difference:
    return placement_service_pb2.Difference(
        kind=_KIND_VALUES[difference.kind],
        change=difference.change,
        node=resource_name("nodes", difference.node or ""),
        fits=difference.fits,
        objective_difference=difference.objective,
        terms=[to_term(one) for one in difference.terms],
        misfit=None if difference.misfit is None else to_misfit(difference.misfit),
        would_fit_if=difference.would_fit_if,
    )
