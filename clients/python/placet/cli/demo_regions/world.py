"""The regions as processes: everything that can be done to them while they are asked."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from placet import PLATFORM, ChangeSet, Placement, PlacetError, Policy
from placet.cli.demo_regions.folders import Folder
from placet.cli.demo_regions.members import Member, write_files
from placet.cli.demo_regions.networks import Network
from placet.cli.demo_regions.news import News
from placet.cli.demo_regions.scene import NodeSpec, Scene, TenantSpec
from placet.cli.demo_regions.tasks import together
from placet.cli.demo_regions.watching import Seen, Watch
from placet.cli.examples import starter_documents
from placet.cli.failures import Failure
from placet.cli.terminal import counted

_START_TIMEOUT_S = 60.0
_PUBLISH_TIMEOUT_S = 5.0
_SPREAD_TIMEOUT_S = 8.0
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
        self._changes = 0

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
            self.is_up(node)
            for node in self.scene.nodes
            if self.scene.may_serve(tenant, node.region)
        ):
            self._nowhere_s[tenant.name] = now_s
        return now_s - self._nowhere_s[tenant.name] < _EXCUSED_S

    # ------------------------------------------------------------------------------ starting

    async def start(self) -> None:
        """Start all nodes, and publish what the tenants have.

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
        await together(
            (
                *(self._fill(node) for node in control),
                *(self._first_start(node) for node in others),
            )
        )
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
            serving = asyncio.create_task(
                self.watch.serving(node, since_s=began_s, timeout_s=_START_TIMEOUT_S)
            )
            gone = asyncio.create_task(member.gone())
            try:
                await asyncio.wait((serving, gone), return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():
                    raise TimeoutError
                await serving
            finally:
                for task in (serving, gone):
                    task.cancel()
        finally:
            self._starting.discard(node.name)

    async def _fill(self, control: NodeSpec) -> None:
        """Place the tenants at a control node, and publish there whatever it may have."""
        client = self.watch.client(control)
        for tenant in self.scene.tenants:
            await client.put_tenant(
                Placement(
                    tenant=tenant.name,
                    residency=tenant.rule,
                    home_region=self.scene.home_of(tenant),
                )
            )
        content = starter_documents().change_set(replace_all=True)
        for tenant in self.scene.tenants:
            if self.scene.may_serve(tenant, control.region):
                await client.publish(content, tenant=tenant.name, message="placet demo regions")

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

    # ----------------------------------------------------------------------------- operating

    async def drain(self, nodes: Sequence[NodeSpec], *, draining: bool) -> bool:
        """Drain nodes, or end that; return whether their control nodes took it."""
        done = [await self._set_draining(node, draining=draining) for node in nodes]
        return all(done)

    async def _set_draining(self, node: NodeSpec, *, draining: bool) -> bool:
        law = self.scene.jurisdiction_of(node)
        client = self.watch.client(self.scene.control_of(law))
        try:
            await client.update_node(node.name, draining=draining, timeout_s=_PUBLISH_TIMEOUT_S)
        except PlacetError as error:
            what = "drained" if draining else "undrained"
            self._news.add(f"{node.name} is not {what}, {law} has no control node: {error.message}")
            return False
        self._news.add(f"{node.name} {'drains' if draining else 'gets calls again'}")
        return True

    async def publish(self) -> bool:
        """Publish a change of the platform's at each control node; return whether all took it."""
        self._changes += 1
        # About an action that nobody asks for: it is to be seen, and to change no answer.
        action = f'Action::"demo-{self._changes}"'
        cedar = f"forbid (principal, action == {action}, resource);"
        edit = ChangeSet(policies=[Policy(id="demo/change", cedar=cedar)])
        laws = self.scene.jurisdictions
        return all(await asyncio.gather(*(self._publish_in(law, edit) for law in laws)))

    async def _publish_in(self, law: str, edit: ChangeSet) -> bool:
        control, began_s = self.scene.control_of(law), time.monotonic()
        try:
            publication = await self.watch.client(control).publish(
                edit,
                tenant=PLATFORM,
                message=f"change {self._changes} of the demo",
                timeout_s=_PUBLISH_TIMEOUT_S,
            )
        except PlacetError:
            self._news.add(f"{law}: nothing published, its control node does not answer")
            return False
        up = [node for node in self.scene.nodes_in(jurisdiction=law) if self.is_up(node)]

        async def reached_ms(node: NodeSpec) -> float | None:
            is_there = await self.watch.reaches(
                node, publication.revision, timeout_s=_SPREAD_TIMEOUT_S
            )
            return (time.monotonic() - began_s) * 1000 if is_there else None

        times = dict(zip(up, await asyncio.gather(*map(reached_ms, up)), strict=True))
        self._news.add(f"{law} decides by r{publication.revision}: {self._spread(times)}")
        return all(ms is not None for ms in times.values())

    def _spread(self, times: Mapping[NodeSpec, float | None]) -> str:
        return ", ".join(
            f"{self.scene.site[node.region].code}{node.number} "
            + (f"{ms:.0f} ms" if ms is not None else "not yet")
            for node, ms in times.items()
        )
