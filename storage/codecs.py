"""Values to JSON documents and back, by their declared fields.

Owns the one mapping used wherever a frozen value is stored whole or sent to the solver
process. Refuses values that are not dataclasses, enums, tuples, None or plain scalars.
Invariants: `from_json(T, to_json(v)) == v`; a field that a document lacks takes its
default and one it has too much is ignored, so that releases N and N-1 read each other.
"""

import types
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> Any:
    """The value as what `json.dumps` accepts.

    Raises:
        TypeError: the value holds something that has no document form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _hints(type(value))}
    match value:
        case Enum():
            return value.value
        case tuple():
            return [to_json(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"value of type {type(value).__name__} has no document form")


def from_json(type_: type[T], document: Any) -> T:
    """The value of that type a document stands for.

    Raises:
        ValueError: the document does not have the shape of the type.
    """
    try:
        value: T = _decode(type_, document)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"document is no {type_.__name__}: {error}") from error
    return value


@cache
def _hints(type_: type) -> dict[str, Any]:
    hints = get_type_hints(type_)
    return {one.name: hints[one.name] for one in fields(type_)}


def _decode(type_: Any, document: Any) -> Any:
    origin = get_origin(type_)
    if origin in (Union, types.UnionType):
        present = [one for one in get_args(type_) if one is not type(None)]
        return None if document is None else _decode(present[0], document)
    if origin is tuple:
        kinds = get_args(type_)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return tuple(_decode(kinds[0], one) for one in document)
        return tuple(_decode(kind, one) for kind, one in zip(kinds, document, strict=True))
    if is_dataclass(type_):
        hints = _hints(type_)  # type: ignore[arg-type]
        known = {name: _decode(hints[name], document[name]) for name in hints if name in document}
        return type_(**known)  # type: ignore[operator]
    if issubclass(type_, Enum):
        return type_(document)
    if type_ is float and isinstance(document, int) and not isinstance(document, bool):
        return float(document)
    if type(document) is not type_:
        raise TypeError(f"expected {type_.__name__}, found {type(document).__name__}")
    return document
