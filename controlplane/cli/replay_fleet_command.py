"""What `slacktide replay --fleet` does, loaded with the program.

Owns writing and showing the answer. Refuses to load the simulator before it is asked for:
the program starts quickly for every other command.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.cli.output import Format, say, show_mapping
from controlplane.cli.replay_fleet_keys import FLEET_HELP


def print_fleet_keys() -> None:
    """Prints a fleet's file with all that it may hold."""
    print(FLEET_HELP, end="")


def replay_fleet_file(
    path: Path,
    *,
    files: Mapping[str, Path | None],
    scaled_load: Sequence[str],
    lost_nodes: Sequence[str],
    shows_progress: bool | None,
    output: Format,
) -> None:
    """Replays a fleet's file, writes the report and its figures, shows the answer.

    Args:
        path: Of the file.
        files: Where the answer goes: report, json_file.
        scaled_load: Words DEPLOYMENT=FACTOR, supposed instead of the file's load.
        lost_nodes: Ids of nodes supposed not to be.
        shows_progress: On stderr; None: where that is a terminal.
        output: How to show the answer.

    Raises:
        CommandError: What the file asks for cannot be.
    """
    from controlplane.cli.replay_fleet import replayed_fleet, show_fleet  # as above
    from controlplane.cli.replay_fleet_supposed import supposing
    from planner.replay.fleet_document import to_values
    from planner.replay.fleet_report import fleet_report_html

    document = replayed_fleet(
        path, supposing=supposing(scaled_load, lost_nodes), shows_progress=shows_progress
    )
    report, json_file = files["report"], files["json_file"]
    if report is not None:
        write_file(report, fleet_report_html(document))
    if json_file is not None:
        write_file(json_file, json.dumps(to_values(document), ensure_ascii=False) + "\n")
    if output is Format.TABLE:
        show_fleet(document)
    else:
        show_mapping(to_values(document), output)


def write_file(path: Path, content: str) -> None:
    """Writes a file and says so."""
    path.write_text(content, encoding="utf-8")
    say(f"wrote {path}")
