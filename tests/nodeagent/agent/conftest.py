"""Fixtures of the agent's tests; see agent_kit."""

from agent_kit import agent, control_plane, engine_python, models_dir, serving

__all__ = ["agent", "control_plane", "engine_python", "models_dir", "serving"]
