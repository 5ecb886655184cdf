"""The channels to endpoints, one each, opened when they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from placet._balancing.endpoints import Endpoint
from placet._balancing.members import Member


class Link:
    """A channel, and the rpcs that were made of it."""

    __slots__ = ("channel", "methods")

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.methods: dict[str, Any] = {}
        """By path."""


class Links:
    """The channels of a fleet, for threads or for an event loop. Thread-safe."""

    def __init__(self, open_channel: Callable[[Endpoint], Any]) -> None:
        self.open = open_channel
        """Opens a channel that is its caller's to close."""
        self._lock = threading.Lock()
        self._links: dict[Member, Link] = {}
        self._is_closed = False

    def to(self, member: Member) -> Link:
        """Return the channel to an endpoint.

        Raises:
            ValueError: all of them were closed; it is what a closed channel of gRPC's raises.
        """
        link = self._links.get(member)
        if link is not None:
            return link
        with self._lock:
            self.check_open()
            link = self._links.get(member)
            if link is None:
                link = self._links[member] = Link(self.open(member.endpoint))
            return link

    def check_open(self) -> None:
        """Raise ValueError if all of them were closed."""
        if self._is_closed:
            raise ValueError("its connections were closed")

    def take(self, member: Member) -> Any | None:
        """Take the channel to an endpoint out, to be closed; None without one."""
        with self._lock:
            link = self._links.pop(member, None)
        return link.channel if link is not None else None

    def take_all(self) -> list[Any]:
        """Take every channel out, to be closed, and open no more."""
        with self._lock:
            self._is_closed = True
            channels = [link.channel for link in self._links.values()]
            self._links.clear()
            return channels
