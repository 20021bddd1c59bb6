"""The plugin refuses an SGLang it was not written for, and names the difference."""

from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from nodeagent.sglang_plugin.manifest import mismatches

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
