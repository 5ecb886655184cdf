"""What the requests that commit something have in common: why, on top of what, and once."""

from __future__ import annotations

from typing import Protocol

from placet.v1.policy_service_pb2 import PublishRequest
from placet.v1.rollout_service_pb2 import StartRolloutRequest
from placet.wire import Reader
from placet_engine.items import Revision

_MAX_MESSAGE_CHARS = 1024
_MAX_REQUEST_ID_CHARS = 128


class Explained(Protocol):
    """A request that says why, and that is harmless when it comes again."""

    message: str
    request_id: str


def check_texts(request: Explained, reader: Reader) -> None:
    """Refuse a message or a request id that is too long to be kept."""
    if len(request.message) > _MAX_MESSAGE_CHARS:
        reader.refuse("message", f"is longer than {_MAX_MESSAGE_CHARS} characters")
    if len(request.request_id) > _MAX_REQUEST_ID_CHARS:
        reader.refuse("request_id", f"is longer than {_MAX_REQUEST_ID_CHARS} characters")


def read_expected(request: PublishRequest | StartRolloutRequest, reader: Reader) -> Revision | None:
    """Return the revision the tenant has to be at; None when it may be at any."""
    if not request.HasField("expected_revision"):
        return None
    if request.expected_revision < 0:
        reader.refuse("expected_revision", "is negative; 0 means a tenant not there yet")
    return Revision(request.expected_revision)
