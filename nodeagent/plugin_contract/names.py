"""The names by which agent, engine and plugin find each other."""

PLUGIN_VERSION = "3"
"""Version of this contract. The agent admits offline work only where the plugin says it."""

PLUGIN_NAME = "slacktide"
"""Entry point name, for the environment variable `SGLANG_PLUGINS`."""

CPU_PLATFORM_NAME = "slacktide_cpu"
"""Entry point name, for the environment variable `SGLANG_PLATFORM` on CPU nodes."""

DISABLE_VARIABLE = "SLACKTIDE_PLUGIN"
"""Environment variable: `off` leaves the engine stock."""

SGLANG_VERSION = "0.5.23"
"""The one SGLang version whose names the plugin's manifest describes."""

STATE_KEY = "slacktide"
"""Key under `/server_info` → `internal_states[]`; absent where the plugin does not run."""

REFUSAL_KEY = "slacktide_refusal"
"""Key beside it that says why the plugin refused to run, where it could say so."""
