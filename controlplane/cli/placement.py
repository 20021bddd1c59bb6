"""`slacktide placement`: which replica runs where, why, and what else could be.

Owns the noun and the order of its verbs. Refuses decisions and words of its own; the verbs are
in `placement_show`, `placement_apply`, `placement_explain`, `placement_history`,
`placement_hold`, `placement_whatif` and `placement_export`.
"""

import typer

from controlplane.cli.placement_apply import apply, plan
from controlplane.cli.placement_explain import explain
from controlplane.cli.placement_export import export
from controlplane.cli.placement_history import diff, history, rollback
from controlplane.cli.placement_hold import freeze, pin, pins, unfreeze, unpin
from controlplane.cli.placement_show import print_misfits, print_placements, show
from controlplane.cli.placement_whatif import whatif
from controlplane.cli.placement_words import diff_lines, summary_lines

__all__ = ["app", "diff_lines", "print_misfits", "print_placements", "summary_lines"]

app = typer.Typer(no_args_is_help=True, help="Which replica runs where, and why.")
for _verb in (
    show, plan, apply, explain, history, diff, rollback, pin, unpin, pins, freeze, unfreeze,
    whatif, export,
):  # fmt: skip
    app.command()(_verb)
