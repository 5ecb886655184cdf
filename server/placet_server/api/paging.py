"""Page tokens: where the next page begins, bound to the request and revision of the first."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from google.protobuf.message import Message

from placet.wire import Reader
from placet_server.errors import PageTokenRefused

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Which page is asked for."""

    size: int
    start: int
    """How many entries the pages before had."""
    revision: int
    """Revision of the first page; 0 when this is the first."""


def read_page(request: Message, reader: Reader) -> Page:
    """Read ``page_size`` and ``page_token`` of a request.

    Raises:
        PageTokenRefused: the token is of another request, or none of ours.
    """
    size = getattr(request, "page_size") or DEFAULT_PAGE_SIZE  # noqa: B009  # of several messages
    if not 1 <= size <= MAX_PAGE_SIZE:
        reader.refuse("page_size", f"is {size}; use 1 to {MAX_PAGE_SIZE}, or 0 for the default")
    token: str = getattr(request, "page_token")  # noqa: B009
    if not token:
        return Page(size, 0, 0)
    try:
        start, revision, fingerprint = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error):
        raise PageTokenRefused from None
    if fingerprint != _fingerprint(request):
        raise PageTokenRefused
    return Page(size, int(start), int(revision))


def next_page_token(request: Message, start: int, revision: int) -> str:
    """Return the token of the page that begins after ``start`` entries."""
    document = json.dumps([start, revision, _fingerprint(request)])
    return base64.urlsafe_b64encode(document.encode()).decode()


def _fingerprint(request: Message) -> str:
    """Digest what pages of one listing have in common: all but size and token."""
    common = type(request)()
    common.CopyFrom(request)
    common.ClearField("page_token")
    common.ClearField("page_size")
    return hashlib.sha256(common.SerializeToString(deterministic=True)).hexdigest()[:16]
