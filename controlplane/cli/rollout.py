"""`slacktide rollout`: how far co-location is enabled, and the kill switch."""

from enum import StrEnum
from typing import Annotated

import typer
from slacktide.v1.fleet_service_pb2 import GetFleetRequest
from slacktide.v1.rollout_service_pb2 import SetKillSwitchRequest

from controlplane.cli.connection import connect
from controlplane.cli.output import Format, FormatOption, show_one
from controlplane.cli.wording import time_words
from controlplane.client import CALL_DEADLINE_S, new_request_id

app = typer.Typer(no_args_is_help=True, help="Stages of co-location, and the kill switch.")


class Switch(StrEnum):
    """What to do with the kill switch."""

    ON = "on"
    OFF = "off"
    STATUS = "status"


@app.command("kill-switch")
def kill_switch(
    action: Annotated[Switch, typer.Argument(help="on stops all offline work at once.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever looks next.")] = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Stops, or allows, all offline work of the fleet; survives restarts.

    Example:  slacktide rollout kill-switch on --reason "latency alarm"
    """
    with connect() as fleet:
        if action is Switch.STATUS:
            seen = fleet.fleet.GetFleet(GetFleetRequest(), timeout=CALL_DEADLINE_S)
            show_one(seen, [("kill switch", "on" if seen.kill_switch else "off")], output)
            return
        request = SetKillSwitchRequest(
            engaged=action is Switch.ON, reason=reason, request_id=new_request_id()
        )
        answer = fleet.rollout.SetKillSwitch(request, timeout=CALL_DEADLINE_S)
    facts = [
        ("kill switch", "on" if answer.engaged else "off"),
        ("since", time_words(answer.change_time)),
    ]
    show_one(answer, facts, output)
