"""A tiny random Llama: real weights and a real tokenizer in seconds, without a hub.

Invariant: the same options and seed give the same bytes of weights.
"""

from dataclasses import dataclass
from pathlib import Path

from nodeagent.models.folder import new_folder

_SPECIAL_TOKENS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# At transformers' 0.02 greedy outputs collapse to one repeated token; at 0.15 they
# depend on the whole context (37 and 42 distinct tokens of 48), so a wrong KV shows.
_WEIGHT_SCALE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyOptions:
    """Size of the model. The vocabulary is 256 bytes and the special tokens, padded."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    max_context_tokens: int = 8192
    vocab_size: int = 512
    seed: int = 0
    intermediate: int = 0  # width of the MLP; 0: twice `hidden`


def make_tiny(models_dir: Path, *, options: TinyOptions, name: str = "tiny") -> Path:
    """Makes the model folder `models_dir/name`; an existing one is left as it is.

    Args:
        models_dir: Where model folders live; created if absent.
        options: Size and seed.
        name: Folder name.

    Returns:
        The folder.
    """
    target = models_dir / name
    if (target / "config.json").is_file():
        return target
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with new_folder(target) as draft:
        _save_tokenizer(draft, max_context_tokens=options.max_context_tokens)
        config = LlamaConfig(
            vocab_size=options.vocab_size,
            hidden_size=options.hidden,
            intermediate_size=options.intermediate or 2 * options.hidden,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.kv_heads,
            max_position_embeddings=options.max_context_tokens,
            pad_token_id=256,
            bos_token_id=257,
            eos_token_id=258,
            tie_word_embeddings=False,
            initializer_range=_WEIGHT_SCALE,
            dtype="float32",
        )
        torch.manual_seed(options.seed)
        LlamaForCausalLM(config).to(torch.float32).save_pretrained(draft)
    return target


def _save_tokenizer(folder: Path, *, max_context_tokens: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*alphabet, *_SPECIAL_TOKENS))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL_TOKENS))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        model_max_length=max_context_tokens,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = _CHAT_TEMPLATE
    fast.save_pretrained(folder)
