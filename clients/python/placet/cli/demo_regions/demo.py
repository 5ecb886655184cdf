"""The whole of it: regions that run, callers that ask, and what is known of both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from placet.cli.demo_regions.crowd import Crowd
from placet.cli.demo_regions.folders import clean_leftovers, folder
from placet.cli.demo_regions.networks import Network, NetworkKind, network
from placet.cli.demo_regions.news import News
from placet.cli.demo_regions.operating import Operator
from placet.cli.demo_regions.scene import CALLS_PER_SECOND, Scene
from placet.cli.demo_regions.tasks import together
from placet.cli.demo_regions.traffic import Move, Traffic
from placet.cli.demo_regions.world import World
from placet.cli.terminal import counted

_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Demo:
    """What everybody who shows or breaks something has in hands."""

    scene: Scene
    network: Network
    world: World
    operator: Operator
    traffic: Traffic
    news: News


@asynccontextmanager
async def running(scene: Scene, kind: NetworkKind, news: News) -> AsyncIterator[Demo]:
    """Make everything that there is, for the length of the block; nothing runs yet.

    Raises:
        Failure: the network that is asked for cannot be here.
    """
    left = clean_leftovers()
    if left:
        news.add(f"removed what {counted(left, 'demo', 'demos')} left that did not end well")
    with folder() as place:
        async with network(kind, scene) as on:
            world = World(scene, place, on, news)
            try:
                yield Demo(
                    scene,
                    on,
                    world,
                    Operator(scene, world.watch, world.is_up, news),
                    Traffic(scene, world.was_nowhere),
                    news,
                )
            finally:
                await world.end()


async def keep_going(demo: Demo, ready: asyncio.Event) -> None:
    """Start everything and keep it going until cancelled; say when callers ask.

    Raises:
        Failure: something does not start, or ends.
    """
    watching = asyncio.Event()
    world, scene, news = demo.world, demo.scene, demo.news

    def asking() -> None:
        per_second = len(scene.countries) * len(scene.tenants) * CALLS_PER_SECOND
        news.add(f"callers in {', '.join(scene.countries)} ask {per_second} times a second")
        ready.set()

    async def start() -> None:
        await watching.wait()
        await world.start(demo.operator.fill)
        crowd = Crowd(scene, demo.network, demo.traffic.take)
        await together((crowd.run(asking), _look(demo)))

    await together((world.watch.run(watching.set), start()))


async def _look(demo: Demo) -> None:
    """Take notice of what nobody tells."""
    while True:
        demo.world.look()
        for move in demo.traffic.moves(time.monotonic()):
            demo.news.add(_told(move))
        await asyncio.sleep(_LOOK_EVERY_S)


def _told(move: Move) -> str:
    return (
        f"calls moved from {move.source} to {move.target}: {', '.join(move.tenants)} "
        f"in {', '.join(move.countries)}"
    )
