"""Sizes, loads and shapes: the names of instances.

Owns what an instance is called and what its name stands for. Refuses to draw one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a fleet is.

    Attributes:
        nodes: Of eight devices.
        models: Deployments, each of one model.
        domains: Failure domains.
        zipf: Exponent of the deployments' shares of the online load.
    """

    nodes: int
    models: int
    domains: int
    zipf: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How full a fleet is, in shares of its devices, before integrality and failover.

    Attributes:
        online: Devices that online work at its limits needs; 60 % of it tight.
        deadlines: Devices that the rates of deadlines need.
        elastic: Devices that batches without pressing deadlines could use besides.
    """

    online: float
    deadlines: float
    elastic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How replicas and nodes divide.

    Attributes:
        tensor_parallel_sizes: That a replica may have, by what it needs.
        host_memory_ratio: Of the nodes' usual host memory.
    """

    tensor_parallel_sizes: tuple[int, ...]
    host_memory_ratio: float


SIZES: Mapping[str, Size] = {
    "10x3": Size(nodes=10, models=3, domains=4),
    "50x8": Size(nodes=50, models=8, domains=5),
    "50x40": Size(nodes=50, models=40, domains=5, zipf=1.2),
    "200x20": Size(nodes=200, models=20, domains=8),
    "1000x50": Size(nodes=1000, models=50, domains=10),
    "5000x100": Size(nodes=5000, models=100, domains=20),
}

LOADS: Mapping[str, Load] = {
    "tight": Load(online=0.65, deadlines=0.25, elastic=0.55),
    "loose": Load(online=0.39, deadlines=0.15, elastic=0.33),
}

SHAPES: Mapping[str, Shape] = {
    "dividing": Shape(tensor_parallel_sizes=(1, 2, 4, 8), host_memory_ratio=1.0),
    "odd": Shape(tensor_parallel_sizes=(1, 2, 3, 4, 6, 8), host_memory_ratio=0.45),
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Instance:
    """One instance, by name."""

    size: str
    load: str = "tight"
    shape: str = "dividing"
    seed: int = 0

    @property
    def name(self) -> str:
        """For files and tables, such as `50x8-tight-dividing-s0`."""
        return f"{self.size}-{self.load}-{self.shape}-s{self.seed}"

    @classmethod
    def parse(cls, name: str) -> "Instance":
        """The instance of that name.

        Raises:
            ValueError: No instance is called so.
        """
        parts = name.split("-")
        if (
            len(parts) != 4
            or parts[0] not in SIZES
            or parts[1] not in LOADS
            or parts[2] not in SHAPES
            or not parts[3].removeprefix("s").isdecimal()
        ):
            raise ValueError(f"{name!r} is no instance; one is 50x8-tight-dividing-s0")
        return cls(size=parts[0], load=parts[1], shape=parts[2], seed=int(parts[3][1:]))


def instances(
    sizes: Sequence[str], *, loads: Sequence[str], shapes: Sequence[str], seeds: int, largest: int
) -> tuple[Instance, ...]:
    """All of these, by size; `largest` seeds of 5000x100, `seeds` of the others."""
    return tuple(
        Instance(size=size, load=load, shape=shape, seed=seed)
        for size in sizes
        for load in loads
        for shape in shapes
        for seed in range(largest if size == "5000x100" else seeds)
    )
