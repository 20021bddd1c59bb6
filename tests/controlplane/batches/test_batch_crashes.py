"""kill -9 at every point where something becomes durable."""

import json
import subprocess
import sys
from pathlib import Path


def test_batch_ends_with_one_line_each_when_killed_at_any_point(tmp_path: Path) -> None:
    """Intake, pull, commit and finalise resume from what is stored, and from nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.controlplane.batches.crash_points", str(tmp_path)],
        cwd=Path(__file__).parents[3],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    hit = json.loads(done.stdout)
    for point in ("add_chunk", "pull", "commit", "publish", "_publish"):
        assert {f"before {point}", f"after {point}"} <= set(hit)
    assert len(hit) > 25
