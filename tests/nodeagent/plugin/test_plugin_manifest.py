"""The plugin refuses an SGLang it was not written for, and names the difference."""

import pkgutil
import sys

import pytest

from nodeagent.sglang_plugin import register
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from nodeagent.sglang_plugin.manifest import SIGNATURES, mismatches

declare_vision_operators()


def test_manifest_holds_when_pinned_sglang_is_installed() -> None:
    """Every name we rest on is there, with its parameters."""
    assert mismatches() == ()


def test_manifest_names_what_differs_when_signature_changed() -> None:
    """A missing name and a changed one are both reported."""
    owner = "managers.schedule_policy.PrefillAdder"
    found = mismatches({owner: {"add_chunked_req": "self req budget", "gone": "self"}})
    assert len(found) == 2
    assert f"sglang.srt.{owner}.add_chunked_req: takes (self req), expected" in found[0]
    assert f"sglang.srt.{owner}.gone" in found[1]


def test_manifest_refuses_when_version_is_another() -> None:
    """The version alone is enough to refuse."""
    (problem,) = mismatches({}, expected_version="0.5.22")
    assert "0.5.22" in problem


NAMES = [(owner, name) for owner, names in SIGNATURES.items() for name in names]


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_manifest_names_each_target_when_sglang_lacks_it(
    owner: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the names we rest on goes, it is the one that is said."""
    target = pkgutil.resolve_name(f"sglang.srt.{owner}")
    holder = next((c for c in getattr(target, "__mro__", ()) if name in vars(c)), target)
    monkeypatch.delattr(holder, name)
    if hasattr(target, name):  # a base has one too: its parameters may even be the same
        monkeypatch.setattr(target, name, lambda _other: None, raising=False)
    assert any(f"sglang.srt.{owner}.{name}:" in problem for problem in mismatches())


def test_plugin_is_refused_with_the_error_when_it_does_not_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine whose plugin cannot be imported says so, instead of looking like a stock one."""
    monkeypatch.setitem(sys.modules, "nodeagent.sglang_plugin.scheduler", None)
    scheduler, problems = register._load()
    assert scheduler is None
    assert "plugin failed to load: ModuleNotFoundError" in problems[0]
