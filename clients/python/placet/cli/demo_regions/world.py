"""The regions as processes: started, broken and mended while they are asked."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from typing import Any

from placet.cli.demo_regions.folders import Folder
from placet.cli.demo_regions.members import Member, write_files
from placet.cli.demo_regions.networks import Network
from placet.cli.demo_regions.news import News
from placet.cli.demo_regions.scene import NodeSpec, Scene, TenantSpec
from placet.cli.demo_regions.tasks import beside, together
from placet.cli.demo_regions.watching import Seen, Watch
from placet.cli.failures import Failure
from placet.cli.terminal import counted

_START_TIMEOUT_S = 120.0
_EXCUSED_S = 6.0
"""How long calls may still fail after a tenant had nobody: deadlines, and finding those that are
back."""


class NodeState(Enum):
    """How a node fares, by what was done to it and what it says."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    SILENT = "silent"
    """It runs, and does not answer."""
    HUNG = "hung"
    KILLED = "killed"
    ENDED = "ended"
    """In another way, by itself."""


class World:
    """Nodes, and what can be done to them.

    Args:
        scene: what there is.
        folder: for files.
        network: what nodes are on.
        news: is told what happens.
    """

    def __init__(self, scene: Scene, folder: Folder, network: Network, news: News) -> None:
        self.scene = scene
        self.members: Mapping[str, Member] = {
            node.name: Member(node, folder, network) for node in scene.nodes
        }
        self.watch = Watch(scene, self.members, self._lost)
        self._folder = folder
        self._network = network
        self._news = news
        self._broken_s: dict[str, float] = {}
        """When nodes were killed or hung."""
        self._starting: set[str] = set()
        self._nowhere_s = {tenant.name: -1e9 for tenant in scene.tenants}
        self.is_started = False
        """Whether all nodes have served. Until then nothing is done to them."""

    # ------------------------------------------------------------------------------- seeing

    def state(self, node: NodeSpec) -> NodeState:
        """Return how a node fares."""
        member, seen = self.members[node.name], self.seen(node)
        if member.is_hung:
            return NodeState.HUNG
        if node.name in self._starting:
            return NodeState.STARTING
        if not member.is_running:
            was_killed = member.exit_code == -signal.SIGKILL
            return NodeState.KILLED if was_killed else NodeState.ENDED
        if not seen.serves(time.monotonic()):
            return NodeState.SILENT
        return NodeState.DRAINING if seen.is_draining else NodeState.SERVING

    def seen(self, node: NodeSpec) -> Seen:
        """Return what a node said of itself last."""
        return self.watch.seen[node.name]

    def is_up(self, node: NodeSpec) -> bool:
        """Whether a node could answer."""
        return self.state(node) in (NodeState.SERVING, NodeState.DRAINING)

    def look(self) -> None:
        """Take notice of what nobody tells: nodes that ended, tenants that have no node."""
        now_s = time.monotonic()
        for tenant in self.scene.tenants:
            self.was_nowhere(tenant)
        for node in self.scene.nodes:
            member = self.members[node.name]
            is_known = node.name in self._starting or node.name in self._broken_s
            if not member.is_running and not is_known:
                self._broken_s[node.name] = now_s
                self._news.add(
                    f"{node.name} ended by itself with {member.exit_code}: {member.last_words()}"
                )

    def was_nowhere(self, tenant: TenantSpec) -> bool:
        """Whether a tenant has no node it may be on, or had none a moment ago."""
        now_s = time.monotonic()
        if not any(
            self.members[node.name].is_running
            and not self.members[node.name].is_hung
            and node.name not in self._starting
            for node in self.scene.nodes
            if self.scene.may_serve(tenant, node.region)
        ):
            self._nowhere_s[tenant.name] = now_s
        return now_s - self._nowhere_s[tenant.name] < _EXCUSED_S

    # ------------------------------------------------------------------------------ starting

    async def start(self, fill: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start all nodes.

        Args:
            fill: publishes what there is to be, once control nodes serve.

        Raises:
            Failure: one of them does not serve.
        """
        write_files(self._folder.path, self.scene, self._network)
        self._starting.update(self.members)
        control = [node for node in self.scene.nodes if node.is_control]
        others = [node for node in self.scene.nodes if not node.is_control]
        # Who follows starts when there is somebody to follow.
        await together(self._first_start(node) for node in control)
        serve = counted(len(control), "control node serves", "control nodes serve")
        self._news.add(f"{serve}, one in each jurisdiction")
        await together((fill(), *(self._first_start(node) for node in others)))
        self.is_started = True
        self._news.add(f"all {len(self.members)} nodes serve; tenants are placed and published")

    async def _first_start(self, node: NodeSpec) -> None:
        try:
            await self._serve(node)
        except TimeoutError as error:
            words = self.members[node.name].last_words()
            raise Failure(f"`{node.name}` does not serve: {words or 'it says nothing'}") from error

    async def _serve(self, node: NodeSpec) -> None:
        """Start a node and wait until it answers.

        Raises:
            TimeoutError: it does not.
        """
        member = self.members[node.name]
        self._starting.add(node.name)
        try:
            began_s = time.monotonic()
            await member.start()
            self._broken_s.pop(node.name, None)
            serving = self.watch.serving(node, since_s=began_s, timeout_s=_START_TIMEOUT_S)
            if not await beside(serving, member.gone()):
                raise TimeoutError
        finally:
            self._starting.discard(node.name)

    async def end(self) -> None:
        """Kill all nodes that run, and wait until they are gone."""
        for member in self.members.values():
            member.kill()
        for member in self.members.values():
            await member.gone()

    # ------------------------------------------------------------------------------ breaking

    def kill(self, nodes: Sequence[NodeSpec], what: str) -> None:
        """Kill nodes."""
        self._break(nodes, what, "killed", Member.kill)

    def hang(self, nodes: Sequence[NodeSpec], what: str) -> None:
        """Let nodes hang."""
        self._break(
            [node for node in nodes if not self.members[node.name].is_hung],
            what,
            "hung",
            Member.hang,
        )

    def _break(
        self, nodes: Sequence[NodeSpec], what: str, how: str, do: Callable[[Member], None]
    ) -> None:
        running = [node for node in nodes if self.members[node.name].is_running]
        if not running:
            self._news.add(f"{what} is not running")
            return
        for node in running:
            self._broken_s[node.name] = time.monotonic()
            do(self.members[node.name])
        self._news.add(f"{what} was {how}")
        for node in running:
            if node.is_control:
                law = self.scene.jurisdiction_of(node)
                self._news.add(f"{law} has no control node: nothing can be published there")

    def _lost(self, node: NodeSpec) -> None:
        if node.name in self._starting:
            # A control node that is new itself counts by what it has read.
            return
        broken_s = self._broken_s.get(node.name)
        after = f" {time.monotonic() - broken_s:.2f} s after" if broken_s is not None else ""
        self._news.add(f"{node.name} lost{after}: its lease lapsed")

    # ------------------------------------------------------------------------------- mending

    async def bring_back(self, nodes: Sequence[NodeSpec], what: str) -> bool:
        """Start what was killed and let go on what hangs; return whether all of it serves again.

        Control nodes first, since others follow them.
        """
        broken = [
            node for node in nodes if not self.is_up(node) and node.name not in self._starting
        ]
        if not broken:
            self._news.add(f"{what} needs no bringing back")
            return True
        # From here on, so that nobody starts one of them twice.
        self._starting.update(node.name for node in broken)
        control = [node for node in broken if node.is_control]
        others = [node for node in broken if not node.is_control]
        mended = [
            *await asyncio.gather(*map(self._mend, control)),
            *await asyncio.gather(*map(self._mend, others)),
        ]
        return all(mended)

    async def _mend(self, node: NodeSpec) -> bool:
        member, began_s = self.members[node.name], time.monotonic()
        try:
            if member.is_running:
                member.go_on()
                self._broken_s.pop(node.name, None)
                await self.watch.serving(node, since_s=began_s, timeout_s=_START_TIMEOUT_S)
            else:
                await member.gone()
                await self._serve(node)
        except TimeoutError:
            self._news.add(f"{node.name} does not come back: {member.last_words()}")
            return False
        finally:
            self._starting.discard(node.name)
        self._news.add(f"{node.name} serves again, after {time.monotonic() - began_s:.1f} s")
        return True
