"""From values to places on a drawing.

Owns linear and logarithmic scales and their round ticks. Refuses markup.
"""

from dataclasses import dataclass
from math import ceil, floor, log10

_STEPS = (1.0, 2.0, 5.0, 10.0)
_ENDS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A line of pixels that stands for a range of values.

    Args:
        low: Value at `start`; > 0 where logarithmic.
        high: Value at `end`, > low.
        start: Pixel.
        end: Pixel; less than `start` where values grow upwards.
        is_log: Whether equal factors, not differences, are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Where a value is; beyond the range, at its nearer end."""
        value = min(self.high, max(self.low, value))
        if self.is_log:
            share = log10(value / self.low) / log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> tuple[float, ...]:
        """Round values within the range."""
        if self.is_log:
            return _log_ticks(self.low, self.high)
        step = _least(_STEPS, (self.high - self.low) / about)
        first = ceil(self.low / step - 1e-9)
        return tuple(i * step for i in range(first, floor(self.high / step + 1e-9) + 1))


def round_up(value: float) -> float:
    """An end for an axis: the next of a few digits times a power of ten; 1 for 0 and less."""
    return _least(_ENDS, value) if value > 0.0 else 1.0


def round_down(value: float) -> float:
    """Likewise the last one; the value must be above 0."""
    power = 10.0 ** floor(log10(value) + 1e-9)
    return max(digit * power for digit in _ENDS if digit * power <= value * 1.000001)


def _least(digits: tuple[float, ...], value: float) -> float:
    """The least of the digits times a power of ten that is not below the value."""
    power = 10.0 ** floor(log10(value))
    return next(digit * power for digit in digits if digit * power >= value * 0.999999)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    first, last = floor(log10(low)), ceil(log10(high))
    steps = (1.0, 2.0, 5.0) if high / low < 3e3 else (1.0,)
    return tuple(
        value
        for power in range(first, last + 1)
        for step in steps
        if low * 0.999 <= (value := step * 10.0**power) <= high * 1.001
    )
