"""Following upstreams: the copy, the streams that keep it, and the file it is kept in, together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio

from placet._channel import Destination, Dialing
from placet._following import Follower
from placet._freshness import Status
from placet._mirror import Delta, Snapshot
from placet_engine.items import Item
from placet_server.clock import Clock
from placet_server.config import UpstreamConfig
from placet_server.policies.source import Lineage
from placet_server.tls.opening import PeerTls
from placet_server.upstream.copy import UpstreamCopy
from placet_server.upstream.keeping import StateKeeper
from placet_server.upstream.streams import Patience, Upstream, UpstreamStreams

log = logging.getLogger(__name__)

_PAUSE_S = 1.0
# A connection that could not be made is tried again so soon at the latest.
_CHANNEL_OPTIONS = (("grpc.max_reconnect_backoff_ms", 1_000),)


class Following:
    """What a node without a store follows."""

    def __init__(
        self,
        copy: UpstreamCopy,
        streams: UpstreamStreams,
        keeper: StateKeeper,
        follower: Follower[Item],
    ) -> None:
        self.source = copy
        """What the node's feed follows."""
        self.streams = streams
        """Where it comes from."""
        self.keeper = keeper
        """The file it is kept in."""
        self._follower = follower

    def lineage(self) -> Lineage:
        """Return where what this node has comes from."""
        return self.streams.lineage

    async def run(self) -> None:
        """Follow until cancelled, whatever happens."""
        async with asyncio.TaskGroup() as tasks:
            for run, name in (
                (self._follower.follow, "upstream-follow"),
                (self.streams.keep_to_the_best, "upstream-best"),
                (self.keeper.run, "upstream-state"),
            ):
                tasks.create_task(_again_and_again(run), name=name)


async def _again_and_again(run: Callable[[], Awaitable[object]]) -> None:
    """Run something that should never end until cancelled, whatever becomes of it."""
    while True:
        try:
            await run()
        except Exception:  # a node must not stop following in silence
            log.exception("following the upstream failed; starting again")
        await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def following_upstreams(
    config: UpstreamConfig, *, node: str, region: str, clock: Clock, peers: PeerTls
) -> AsyncIterator[Following]:
    """Follow upstreams for the length of the block, from where the state file has got to.

    Raises:
        ConfigError: the state file is another node's.
    """
    copy = UpstreamCopy(clock)
    async with AsyncExitStack() as stack:

        def dial(address: str) -> grpc.aio.Channel:
            dialing = Dialing(peers.credentials(), _CHANNEL_OPTIONS)
            return Destination(address, dialing).open_aio()

        upstreams = [Upstream(address, dial) for address in config.addresses]
        for upstream in upstreams:
            stack.push_async_callback(upstream.aclose)
        streams = UpstreamStreams(
            upstreams,
            node=node,
            region=region,
            copy=copy,
            patience=Patience(
                stale_after_s=config.stale_after_s, prefer_after_s=config.prefer_after_s
            ),
            clock=clock,
        )
        keeper = StateKeeper(
            Path(config.state_path) if config.state_path else None,
            copy=copy,
            region=region,
            every_s=config.state_every_s,
            clock=clock,
        )
        stack.enter_context(keeper.held())
        if not config.start_over:
            await keeper.read()

        def take(event: Snapshot[Item] | Delta[Item]) -> None:
            copy.take(event, streams.store_id)

        def confirm(_: Status, status: Status) -> None:
            copy.confirm(status)

        follower = Follower(
            streams,
            copy.mirror,
            stale_after_s=config.stale_after_s,
            take=take,
            changed=confirm,
            clock=clock.monotonic,
        )
        following = Following(copy, streams, keeper, follower)
        peers.when_renewed(streams.connect_anew)
        task = asyncio.create_task(following.run(), name="upstream")
        try:
            yield following
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await keeper.aclose()
