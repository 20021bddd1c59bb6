"""What the decision may load into an engine process."""

import subprocess
import sys


def test_decision_loads_no_solver_and_no_array_library():
    """`import planner.batching.decide` stays light: it runs inside the engine's scheduler."""
    code = (
        "import sys, planner.batching.decide; "
        "print([m for m in ('ortools', 'numpy', 'scipy', 'torch', 'grpc') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "[]"
