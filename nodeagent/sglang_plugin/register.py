"""Entry point of the scheduler plugin (group `sglang.srt.plugins`).

Owns the decision to install: not where `SLACKTIDE_PLUGIN=off`, and not where a name or
signature of SGLang differs from the manifest. Without it the engine runs stock; the agent
finds no state under `/server_info`, and the reason where one could be hooked in.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from nodeagent.plugin_contract import DISABLE_VARIABLE, REFUSAL_KEY, STATE_KEY
from nodeagent.sglang_plugin.manifest import mismatches

logger = logging.getLogger(__name__)

_SCHEDULER = "sglang.srt.managers.scheduler.Scheduler"
_INTERNAL_STATE = (
    "sglang.srt.managers.scheduler_components.internal_state"
    ".SchedulerInternalStateController.get_internal_state"
)


def register() -> None:
    """Called by SGLang in each of its processes before it starts."""
    if os.environ.get(DISABLE_VARIABLE, "").lower() == "off":
        logger.info("slacktide_disabled variable=%s", DISABLE_VARIABLE)
        return
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    scheduler, problems = _load()
    HookRegistry.register(_INTERNAL_STATE, _reporter("; ".join(problems)), HookType.AFTER)
    if scheduler is None:
        logger.error("slacktide_refused reasons=%r", problems)
        return
    HookRegistry.register(_SCHEDULER, scheduler, HookType.REPLACE)


def _load() -> tuple[type | None, tuple[str, ...]]:
    """The scheduler class to install, or None and why not."""
    problems = mismatches()
    if problems:
        return None, problems
    try:
        from nodeagent.sglang_plugin.scheduler import ColocationScheduler
    except Exception as error:  # noqa: BLE001 - the engine serves without us, and says why
        return None, (f"plugin failed to load: {type(error).__name__}: {error}",)
    return ColocationScheduler, ()


def _reporter(refusal: str) -> Callable[..., Any]:
    """An AFTER hook that adds what the engine says of the plugin to `/server_info`."""

    def report(output: Any, controller: Any, *_: Any, **__: Any) -> Any:
        scheduler = controller.scheduler
        colocation = getattr(scheduler, "slacktide", None)
        if colocation is not None:
            try:
                output.internal_state[STATE_KEY] = colocation.state().to_values()
            except Exception as error:  # noqa: BLE001 - see Colocation.fail
                colocation.fail(error)
                output.internal_state[REFUSAL_KEY] = colocation.fault
        elif reason := refusal or getattr(scheduler, "slacktide_refusal", ""):
            output.internal_state[REFUSAL_KEY] = reason
        return output

    return report
