"""Bytes in, messages out, and the limits on both."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from placet_server.api.failures import BadMessage, MessageTooLarge

_Message = TypeVar("_Message", bound=Message)

# One request for a decision is small; what holds many may be as large as gRPC
# clients send by default.
ONE_REQUEST_BYTES = 1024 * 1024
MANY_BYTES = 4 * 1024 * 1024


def read_message(kind: type[_Message], data: bytes, max_bytes: int) -> _Message:
    """Parse a message.

    Raises:
        MessageTooLarge: it has more bytes than it may.
        BadMessage: the bytes are not such a message.
    """
    check_size(data, max_bytes)
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise BadMessage(str(error)) from error
    return message


def check_size(data: bytes, max_bytes: int) -> None:
    """Refuse a message that is too large.

    Raises:
        MessageTooLarge: it is.
    """
    if len(data) > max_bytes:
        raise MessageTooLarge(len(data), max_bytes)
