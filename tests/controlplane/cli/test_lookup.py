"""Finding a resource by what a person typed."""

import pytest

from controlplane.cli.failures import CommandError
from controlplane.cli.lookup import pick

NODES = ["nodes/n1", "nodes/n10", "nodes/gpu-a", "nodes/gpu-b"]


@pytest.mark.parametrize(
    ("given", "found"), [("n1", "nodes/n1"), ("n10", "nodes/n10"), ("nodes/n1", "nodes/n1")]
)
def test_pick_takes_the_exact_id_when_it_is_also_a_prefix(given: str, found: str) -> None:
    """n1 is n1, though n10 begins with it."""
    assert pick("nodes", given, NODES) == found


def test_pick_takes_a_prefix_when_it_is_unique() -> None:
    """Enough letters are enough."""
    assert pick("nodes", "gpu-a", NODES) == "nodes/gpu-a"
    assert pick("batches", "b", ["batches/b-77"]) == "batches/b-77"


def test_pick_refuses_when_several_fit() -> None:
    """Never a guess between two."""
    with pytest.raises(CommandError, match="fits gpu-a, gpu-b; type more"):
        pick("nodes", "gpu", NODES)


@pytest.mark.parametrize("given", ["x", ""])
def test_pick_says_what_there_is_when_none_fits(given: str) -> None:
    """An empty id fits nothing; the next command is named."""
    with pytest.raises(CommandError, match=r"there are gpu-a.*next: slacktide node list"):
        pick("nodes", given, NODES)
