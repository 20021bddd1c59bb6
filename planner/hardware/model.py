"""Models, as their configuration describes them.

Owns sizes and what follows from them: weights, KV, arithmetic of attention. Refuses
anything but dense decoders of the Llama kind: gated MLP, untied embeddings. Biases and
norms beyond two a layer are left out of the weights: under a thousandth.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A dense decoder.

    Attributes:
        name: As users write it.
        layers: Decoder layers.
        hidden: Width of the residual stream.
        heads: Query heads.
        kv_heads: Heads whose keys and values are kept.
        head_dim: Width of a head.
        intermediate: Width of the MLP.
        vocabulary: Tokens known.
        context_tokens: Longest context, as published; `dataclasses.replace` says another.
        element_bytes: Of a weight and of a number in KV; 2 is fp16.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    context_tokens: int
    head_dim: int = 128
    element_bytes: int = 2

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "name"):
            if getattr(self, name) < 1:
                raise ValueError(f"model {self.name}: {name} is {getattr(self, name)}, not >= 1")

    @property
    def layer_bytes(self) -> int:
        """Weights of the matrices of one layer."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        mlp = 3 * self.hidden * self.intermediate
        return (attention + mlp) * self.element_bytes

    @property
    def weights_bytes(self) -> int:
        """All weights: layers, norms, embedding and output projection."""
        norms = (2 * self.layers + 1) * self.hidden
        embeddings = 2 * self.vocabulary * self.hidden
        return self.layers * self.layer_bytes + (norms + embeddings) * self.element_bytes

    @property
    def kv_bytes(self) -> int:
        """KV of one token, keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.element_bytes

    @property
    def pair_flops(self) -> int:
        """Arithmetic of one query with one key: two products, a multiply and an add each."""
        return 4 * self.layers * self.heads * self.head_dim


def _llama(name: str, *sizes: int, context_tokens: int) -> ModelShape:
    layers, hidden, heads, kv_heads, intermediate, vocabulary = sizes
    return ModelShape(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        intermediate=intermediate,
        vocabulary=vocabulary,
        context_tokens=context_tokens,
    )


# The models' published config.json, heads all 128 wide.
MODELS = (
    _llama("llama2-7b", 32, 4096, 32, 32, 11_008, 32_000, context_tokens=4_096),
    _llama("llama2-13b", 40, 5120, 40, 40, 13_824, 32_000, context_tokens=4_096),
    _llama("llama2-70b", 80, 8192, 64, 8, 28_672, 32_000, context_tokens=4_096),
    _llama("llama3-8b", 32, 4096, 32, 8, 14_336, 128_256, context_tokens=8_192),
    _llama("llama3-70b", 80, 8192, 64, 8, 28_672, 128_256, context_tokens=8_192),
    _llama("llama3.1-8b", 32, 4096, 32, 8, 14_336, 128_256, context_tokens=131_072),
    _llama("llama3.1-70b", 80, 8192, 64, 8, 28_672, 128_256, context_tokens=131_072),
    _llama("mistral-7b", 32, 4096, 32, 8, 14_336, 32_000, context_tokens=32_768),
    _llama("qwen-14b", 40, 5120, 40, 40, 13_696, 152_064, context_tokens=8_192),
    _llama("yi-34b", 60, 7168, 56, 8, 20_480, 64_000, context_tokens=4_096),
    _llama("sheared-llama-2.7b", 32, 2560, 20, 20, 6_912, 32_000, context_tokens=4_096),
)


def model_named(name: str) -> ModelShape:
    """The known model of that name.

    Raises:
        ValueError: None has it; says which are known.
    """
    for model in MODELS:
        if model.name == name.lower():
            return model
    known = ", ".join(model.name for model in MODELS)
    raise ValueError(f"model {name!r} is not known; known are {known}")
