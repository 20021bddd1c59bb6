"""A slice of the soak on real engines; the whole of it is `make soak`."""

from pathlib import Path

import pytest
from soak.setting import soak_setting
from soak.settings import all_settings
from soak.verdict import as_row, wrongs

from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators

pytestmark = pytest.mark.engine


def test_outputs_equal_stock_when_budgets_change_and_requests_are_aborted(tmp_path: Path) -> None:
    """Overlap, pages of 16, prefix cache, mixed chunk, small KV: nothing differs or leaks."""
    setting = next(s for s in all_settings() if s.name == "overlap-page16-radix-mixed-smallkv")
    declare_vision_operators()
    model = make_tiny(tmp_path / "models", options=TinyOptions())
    row = as_row(soak_setting(setting, model=model, folder=tmp_path, seed=4, requests=120))
    assert wrongs([row]) == ()
    # How often is for the whole soak to say; that nothing happened would be no test.
    for path in ("parked", "resumed", "chunks_capped", "chunks_parked", "evicted"):
        assert row["counters"][path] > 0, path
