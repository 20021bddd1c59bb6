"""RolloutService: the kill switch. Stages are set in a deployment's spec so far."""

import logging
from typing import Any

from slacktide.v1 import rollout_service_pb2, rollout_service_pb2_grpc

from controlplane.feed import StateFeed
from controlplane.messages.scalars import to_timestamp
from controlplane.services.lookups import checked_reason
from controlplane.services.mutations import mutate
from storage.store import FleetStore, FleetTransaction

_log = logging.getLogger(__name__)


class RolloutServicer(rollout_service_pb2_grpc.RolloutServiceServicer):
    """Admin: what may run offline work.

    Args:
        store: fleet state.
        feed: the newest view; its watchers carry the switch to the agents.
    """

    def __init__(self, *, store: FleetStore, feed: StateFeed) -> None:
        self._store = store
        self._feed = feed

    async def SetKillSwitch(  # noqa: N802
        self, request: rollout_service_pb2.SetKillSwitchRequest, context: Any
    ) -> rollout_service_pb2.SetKillSwitchResponse:
        """Stops or allows all offline work of the fleet; survives restarts."""

        def work(state: FleetTransaction) -> rollout_service_pb2.SetKillSwitchResponse:
            after = state.set_kill_switch(
                engaged=request.engaged, reason=checked_reason(request.reason)
            )
            return rollout_service_pb2.SetKillSwitchResponse(
                engaged=after.kill_switch, change_time=to_timestamp(after.kill_switch_change_s)
            )

        response = await mutate(
            self._store,
            self._feed,
            request,
            answer=rollout_service_pb2.SetKillSwitchResponse,
            work=work,
        )
        _log.warning("kill_switch_set engaged=%s", response.engaged)
        return response
