"""Pages of sorted lists; a token names the last key of the page before it."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc
from slacktide.wire.errors import Refusal

DEFAULT_SIZE = 100
MAX_SIZE = 1000

T = TypeVar("T")


def page(
    items: Sequence[T], *, key: Callable[[T], str], page_size: int, page_token: str
) -> tuple[Sequence[T], str]:
    """One page and the token of the next, empty on the last page.

    Args:
        items: sorted by `key`, keys unique and not empty.
        key: what the token names.
        page_size: 0 to `MAX_SIZE`; 0 means `DEFAULT_SIZE`.
        page_token: empty for the first page.

    Raises:
        Refusal: INVALID_ARGUMENT for a size out of range or a malformed token.
    """
    size = checked_size(page_size)
    after = read_token(page_token)
    rest = [item for item in items if key(item) > after]
    chosen = rest[:size]
    return chosen, make_token(key(chosen[-1])) if len(rest) > size else ""


def checked_size(page_size: int) -> int:
    """The size to use.

    Raises:
        Refusal: it is out of range.
    """
    if not 0 <= page_size <= MAX_SIZE:
        raise Refusal(
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="INVALID_PAGE_SIZE",
            message=f"page_size {page_size}: must be 0 to {MAX_SIZE}",
            violations=[("page_size", f"{page_size}: must be 0 to {MAX_SIZE}")],
        )
    return page_size or DEFAULT_SIZE


def make_token(key: str) -> str:
    """The token that continues after this key."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def read_token(token: str) -> str:
    """The key a token continues after, empty for the first page.

    Raises:
        Refusal: INVALID_ARGUMENT, it was not made by `make_token`.
    """
    try:
        key = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise bad_token(token) from error
    if token and not (key.isascii() and key.isprintable() and key):
        raise bad_token(token)
    return key


def bad_token(token: str) -> Refusal:
    """The refusal of a token that no page of this list ended with."""
    return Refusal(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_PAGE_TOKEN",
        message=f"page_token {token[:64]!r}: is not one this service gave; start without one",
        violations=[("page_token", "is not one this service gave")],
    )
