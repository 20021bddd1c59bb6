"""`slacktide placement explain`: why a deployment has what it has, and what would change it."""

from typing import Annotated

import typer
from slacktide.v1.placement_pb2 import Misfit
from slacktide.v1.placement_service_pb2 import (
    Difference,
    ExplainPlacementRequest,
    ExplainPlacementResponse,
)

from controlplane.cli.connection import connect
from controlplane.cli.lookup import (
    complete_deployment,
    complete_node,
    find_deployment,
    find_node,
)
from controlplane.cli.output import show_table
from controlplane.cli.placement_formats import WideFormat, WideOption, shown_as_data
from controlplane.cli.placement_words import folded, term_words, totals_words
from controlplane.cli.wording import bare, size_words
from controlplane.client import SOLVE_DEADLINE_S

_MOST_NODES = 5


def explain(
    deployment: Annotated[
        str,
        typer.Argument(help="Deployment id or prefix.", autocompletion=complete_deployment),
    ],
    node: Annotated[str, typer.Option(help="Why not here?", autocompletion=complete_node)] = "",
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Names what binds a deployment, and what small changes would gain or cost.

    Each change is evaluated, not solved: the objective with it less the objective without, term
    by term, work routed anew in both, other replicas where they are. A round that solves may
    find better; `slacktide placement whatif` solves. What does not fit says what would make it
    fit. Tenants' fair shares are not weighed; where there are some, the answer says so.

    Example:  slacktide placement explain chat --node n1
    """
    with connect() as fleet:
        request = ExplainPlacementRequest(
            deployment=find_deployment(fleet, deployment),
            node=find_node(fleet, node) if node else "",
        )
        answer = fleet.placement.ExplainPlacement(request, timeout=SOLVE_DEADLINE_S)
    if shown_as_data(answer, output):
        return
    wide = output is WideFormat.WIDE
    print("\n".join(explained_lines(bare(request.deployment), answer, wide=wide)))
    if wide and answer.misfits:
        headers = ["node", "dimension", "needed", "available"]
        rows = [
            [bare(m.node) or "(fleet)", m.dimension, _amount(m, m.needed), _amount(m, m.available)]
            for m in answer.misfits
        ]
        show_table(headers, rows, right=[False, False, True, True])


def explained_lines(
    deployment: str, answer: ExplainPlacementResponse, *, wide: bool = False
) -> list[str]:
    """What binds, then each small change, then why one more replica fits no node."""
    lines = [f"deployment {deployment} at revision {answer.revision}"]
    lines.append(f"binding: {answer.binding or 'not said'}")
    if answer.summary:
        lines.append(answer.summary)
    if wide and answer.HasField("totals"):
        lines.append(totals_words(answer.totals))
    if answer.differences:
        lines.append(
            "small changes, each evaluated and not solved: what it does to the objective"
            " (negative is better):"
        )
        for difference in answer.differences:
            lines += [f"  {line}" for line in difference_lines(difference)]
    if answer.misfits:
        lines.append("why one more replica fits no node, the nearest miss first:")
        messages = [f"  {misfit.message}" for misfit in answer.misfits]
        lines += messages if wide else folded(messages, most=_MOST_NODES, what="nodes")
    return lines


def difference_lines(difference: Difference) -> list[str]:
    """One change: its gain or cost term by term, or why it does not fit and what would help."""
    if difference.fits:
        terms = term_words(difference.terms)
        effect = f": {terms}" if terms else ": nothing changes"
        return [f"{difference.change}: {difference.objective_difference:+.6g}{effect}"]
    why = f": {difference.misfit.message}" if difference.misfit.message else ""
    lines = [f"{difference.change}: does not fit{why}"]
    if difference.would_fit_if:
        lines.append(f"  would fit if: {difference.would_fit_if}")
    return lines


def _amount(misfit: Misfit, value: float) -> str:
    return size_words(round(value)) if misfit.dimension == "memory" else f"{value:.6g}"
