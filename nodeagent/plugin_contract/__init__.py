"""What the agent and the scheduler plugin say to each other through SGLang's own doors.

Pure: imports neither sglang nor any transport, so the agent, the plugin and tests share
one encoder and one parser. Refuses values it cannot carry.

Map:
    names     version, entry points, environment variables, keys
    numbers   what a usable number is; ContractError
    labels    `priority` and `custom_params` of a request
    settings  budgets and coefficients for `POST /set_internal_state`
    state     what the plugin reports under `/server_info`
"""

from nodeagent.plugin_contract.labels import (
    OFFLINE_PRIORITY,
    ONLINE_PRIORITY,
    RequestLabels,
    offline_labels,
    online_labels,
    read_labels,
)
from nodeagent.plugin_contract.names import (
    CPU_PLATFORM_NAME,
    DISABLE_VARIABLE,
    PLUGIN_NAME,
    PLUGIN_VERSION,
    REFUSAL_KEY,
    SGLANG_VERSION,
    STATE_KEY,
)
from nodeagent.plugin_contract.numbers import ContractError
from nodeagent.plugin_contract.settings import (
    SettingsUpdate,
    check_budgets,
    decode_update,
    encode_budgets,
    encode_model,
    model_fingerprint,
)
from nodeagent.plugin_contract.state import (
    ClassLoad,
    Counters,
    MeasuredIteration,
    PluginState,
    parse_plugin_state,
    parse_refusal,
)

__all__ = [
    "CPU_PLATFORM_NAME",
    "DISABLE_VARIABLE",
    "OFFLINE_PRIORITY",
    "ONLINE_PRIORITY",
    "PLUGIN_NAME",
    "PLUGIN_VERSION",
    "REFUSAL_KEY",
    "SGLANG_VERSION",
    "STATE_KEY",
    "ClassLoad",
    "ContractError",
    "Counters",
    "MeasuredIteration",
    "PluginState",
    "RequestLabels",
    "SettingsUpdate",
    "check_budgets",
    "decode_update",
    "encode_budgets",
    "encode_model",
    "model_fingerprint",
    "offline_labels",
    "online_labels",
    "parse_plugin_state",
    "parse_refusal",
    "read_labels",
]
