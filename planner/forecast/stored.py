"""Reading stored values back.

Owns the checks between plain values (numbers, None, lists and dicts of them, as JSON or a
database returns them) and a state. Refuses to guess: what has not the shape it was written
with is an error that says which part and what to do.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from planner.forecast.settings import StateError

Values = Mapping[str, object]
_MOST = sys.float_info.max  # an int may be larger; NaN is not within


def part(values: object, name: str) -> object:
    """A named part of a mapping.

    Raises:
        StateError: There is none, or no mapping.
    """
    if not isinstance(values, Mapping):
        refuse(name, f"{type(values).__name__} around it, expected a mapping")
    if name not in values:
        refuse(name, "missing")
    value: object = values[name]
    return value


def rows(value: object, name: str, *, count: int | None = None) -> Sequence[object]:
    """A list, of that length.

    Raises:
        StateError: It is none, or longer or shorter.
    """
    if not isinstance(value, list | tuple):
        refuse(name, f"{type(value).__name__}, expected a list")
    if count is not None and len(value) != count:
        refuse(name, f"{len(value)} entries, expected {count}")
    return value


def number(value: object, name: str) -> float:
    """A finite number.

    Raises:
        StateError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
        refuse(name, f"{value!r}, expected a finite number")
    return float(value)


def whole(value: object, name: str) -> int:
    """A whole number.

    Raises:
        StateError: It is none.
    """
    if number(value, name) % 1:
        refuse(name, f"{value!r}, expected a whole number")
    return int(number(value, name))


def floats(
    value: object, name: str, *, count: int | None = None, least: float = -_MOST
) -> list[float]:
    """A list of finite numbers, of that length, none below `least`.

    Raises:
        StateError: It is none.
    """
    numbers = [number(entry, name) for entry in rows(value, name, count=count)]
    for one in numbers:
        if one < least:
            refuse(name, f"{one!r}, expected at least {least:g}")
    return numbers


def refuse(name: str, found: str) -> NoReturn:
    """Says what is wrong with a part.

    Raises:
        StateError: Always.
    """
    raise StateError(
        f"stored forecast, {name}: {found}; drop it and begin anew from the prior"
    ) from None
