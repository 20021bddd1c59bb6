"""What each thing that limits offline work is worth, in offline tokens.

Owns the names and the order of the prices. All amounts in this package are arrays whose last
axis is in this order, so that a cost is an inner product.
"""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Offline tokens that one more unit of each allows, all >= 0.

    Attributes:
        prompt: A computed prompt token, of either class.
        online_decode: A decode of an online row.
        offline_decode: A decode of an offline row.
        kv: A token of KV that a decode holds alone during a pass.
        attention: A millisecond of attention.
        presence: A millisecond that one online request is in the system.
        waiting: A millisecond that one online request waits for its first token.
        in_part: A token done of a request that is not ended when the window ends.
    """

    prompt: float
    online_decode: float
    offline_decode: float
    kv: float
    attention: float
    presence: float
    waiting: float
    in_part: float

    @classmethod
    def of(cls, values: Floats) -> "Prices":
        """Reads them from an array."""
        prompt, online, offline, kv, attention, presence, waiting, in_part = map(float, values)
        return cls(
            prompt=prompt,
            online_decode=online,
            offline_decode=offline,
            kv=kv,
            attention=attention,
            presence=presence,
            waiting=waiting,
            in_part=in_part,
        )

    def values(self) -> Floats:
        """As an array."""
        return np.array(astuple(self))


def amounts(
    *,
    prompt: Floats | float = 0.0,
    online_decode: Floats | float = 0.0,
    offline_decode: Floats | float = 0.0,
    kv: Floats | float = 0.0,
    attention: Floats | float = 0.0,
    presence: Floats | float = 0.0,
    waiting: Floats | float = 0.0,
    in_part: Floats | float = 0.0,
) -> Floats:
    """Amounts of each, (…, 8)."""
    columns = (
        prompt,
        online_decode,
        offline_decode,
        kv,
        attention,
        presence,
        waiting,
        in_part,
    )
    return np.stack(np.broadcast_arrays(*columns), axis=-1).astype(np.float64)


def upto(*, gain: Floats, fall: float, most: Floats) -> Floats:
    """Where x in [0, most] makes gain*x - fall*x^2/2 largest."""
    if fall <= 0.0:
        return np.where(gain > 0.0, most, 0.0)
    return np.clip(gain / fall, 0.0, most)
