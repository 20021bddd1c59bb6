"""What a model folder costs in memory, read without torch.

Owns the reading of `config.json` and of safetensors headers (an 8-byte length and a JSON
table; no tensor is loaded). Refuses to guess: an architecture whose KV cache is not a
plain per-layer key and value is an error that says so.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEADER_LIMIT_BYTES = 100 * 1024 * 1024  # the safetensors format's own limit
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class ModelFolderError(ValueError):
    """A folder that is not a model we can measure: which, what is wrong, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What placement and the engine need to know of a model before it is loaded."""

    path: Path
    architecture: str
    weights_bytes: int  # tensors in the safetensors files
    kv_bytes_per_token: int  # keys and values of all layers, in `dtype`
    max_context_tokens: int
    vocab_size: int
    dtype: str


def read_model_facts(path: str | Path, *, kv_dtype: str | None = None) -> ModelFacts:
    """Reads the facts of a model folder.

    Args:
        path: Folder with `config.json` and `*.safetensors`.
        kv_dtype: Type of the KV cache where it is not the model's own.

    Raises:
        ModelFolderError: The folder, its config or a header is missing or unusable.
    """
    folder = Path(path)
    config = _read_config(folder)
    text = config.get("text_config", config)
    dtype = kv_dtype or str(
        config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "bfloat16"
    )
    if dtype not in _DTYPE_BYTES:
        raise ModelFolderError(
            f"{folder}: dtype {dtype!r}, allowed are {sorted(_DTYPE_BYTES)}; pass kv_dtype"
        )
    layers = _count(folder, text, "num_hidden_layers")
    heads = _count(folder, text, "num_attention_heads")
    kv_heads = int(text.get("num_key_value_heads") or heads)
    head_width = int(text.get("head_dim") or _count(folder, text, "hidden_size") // heads)
    if "kv_lora_rank" in text or "layers_block_type" in text:
        raise ModelFolderError(
            f"{folder}: latent or hybrid attention, whose KV cache is not one key and one "
            "value a layer; state kv_cache_bytes of the deployment by hand"
        )
    return ModelFacts(
        path=folder,
        architecture=str((config.get("architectures") or ["unknown"])[0]),
        weights_bytes=_weights_bytes(folder),
        kv_bytes_per_token=2 * layers * kv_heads * head_width * _DTYPE_BYTES[dtype],
        max_context_tokens=_count(folder, text, "max_position_embeddings"),
        vocab_size=_count(folder, text, "vocab_size"),
        dtype=dtype,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise ModelFolderError(
            f"{folder}: no config.json; make a model with "
            "`python -m nodeagent.models make tiny --models-dir DIR` or download one"
        )
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise ModelFolderError(f"{file}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelFolderError(f"{file}: holds a {type(config).__name__}, allowed is an object")
    return config


def _count(folder: Path, config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value <= 0:
        raise ModelFolderError(f"{folder}: config.json {key} is {value!r}, allowed is a number > 0")
    return value


def _weights_bytes(folder: Path) -> int:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelFolderError(f"{folder}: no *.safetensors; convert the weights to safetensors")
    return sum(_tensor_bytes(file) for file in files)


def _tensor_bytes(file: Path) -> int:
    with file.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise ModelFolderError(f"{file}: {len(prefix)} bytes, shorter than a header's length")
        (length,) = struct.unpack("<Q", prefix)
        if length > _HEADER_LIMIT_BYTES:
            raise ModelFolderError(f"{file}: header of {length} bytes, not a safetensors file")
        header = stream.read(length)
    try:
        table = json.loads(header)
        return sum(
            entry["data_offsets"][1] - entry["data_offsets"][0]
            for name, entry in table.items()
            if name != "__metadata__"
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelFolderError(f"{file}: unreadable safetensors header: {error!r}") from error
