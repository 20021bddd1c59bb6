"""The schema, one file a subject; importing this package registers every table.

Map:
    base   the one MetaData
"""

from storage.tables.base import metadata

__all__ = ["metadata"]
