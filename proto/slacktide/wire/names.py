"""Resource names: `collection/{id}`, as AIP-122 has them."""

import re

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def resource_name(collection: str, id_: str) -> str:
    """Joins, e.g. ("nodes", "n1") -> "nodes/n1"; an empty id gives an empty name."""
    return f"{collection}/{id_}" if id_ else ""


def resource_id(collection: str, name: str) -> str:
    """Takes the id out of a resource name.

    Raises:
        ValueError: the name is not of this collection, or its id is malformed.
    """
    prefix = collection + "/"
    id_ = name.removeprefix(prefix)
    if not name.startswith(prefix) or not _ID.fullmatch(id_):
        raise ValueError(
            f"name {name!r}: expected {prefix}<id> with an id of 1 to 63 lower-case letters,"
            " digits and hyphens that starts with a letter"
        )
    return id_
