"""`python -m bench NAME …`, or `make bench-NAME ARGS=…`."""

import importlib
import sys
from collections.abc import Mapping, Sequence

BENCHES: Mapping[str, str] = {
    "batching": "bench.batching.decisions",
    "colocate": "bench.colocate.compare",
    "prefix": "bench.prefix.compare",
    "demo": "bench.demo.compare",
    "fidelity": "bench.fidelity.compare",
    "latency": "bench.latency.run",
    "hygen": "bench.hygen.run",
    "fleet": "bench.fleet.run",
    "placement": "bench.placement.run",
}
"""Name to module; each module has `main(arguments) -> exit status`."""


def main(arguments: Sequence[str]) -> int:
    """Runs one bench; 2 for a name there is none of."""
    if not arguments or arguments[0] not in BENCHES:
        given = f"{arguments[0]!r}: no such bench; " if arguments else ""
        print(f"{given}there are: {', '.join(sorted(BENCHES))}", file=sys.stderr)
        return 2
    module = importlib.import_module(BENCHES[arguments[0]])
    return int(module.main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
