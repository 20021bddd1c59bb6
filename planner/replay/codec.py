"""Frozen values as JSON-like data, and back.

Owns the one rule for both ways: a dataclass is an object of its fields, a tuple an array, a
mapping an object. Refuses numbers that JSON has no word for, and guessing: a field that is
missing or of another kind is an error that says where; one that is not known is left alone.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


class DocumentError(ValueError):
    """A document that cannot be read: where, what was found and what is allowed."""


def encoded(value: Any) -> Any:
    """A value as JSON-like data.

    Raises:
        DocumentError: It holds an infinity, or what is no number.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: encoded(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, tuple):
        return [encoded(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise DocumentError(f"{value} cannot be written as JSON; leave it out (None)")
    return value


def decoded(kind: Any, value: Any, *, path: str) -> Any:
    """A value of that type.

    Args:
        kind: A dataclass, `tuple[X, ...]`, `tuple[X, Y]`, `Mapping[str, X]`, a union of
            those, or `str`, `int`, `float`, `bool`, None.
        value: What `encoded` made of one.
        path: Where it stands, for errors.

    Raises:
        DocumentError: It is of another kind.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(arguments, value, path=path)
    if is_dataclass(kind):
        return _dataclass(kind, value, path=path)
    if origin is tuple:
        return _tuple(arguments, value, path=path)
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            raise DocumentError(f"{path}: {type(value).__name__}, must be an object")
        return {
            key: decoded(arguments[1], item, path=f"{path}.{key}") for key, item in value.items()
        }
    return _plain(kind, value, path=path)


def _dataclass(kind: Any, value: Any, *, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise DocumentError(f"{path}: {type(value).__name__}, must be an object")
    hints = get_type_hints(kind)
    known = {}
    for item in fields(kind):
        if item.name in value:
            known[item.name] = decoded(
                hints[item.name], value[item.name], path=f"{path}.{item.name}"
            )
        elif item.default is MISSING:
            raise DocumentError(f"{path}.{item.name}: is missing")
    try:
        return kind(**known)
    except ValueError as error:
        raise DocumentError(f"{path}: {error}") from error


def _tuple(arguments: tuple[Any, ...], value: Any, *, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise DocumentError(f"{path}: {type(value).__name__}, must be an array")
    if arguments[1:] == (...,):
        kinds = (arguments[0],) * len(value)
    elif len(value) == len(arguments):
        kinds = arguments
    else:
        raise DocumentError(f"{path}: {len(value)} values, must be {len(arguments)}")
    return tuple(
        decoded(item_kind, item, path=f"{path}[{index}]")
        for index, (item_kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _one_of(kinds: tuple[Any, ...], value: Any, *, path: str) -> Any:
    """The first kind that fits: exact ones go before those that convert."""
    if any(kind in (type(value), NoneType) and isinstance(value, kind) for kind in kinds):
        return value
    first: DocumentError | None = None
    for kind in kinds:
        try:
            return decoded(kind, value, path=path)
        except DocumentError as error:
            first = first or error
    assert first is not None  # a union has members
    raise first


def _plain(kind: Any, value: Any, *, path: str) -> Any:
    if kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(kind, type) and isinstance(value, kind):
        return value
    raise DocumentError(
        f"{path}: {value!r} is {type(value).__name__}, must be {getattr(kind, '__name__', kind)}"
    )
