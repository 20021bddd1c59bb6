"""Deployments written in YAML.

Owns reading a manifest into `Deployment` messages and saying, by path, what is wrong with
it. Keys are the fields of `DeploymentSpec` as the wire contract spells them, beside
`name`; durations are "250ms" or "2s", sizes "4GiB", enums their short word ("active"), other
deployments their id.
Refuses unknown keys and wrong types; what values are allowed is the control plane's say.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from slacktide.v1.deployment_pb2 import Deployment
from slacktide.wire.names import resource_id, resource_name

from controlplane.cli.failures import CommandError
from controlplane.cli.wording import duration_of, enum_prefix, parse_bytes, parse_duration_s

_NAMES_OF = {"anti_affinity": "deployments"}
"""Fields that hold resource names, which a manifest may write as bare ids."""
_INTEGERS = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)


def read_deployments(path: Path) -> list[Deployment]:
    """All deployments of a YAML file, one a document.

    Raises:
        CommandError: unreadable, not YAML, or a value that does not fit, by its path.
    """
    try:
        documents = [d for d in yaml.safe_load_all(path.read_text()) if d is not None]
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is not UTF-8 text; a manifest is a YAML file") from error
    except yaml.YAMLError as error:
        raise CommandError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not documents:
        raise CommandError(f"{path}: holds no deployment; `name` and `model` are the least")
    many = len(documents) > 1
    read = [
        _deployment(document, f"{path}: document {i + 1}" if many else str(path))
        for i, document in enumerate(documents)
    ]
    names = [deployment.name for deployment in read]
    if twice := {name for name in names if names.count(name) > 1}:
        raise CommandError(f"{path}: {', '.join(sorted(twice))} appears more than once")
    return read


def _deployment(document: object, where: str) -> Deployment:
    if not isinstance(document, Mapping):
        raise CommandError(f"{where}: expected a mapping with `name` and `model`")
    values = dict(document)
    name = values.pop("name", None)
    if not isinstance(name, str) or not name:
        raise CommandError(f"{where}: name: required, e.g. `name: chat`")
    full = resource_name("deployments", name.removeprefix("deployments/"))
    try:
        resource_id("deployments", full)
    except ValueError as error:
        raise CommandError(f"{where}: name: {error}") from error
    deployment = Deployment(name=full)
    _fill(deployment.spec, values, where, prefix="")
    return deployment


def _fill(message: Message, values: Mapping[Any, Any], where: str, *, prefix: str) -> None:
    for key, value in values.items():
        path = f"{prefix}{key}"
        field: Any = message.DESCRIPTOR.fields_by_name.get(str(key))
        if field is None:
            known = list(message.DESCRIPTOR.fields_by_name)
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise CommandError(f"{where}: {path}: no such field; {hint}")
        try:
            _set(message, field, value, where, path)
        except ValueError as error:
            raise CommandError(f"{where}: {path}: {error}") from error


def _set(message: Message, field: FieldDescriptor, value: Any, where: str, path: str) -> None:
    if field.is_repeated:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        _extend(getattr(message, field.name), field, value, where, path)
    elif field.message_type is None:
        setattr(message, field.name, _scalar(field, value))
    elif field.message_type.full_name == Duration.DESCRIPTOR.full_name:
        seconds = parse_duration_s(_text(value))
        getattr(message, field.name).CopyFrom(duration_of(seconds))
    elif isinstance(value, Mapping):
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), value, where, prefix=f"{path}.")
    else:
        raise ValueError(f"{value!r} is not a mapping")


def _extend(into: Any, field: FieldDescriptor, values: list[Any], where: str, path: str) -> None:
    if field.message_type is None:
        into.extend(_named(field, _scalar(field, value)) for value in values)
        return
    for index, value in enumerate(values):
        if not isinstance(value, Mapping):
            raise ValueError(f"item {index + 1}: {value!r} is not a mapping")
        _fill(into.add(), value, where, prefix=f"{path}[{index + 1}].")


def _named(field: FieldDescriptor, value: Any) -> Any:
    collection = _NAMES_OF.get(field.name)
    if collection is None:
        return value
    full = resource_name(collection, value.removeprefix(f"{collection}/"))
    resource_id(collection, full)
    return full


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return _enum(field, value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is not true or false")
        return value
    if field.cpp_type in _INTEGERS:
        if isinstance(value, str) and "_bytes" in field.name:
            return parse_bytes(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number")
        bits = 31 if field.cpp_type == FieldDescriptor.CPPTYPE_INT32 else 63
        if not -(2**bits) <= value < 2**bits:
            raise ValueError(f"{value} is out of range; at most {2**bits - 1}")
        return value
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not a number")
        return float(value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text; put it in quotes")
    return value


def _enum(field: FieldDescriptor, value: Any) -> int:
    assert field.enum_type is not None
    numbers = {v.name: v.number for v in field.enum_type.values}
    prefix = enum_prefix(list(numbers))
    words = {n.removeprefix(prefix).lower(): number for n, number in numbers.items() if number}
    if str(value).lower() not in words:
        raise ValueError(f"{value!r} is not one of {', '.join(words)}")
    return words[str(value).lower()]


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a duration; write e.g. 500ms, 2s, 1m30s or 1h")
    return str(value)
