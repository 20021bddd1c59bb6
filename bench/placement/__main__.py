"""`python -m bench.placement …`, the same as `python -m bench placement …`."""

import sys

from bench.placement.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
