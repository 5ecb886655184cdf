"""What operators do: tenants placed and published, nodes drained, changes that spread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from placet import (
    PLATFORM,
    ChangeSet,
    DeadlineExceeded,
    Placement,
    PlacetError,
    Policy,
    Unavailable,
)
from placet.cli.demo_regions.news import News
from placet.cli.demo_regions.scene import NodeSpec, Scene
from placet.cli.demo_regions.tasks import together
from placet.cli.demo_regions.watching import Watch
from placet.cli.examples import starter_documents

_TIMEOUT_S = 5.0
_SPREAD_TIMEOUT_S = 8.0


class Operator:
    """Talks to control nodes, each for its jurisdiction.

    Args:
        scene: what there is.
        watch: has clients of all nodes.
        is_up: tells whether a node could answer.
        news: is told what comes of it.
    """

    def __init__(
        self, scene: Scene, watch: Watch, is_up: Callable[[NodeSpec], bool], news: News
    ) -> None:
        self._scene = scene
        self._watch = watch
        self._is_up = is_up
        self._news = news
        self._changes = 0

    async def fill(self) -> None:
        """Place the tenants at each control node, and publish there whatever it may have."""
        await together(self._fill(node) for node in self._scene.nodes if node.is_control)

    async def _fill(self, control: NodeSpec) -> None:
        """Place the tenants at a control node, and publish there whatever it may have."""
        client = self._watch.client(control)
        for tenant in self._scene.tenants:
            await client.put_tenant(
                Placement(
                    tenant=tenant.name,
                    residency=tenant.rule,
                    home_region=self._scene.home_of(tenant),
                )
            )
        content = starter_documents().change_set(replace_all=True)
        for tenant in self._scene.tenants:
            if self._scene.may_serve(tenant, control.region):
                await client.publish(content, tenant=tenant.name, message="placet demo regions")

    async def drain(self, nodes: Sequence[NodeSpec], *, draining: bool) -> bool:
        """Drain nodes, or end that; return whether their control nodes took it."""
        done = [await self._set_draining(node, draining=draining) for node in nodes]
        return all(done)

    async def _set_draining(self, node: NodeSpec, *, draining: bool) -> bool:
        law = self._scene.jurisdiction_of(node)
        client = self._watch.client(self._scene.control_of(law))
        try:
            await client.update_node(node.name, draining=draining, timeout_s=_TIMEOUT_S)
        except PlacetError as error:
            what = "drained" if draining else "undrained"
            self._news.add(f"{node.name} is not {what}: {_why(error)}")
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
        laws = self._scene.jurisdictions
        return all(await asyncio.gather(*(self._publish_in(law, edit) for law in laws)))

    async def _publish_in(self, law: str, edit: ChangeSet) -> bool:
        control, began_s = self._scene.control_of(law), time.monotonic()
        try:
            publication = await self._watch.client(control).publish(
                edit,
                tenant=PLATFORM,
                message=f"change {self._changes} of the demo",
                timeout_s=_TIMEOUT_S,
            )
        except PlacetError as error:
            self._news.add(f"{law}: nothing published, {_why(error)}")
            return False
        up = [node for node in self._scene.nodes_in(jurisdiction=law) if self._is_up(node)]

        async def reached_ms(node: NodeSpec) -> float | None:
            is_there = await self._watch.reaches(
                node, publication.revision, timeout_s=_SPREAD_TIMEOUT_S
            )
            return (time.monotonic() - began_s) * 1000 if is_there else None

        times = dict(zip(up, await asyncio.gather(*map(reached_ms, up)), strict=True))
        self._news.add(f"{law} decides by r{publication.revision}: {self._spread(times)}")
        return all(ms is not None for ms in times.values())

    def _spread(self, times: Mapping[NodeSpec, float | None]) -> str:
        return ", ".join(
            f"{self._scene.site[node.region].code}{node.number} "
            + (f"{ms:.0f} ms" if ms is not None else "not yet")
            for node, ms in times.items()
        )


def _why(error: PlacetError) -> str:
    """Return why a control node did not do what it was asked for."""
    if isinstance(error, Unavailable | DeadlineExceeded):
        return "its control node does not answer"
    return error.message
