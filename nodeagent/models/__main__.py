"""`python -m nodeagent.models make tiny|smollm2-135m --models-dir DIR`."""

import argparse
import sys
from pathlib import Path

from nodeagent.models.facts import read_model_facts
from nodeagent.models.smollm2 import NAME as SMOLLM2
from nodeagent.models.smollm2 import MissingPackageError, make_smollm2
from nodeagent.models.tiny import TinyOptions, make_tiny


def main(arguments: list[str] | None = None) -> int:
    """Makes a model folder and prints its facts. Returns the exit status."""
    options = _parser().parse_args(arguments)
    from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators

    declare_vision_operators()  # transformers may import torchvision
    try:
        if options.model == SMOLLM2:
            folder = make_smollm2(options.models_dir)
        else:
            folder = make_tiny(
                options.models_dir,
                name=options.name,
                options=TinyOptions(
                    hidden=options.hidden, layers=options.layers, seed=options.seed
                ),
            )
    except MissingPackageError as error:
        print(error, file=sys.stderr)
        return 2
    facts = read_model_facts(folder)
    print(
        f"{folder} weights_bytes={facts.weights_bytes} "
        f"kv_bytes_per_token={facts.kv_bytes_per_token} "
        f"max_context_tokens={facts.max_context_tokens}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nodeagent.models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="make a model folder; an existing one is kept")
    make.add_argument("model", choices=("tiny", SMOLLM2))
    make.add_argument("--models-dir", type=Path, required=True)
    make.add_argument("--name", default="tiny", help="folder name of a tiny model")
    make.add_argument("--hidden", type=int, default=TinyOptions().hidden)
    make.add_argument("--layers", type=int, default=TinyOptions().layers)
    make.add_argument("--seed", type=int, default=TinyOptions().seed)
    return parser


if __name__ == "__main__":
    sys.exit(main())
