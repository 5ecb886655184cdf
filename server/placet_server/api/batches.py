"""What a batch asks, read natively where that can be and in Python otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

from placet.v1 import evaluate_service_pb2
from placet.wire import BatchReader, Reader, read_batch_natively, shared_parts
from placet_engine.model import Request
from placet_engine.native import Unread
from placet_server.api.messages import MANY_BYTES, read_message

if TYPE_CHECKING:
    from placet_native import Batch as _Read


class Batch(Protocol):
    """An ``EvaluateBatchRequest``."""

    @property
    def tenant(self) -> str: ...

    @property
    def semantics(self) -> int: ...

    @property
    def min_revision(self) -> int: ...

    @property
    def count(self) -> int:
        """How many items it has."""

    def check_shared(self) -> None:
        """Read what the items share.

        Raises:
            Malformed: it, or the number of items, is not as it has to be.
        """

    def keys(self) -> list[tuple[bytes, bytes]]:
        """Return for each item bytes that are equal only for requests that ask the same."""

    def requests(self, places: Sequence[int]) -> Mapping[int, Request | Unread]:
        """Read some of the items, by their places.

        Raises:
            Malformed: one of them is not as it has to be.
        """


def open_batch(data: bytes) -> Batch:
    """Read as much of a batch as is needed to know whose it is.

    Raises:
        MessageTooLarge, BadMessage: it cannot be read.
    """
    read = read_batch_natively(data)
    return _InPython(data) if read is None else _Natively(data, read)


class _InPython:
    def __init__(self, data: bytes) -> None:
        self._message = read_message(evaluate_service_pb2.EvaluateBatchRequest, data, MANY_BYTES)
        self._reader = Reader()
        self.tenant = self._message.tenant
        self.semantics: int = self._message.semantics
        self.min_revision = self._message.min_revision
        self.count = len(self._message.items)

    def check_shared(self) -> None:
        _ = self._shared
        self._reader.finish()

    def keys(self) -> list[tuple[bytes, bytes]]:
        shared = shared_parts(self._message)
        return [
            (shared, item.SerializeToString(deterministic=True)) for item in self._message.items
        ]

    def requests(self, places: Sequence[int]) -> dict[int, Request]:
        items = self._message.items
        read = {place: self._shared.request(items[place], place) for place in places}
        self._reader.finish()
        return read

    @cached_property
    def _shared(self) -> BatchReader:
        return BatchReader(self._message, self._reader)


class _Natively:
    """What its items share is as it has to be, or it would not be read."""

    def __init__(self, data: bytes, read: _Read) -> None:
        self._data = data
        self._read = read
        self._keys = read.keys()
        self.tenant = read.tenant
        self.semantics = read.semantics
        self.min_revision = read.min_revision
        self.count = len(self._keys)

    def check_shared(self) -> None:
        pass

    def keys(self) -> list[tuple[bytes, bytes]]:
        return self._keys

    def requests(self, places: Sequence[int]) -> Mapping[int, Request | Unread]:
        read: dict[int, Request | Unread] = {}
        for place in places:
            asked = self._read.request(place)
            if asked is None:
                return self._in_python.requests(places)
            read[place] = Unread(asked, partial(self._request_in_python, place))
        return read

    def _request_in_python(self, place: int) -> Request:
        return self._in_python.requests([place])[place]

    @cached_property
    def _in_python(self) -> _InPython:
        return _InPython(self._data)
