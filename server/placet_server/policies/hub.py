"""Hands every step to every subscriber, and waits for none of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from placet_server.errors import Draining, TooManySubscribers
from placet_server.policies.residency import Step


class FellBehind(Exception):
    """The subscriber did not take its commits fast enough; some are lost to it."""


class NodeLeaving(Exception):
    """The node is about to stop; the subscriber has to go elsewhere."""


class Subscription:
    """One subscriber's steps, from the moment it was opened."""

    def __init__(self, max_waiting: int, *, is_of_node: bool = False) -> None:
        self._waiting: deque[Step] = deque()
        self._max_waiting = max_waiting
        self._ended: Exception | None = None
        self._is_beaten = False
        self.is_of_node = is_of_node
        """Whether it is another node that follows, to be told how current this one is."""
        self._wake = asyncio.Event()

    async def next(self, timeout_s: float) -> Step | None:
        """Return the next step, or nothing if there is none for ``timeout_s``, or less.

        Raises:
            FellBehind: commits were lost. The subscription is over.
            NodeLeaving: the node stops. The subscription is over.
        """
        if not self._waiting and self._ended is None and not self._is_beaten:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return None
        if self._ended is not None:
            raise self._ended
        if not self._waiting:
            self._is_beaten = False
            return None
        return self._waiting.popleft()

    def offer(self, step: Step) -> bool:
        """Queue a step; when the queue is full, end the subscription and return false."""
        if len(self._waiting) >= self._max_waiting:
            self.end(FellBehind())
            return False
        self._waiting.append(step)
        self._wake.set()
        return True

    def beat(self) -> None:
        """Have the subscriber told at once how current this node is."""
        self._is_beaten = True
        self._wake.set()

    def end(self, reason: FellBehind | NodeLeaving) -> None:
        """End the subscription; what is queued is of no use any more."""
        self._ended = reason
        self._waiting.clear()
        self._wake.set()


class Hub:
    """All subscriptions of this node."""

    def __init__(self, *, max_subscriptions: int, max_waiting: int) -> None:
        self._subscriptions: set[Subscription] = set()
        self._max_subscriptions = max_subscriptions
        self._max_waiting = max_waiting
        self._leaving = False
        self.resets = 0
        """Subscriptions that ended because commits were lost to them."""

    def __len__(self) -> int:
        return len(self._subscriptions)

    @contextmanager
    def subscription(self, *, is_of_node: bool = False) -> Iterator[Subscription]:
        """Open a subscription for the length of a ``with`` block, for a client or a node.

        Raises:
            TooManySubscribers: the node holds as many as it may.
            Draining: the node is about to stop.
        """
        if self._leaving:
            raise Draining
        if len(self._subscriptions) >= self._max_subscriptions:
            raise TooManySubscribers(self._max_subscriptions)
        subscription = Subscription(self._max_waiting, is_of_node=is_of_node)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def broadcast(self, step: Step) -> None:
        """Hand a step to every subscription that can take it."""
        for subscription in list(self._subscriptions):
            if not subscription.offer(step):
                self._subscriptions.discard(subscription)
                self.resets += 1

    def beat(self) -> None:
        """Tell the nodes that follow this one at once how current it is.

        Those below them wait for it, and would otherwise wait once for each node in between.
        """
        for subscription in self._subscriptions:
            if subscription.is_of_node:
                subscription.beat()

    def reset(self) -> None:
        """End every subscription: commits were missed, and nobody may go on as if not."""
        for subscription in self._subscriptions:
            subscription.end(FellBehind())
        self.resets += len(self._subscriptions)
        self._subscriptions.clear()

    def leave(self) -> None:
        """Tell every subscriber that the node is about to stop, and take no more."""
        self._leaving = True
        for subscription in self._subscriptions:
            subscription.end(NodeLeaving())

    def stay(self) -> None:
        """Take subscribers again: the node is not about to stop after all."""
        self._leaving = False
