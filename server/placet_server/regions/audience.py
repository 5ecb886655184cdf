"""Who watches routes and nodes: bounded in number, woken by news, told when the node leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from placet_server.errors import Draining, TooManyWatchers
from placet_server.regions.moves import Moves


class Audience:
    """All watchers of this node.

    What they are sent is worked out when they can take it, from what is there by then: nothing
    queues up for anybody.
    """

    def __init__(self, max_watchers: int) -> None:
        self._max_watchers = max_watchers
        self._watchers = 0
        self._is_leaving = False
        self.news = Moves()
        """Moves when there may be something new to send."""
        self.routes = Moves(self.news)
        """Moves when calls may have to go elsewhere; not when all that is new is how busy nodes
        are."""

    def __len__(self) -> int:
        return self._watchers

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Be one of them for the length of a ``with`` block.

        Raises:
            TooManyWatchers: the node has as many as it may.
            Draining: the node is about to stop.
        """
        self.check_staying()
        if self._watchers >= self._max_watchers:
            raise TooManyWatchers(self._max_watchers)
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    def check_staying(self) -> None:
        """See that the node is not about to stop.

        Raises:
            Draining: it is.
        """
        if self._is_leaving:
            raise Draining

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Wait for news after those a watcher has seen, or for so long.

        Raises:
            Draining: the node is about to stop.
        """
        await self.news.past(seen, timeout_s)
        self.check_staying()

    def leave(self) -> None:
        """Tell every watcher that the node is about to stop, and take no more."""
        self._is_leaving = True
        self.routes.move()
