"""What was worked out, until something changes; and then once more, to be compared with."""

from __future__ import annotations

from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Remembered(Generic[_K, _V]):
    """Values by key. What nobody asked for between two changes is let go of."""

    def __init__(self) -> None:
        self._now: dict[_K, _V] = {}
        self._former: dict[_K, _V] = {}

    def turn(self) -> None:
        """Have everything be former: something has changed."""
        self._now, self._former = {}, self._now

    def get(self, key: _K) -> _V | None:
        """Return what was put since the last change."""
        return self._now.get(key)

    def former(self, key: _K) -> _V | None:
        """Return what there was before it."""
        return self._former.get(key)

    def put(self, key: _K, value: _V) -> None:
        """Remember a value."""
        self._now[key] = value
