"""Immutable objects over fsspec: inputs, segments, result files."""

from collections.abc import Sequence


class ObjectStore:
    """A root URI and what may be read outside it.

    Args:
        root: fsspec URI, e.g. "file:///var/lib/slacktide/objects"; made where local.
        readable_prefixes: URIs outside the root that clients may name as inputs.
        max_input_bytes: largest input file.
    """

    def __init__(
        self,
        root: str,
        *,
        readable_prefixes: Sequence[str] = (),
        max_input_bytes: int = 1 << 30,
    ) -> None:
        self._root = root
        self._readable = tuple(readable_prefixes)
        self.max_input_bytes = max_input_bytes
