"""A model folder's costs are read from its files, or refused with the reason."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from nodeagent.models.facts import ModelFolderError, read_model_facts

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "max_position_embeddings": 4096,
    "vocab_size": 512,
    "dtype": "bfloat16",
}


def write_model(folder: Path, *, config: dict[str, object], sizes: tuple[int, ...]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for i, size in enumerate(sizes):
        header = json.dumps(
            {
                "__metadata__": {"format": "pt"},
                "w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
            }
        ).encode()
        (folder / f"model-{i}.safetensors").write_bytes(
            struct.pack("<Q", len(header)) + header + bytes(size)
        )
    return folder


def test_facts_are_read_when_folder_is_whole(tmp_path: Path) -> None:
    """Weights are the tensors of all files; KV is two vectors a layer and KV head."""
    facts = read_model_facts(write_model(tmp_path / "m", config=CONFIG, sizes=(100, 28)))
    assert facts.weights_bytes == 128
    assert facts.kv_bytes_per_token == 2 * 3 * 2 * 8 * 2
    assert facts.max_context_tokens == 4096
    assert read_model_facts(tmp_path / "m", kv_dtype="float32").kv_bytes_per_token == 384


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"max_position_embeddings": None}, "max_position_embeddings"),
        ({"dtype": "float4"}, "float4"),
        ({"kv_lora_rank": 512}, "kv_cache_bytes"),
    ],
)
def test_facts_are_refused_when_config_is_unusable(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """Nothing is guessed: the error names the key and the folder."""
    folder = write_model(tmp_path / "m", config=CONFIG | change, sizes=(8,))
    with pytest.raises(ModelFolderError, match=message):
        read_model_facts(folder)


def test_facts_are_refused_when_files_are_missing_or_broken(tmp_path: Path) -> None:
    """An absent config, absent weights and a torn header each say so."""
    with pytest.raises(ModelFolderError, match=r"no config\.json"):
        read_model_facts(tmp_path / "nothing")
    folder = write_model(tmp_path / "m", config=CONFIG, sizes=())
    with pytest.raises(ModelFolderError, match="safetensors"):
        read_model_facts(folder)
    (folder / "model.safetensors").write_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00{bad}")
    with pytest.raises(ModelFolderError, match="unreadable"):
        read_model_facts(folder)


def test_facts_load_without_torch_when_imported() -> None:
    """The agent reads facts in a process that never loads torch."""
    code = "import nodeagent.models.facts, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
