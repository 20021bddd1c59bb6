"""A part of a fleet file, read key by key.

Owns saying what is wrong with a value: file, key, value, what is allowed. Refuses meaning.
Invariant: a key nobody asked for is refused, with the nearest one that there is.
"""

import difflib
import math
from collections.abc import Iterator, Mapping
from typing import NoReturn

from controlplane.cli.failures import CommandError
from controlplane.cli.wording import parse_bytes, parse_duration_s

_MOST = 1e12


class Part:
    """A mapping of the file.

    Args:
        values: As YAML has it.
        where: File and keys down to here, for errors.
    """

    def __init__(self, values: object, where: str) -> None:
        self.where = where
        if not isinstance(values, Mapping):
            raise CommandError(f"{where}: {_shown(values)} is not a mapping of keys to values")
        self._values = {str(key): value for key, value in values.items()}
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._known.add(key)
        return self._values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """A word; required where there is no default."""
        value = self._take(key, default)
        if not isinstance(value, str) or not value:
            self.refuse(key, f"{_shown(value)} is not text; put it in quotes")
        return value

    def word(self, key: str, allowed: Mapping[str, object], default: str) -> str:
        """One of some words."""
        value = self.text(key, default)
        if value not in allowed:
            self.refuse(key, f"{value!r} is not one of {', '.join(allowed)}")
        return value

    def number(
        self, key: str, default: float | None = None, *, least: float = 0.0, most: float = _MOST
    ) -> float:
        """A number within a range."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            self.refuse(key, f"{_shown(value)} is not a number")
        if not least <= value <= most:
            self.refuse(key, f"{value:g} is out of range; must lie in {least:g}..{most:g}")
        return float(value)

    def whole(
        self, key: str, default: int | None = None, *, least: int = 0, most: int = 10**9
    ) -> int:
        """A whole number within a range."""
        value = self.number(key, default, least=least, most=most)
        if value % 1:
            self.refuse(key, f"{value:g} is not a whole number")
        return int(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            self.refuse(key, f"{_shown(value)} is not true or false")
        return value

    def seconds(
        self, key: str, default: float | None = None, *, least: float = 0.0, most: float = _MOST
    ) -> float:
        """A duration such as 90s, 15m or 6h."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.refuse(key, f"{_shown(value)} is not a duration; write e.g. 90s, 15m or 6h")
        try:
            found = parse_duration_s(str(value))
        except ValueError as error:
            raise CommandError(f"{self.where}.{key}: {error}") from error
        if found < least:
            self.refuse(key, f"{value} is too short; must be at least {least:g}s")
        if found > most:
            self.refuse(key, f"{value} is too long; must be at most {most:g}s")
        return found

    def size(self, key: str, default: int) -> int:
        """Bytes such as 80GB or 1TiB."""
        value = self._take(key, default)
        try:
            return parse_bytes(str(value))
        except ValueError as error:
            raise CommandError(f"{self.where}.{key}: {error}") from error

    def words(self, key: str) -> tuple[str, ...]:
        """A list of words, or one word; () where there is none."""
        value = self._take(key, ())
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
            self.refuse(key, f"{_shown(value)} is not a list of words; write e.g. [a, b]")
        return tuple(found)

    def wholes(self, key: str, *, least: int, most: int) -> tuple[int, ...]:
        """A list of whole numbers within a range; () where there is none."""
        value = self._take(key, ())
        if not isinstance(value, list | tuple) or not all(type(one) is int for one in value):
            self.refuse(key, f"{_shown(value)} is not a list of whole numbers; write e.g. [2, 4]")
        if out := [one for one in value if not least <= one <= most]:
            self.refuse(key, f"{out[0]} is out of range; must lie in {least}..{most}")
        return tuple(value)

    def part(self, key: str) -> "Part":
        """A mapping inside; an empty one where there is none."""
        return Part(self._take(key, {}), f"{self.where}.{key}")

    def parts(self, key: str, *, required: bool = False) -> Iterator["Part"]:
        """The mappings of a list; none where there is none."""
        value = self._take(key, None if required else ())
        if not isinstance(value, list | tuple) or (required and not value):
            self.refuse(key, f"{_shown(value)} is not a list with one entry at least")
        for index, one in enumerate(value):
            yield Part(one, f"{self.where}.{key}[{index}]")

    def numbers(self) -> dict[str, float]:
        """Numbers by free names, such as prices."""
        return {key: self.number(key) for key in self._values}

    @property
    def names(self) -> tuple[str, ...]:
        """Free names in it."""
        return tuple(self._values)

    def raw(self, key: str) -> object:
        """A value as YAML has it; None where there is none."""
        self._known.add(key)
        return self._values.get(key)

    def is_mapping(self, key: str) -> bool:
        """Whether the value is a mapping, not a word."""
        self._known.add(key)
        return isinstance(self._values.get(key), Mapping)

    def close(self) -> None:
        """Refuses what was not asked for.

        Raises:
            CommandError: A key there is none of.
        """
        for key in self._values:
            if key not in self._known:
                known = sorted(self._known)
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                self.refuse(key, f"no such key; {hint}")

    def refuse(self, key: str, why: str) -> NoReturn:
        """Says what is wrong with a key.

        Raises:
            CommandError: Always.
        """
        raise CommandError(f"{self.where}.{key}: {why}")

    def _take(self, key: str, default: object) -> object:
        self._known.add(key)
        value = self._values.get(key)
        if value is None:
            value = default
        if value is None:
            self.refuse(key, "required; give it")
        return value


def _shown(value: object) -> str:
    return repr(value)[:60]
