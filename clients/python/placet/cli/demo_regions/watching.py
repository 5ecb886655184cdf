"""How nodes fare: each is asked itself, and control nodes tell whom they have lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from placet import Node, NodeHealth, NotFound, PlacetError, TopologyKind
from placet.aio import Client
from placet.cli.demo_regions.members import Member
from placet.cli.demo_regions.scene import NodeSpec, Scene

_ASK_EVERY_S = 0.5
_ASK_TIMEOUT_S = 0.4
_SILENT_S = 1.5
"""A node that has not answered for this long is not shown as one that serves."""
_AGAIN_S = 0.25
_QUESTION = (("User", "demo"), "view", ("Invoice", "paper"))
# The demo stands beside the network, and wants to know at once who is back.
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
)


@dataclass(slots=True)
class Seen:
    """What a node said of itself last."""

    answered_s: float = -1e9
    revision: int = 0
    staleness_s: float = 0.0
    is_lost: bool = False
    """Whether its control node says that its lease has lapsed."""
    is_draining: bool = False

    def serves(self, now_s: float) -> bool:
        """Whether it has answered a moment ago."""
        return now_s - self.answered_s < _SILENT_S


class Watch:
    """Asks each node, and follows each control node.

    Args:
        scene: what there is.
        members: the nodes.
        lost: is told of each node whose lease has lapsed.
    """

    def __init__(
        self, scene: Scene, members: Mapping[str, Member], lost: Callable[[NodeSpec], None]
    ) -> None:
        self._scene = scene
        self._members = members
        self._lost = lost
        self._clients: dict[str, Client] = {}
        self._answered = asyncio.Condition()
        self.seen: Mapping[str, Seen] = {name: Seen() for name in members}

    def client(self, node: NodeSpec) -> Client:
        """Return a client of one node's."""
        return self._clients[node.name]

    async def run(self, started: Callable[[], None]) -> None:
        """Watch until cancelled; say when clients can be used."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for name, member in self._members.items():
                client = Client(
                    member.address,
                    tenant=self._tenant_at(member.spec),
                    actor="demo",
                    options=_OPTIONS,
                )
                self._clients[name] = await stack.enter_async_context(client)
            started()
            for node in self._scene.nodes:
                tasks.create_task(self._ask(node))
                if node.is_control:
                    tasks.create_task(self._follow(node))

    def _tenant_at(self, node: NodeSpec) -> str:
        """Return a tenant that a node can be asked about."""
        return next(t.name for t in self._scene.tenants if self._scene.may_serve(t, node.region))

    async def serving(self, node: NodeSpec, *, since_s: float, timeout_s: float) -> bool:
        """Wait until a node has answered; then it is true.

        Args:
            node: which.
            since_s: later than this, by the monotonic clock.
            timeout_s: how long.

        Raises:
            TimeoutError: it has not.
        """
        seen = self.seen[node.name]
        async with asyncio.timeout(timeout_s), self._answered:
            return await self._answered.wait_for(lambda: seen.answered_s > since_s)

    async def reaches(self, node: NodeSpec, revision: int, *, timeout_s: float) -> bool:
        """Wait until a node decides by a revision; return whether it does in time."""
        try:
            decision = await self.client(node).evaluate(
                *_QUESTION, min_revision=revision, timeout_s=timeout_s
            )
        except PlacetError:
            return False
        await self._take(node, decision.revision, decision.staleness.total_seconds())
        return True

    async def _ask(self, node: NodeSpec) -> None:
        while True:
            try:
                decision = await self.client(node).evaluate(*_QUESTION, timeout_s=_ASK_TIMEOUT_S)
            except NotFound:
                # Nothing has been published yet.
                await self._take(node, 0, 0.0)
            except PlacetError:
                pass
            else:
                await self._take(node, decision.revision, decision.staleness.total_seconds())
            await asyncio.sleep(_ASK_EVERY_S)

    async def _take(self, node: NodeSpec, revision: int, staleness_s: float) -> None:
        seen = self.seen[node.name]
        seen.answered_s = time.monotonic()
        seen.revision = revision
        seen.staleness_s = staleness_s
        async with self._answered:
            self._answered.notify_all()

    async def _follow(self, control: NodeSpec) -> None:
        """Follow what a control node says of its nodes, whenever it is there."""
        while True:
            try:
                states = self.client(control).watch_topology(kinds=[TopologyKind.NODE])
                async with aclosing(states):
                    async for state in states:
                        for node in state.nodes.values():
                            self._compare(node)
            except PlacetError:
                await asyncio.sleep(_AGAIN_S)

    def _compare(self, node: Node) -> None:
        seen = self.seen.get(node.id)
        if seen is None:
            return
        is_lost = node.health is NodeHealth.LOST
        if is_lost and not seen.is_lost:
            self._lost(self._scene.node[node.id])
        seen.is_lost = is_lost
        seen.is_draining = node.draining
