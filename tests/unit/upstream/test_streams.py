"""Which upstream is followed, over real connections to servers that do what a test says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from placet.v1 import subscribe_service_pb2 as pb
from placet_server.clock import SystemClock
from placet_server.config import TlsConfig, UpstreamConfig
from placet_server.tls.opening import PeerTls
from placet_server.upstream.following import Following, following_upstreams
from tests.sdk.scripted import Context, ScriptedServer, scripted_server
from tests.sdk.source import Source, go_away, policy, reset
from tests.waiting import until

_BEAT_S = 0.02
_NODE = "edge"


@dataclass
class Upstream:
    """What one upstream is like; it may change while it is followed."""

    source: Source
    node: str
    store_id: str = "store-one"
    beyond: tuple[str, ...] = ()
    staleness_s: float = 0.0
    is_away: bool = False
    is_hung: bool = False
    says_slow: bool = False
    """Whether it says once that it was not read fast enough."""
    lost_before: int = 0
    """Cursors before this revision it cannot go on from."""
    asked: list[bytes] = field(default_factory=list)
    """The cursors it was asked to go on from."""
    open: int = 0
    server: ScriptedServer | None = None

    @property
    def address(self) -> str:
        assert self.server is not None
        return self.server.address

    def _is_there(self) -> bool:
        return not self.is_away

    async def _unless_hung(self) -> None:
        if self.is_hung:
            await asyncio.Event().wait()

    async def play(
        self, request: pb.SubscribeRequest, context: Context
    ) -> AsyncIterator[pb.SubscribeResponse]:
        """Serve one stream."""
        self.asked.append(request.cursor)
        assert (request.tenant, request.subscriber) == ("", _NODE)
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        await self._unless_hung()
        nodes = ",".join((self.node, *self.beyond))
        await context.send_initial_metadata(
            (("placet-store", self.store_id), ("placet-upstreams", nodes))
        )
        if request.cursor and int(request.cursor) < self.lost_before:
            yield reset(pb.ResetRequired.REASON_COMPACTED)
            return
        if request.cursor and int(request.cursor) > self.source.revision:
            yield reset(pb.ResetRequired.REASON_UNKNOWN_CURSOR)
            return
        self.open += 1
        try:
            sent = request.cursor
            while self._is_there():
                await self._unless_hung()
                # What comes while this is written is sent in the next turn.
                missed, sent = self.source.since(sent), self.source.cursor
                for message in missed:
                    yield message
                if self.says_slow and missed:
                    self.says_slow = False
                    yield reset(pb.ResetRequired.REASON_SLOW_READER)
                    return
                beat = self.source.heartbeat(staleness_s=self.staleness_s)
                beat.heartbeat.upstreams.extend((self.node, *self.beyond))
                yield beat
                await asyncio.sleep(_BEAT_S)
            yield go_away(30.0)
        finally:
            self.open -= 1


@asynccontextmanager
async def serving(*upstreams: Upstream) -> AsyncIterator[None]:
    """Run upstreams."""
    async with AsyncExitStack() as stack:
        for upstream in upstreams:
            upstream.server = await stack.enter_async_context(scripted_server())
            upstream.server.scripts = [upstream.play] * 10_000
        yield


@asynccontextmanager
async def following_them(
    *upstreams: Upstream, state: Path | None = None, **options: Any
) -> AsyncIterator[Following]:
    """Follow upstreams that run."""
    config = {"stale_after_s": 0.5, "prefer_after_s": 60.0, "state_every_s": 0.05, **options}
    clock = SystemClock()
    async with following_upstreams(
        UpstreamConfig(
            addresses=tuple(upstream.address for upstream in upstreams),
            state_path=str(state or ""),
            **config,
        ),
        node=_NODE,
        region="local",
        clock=clock,
        peers=PeerTls(TlsConfig(), clock, None),
    ) as following:
        yield following


@asynccontextmanager
async def followed(*upstreams: Upstream, **options: Any) -> AsyncIterator[Following]:
    """Run upstreams, and follow them."""
    async with serving(*upstreams), following_them(*upstreams, **options) as following:
        yield following


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return why upstreams were not followed, in order."""
    return [
        str(vars(record)["reason"])
        for record in caplog.records
        if record.getMessage() == "an upstream cannot be followed"
    ]


async def test_the_first_is_followed_and_the_next_when_it_goes_away() -> None:
    source = Source(policy("a"))
    one, two = Upstream(source, "one"), Upstream(source, "two", beyond=("root",))

    async with followed(one, two) as following:
        await following.source.wait_for_state()
        assert following.lineage().nodes == (_NODE, "one")
        source.commit(policy("b"))
        one.is_away = True
        source.commit(policy("c"))
        await until(lambda: following.lineage().nodes == (_NODE, "two", "root"))

        # It goes on where it was, at once: nobody waits because the first one says so.
        await until(lambda: following.source.mirror.revision == 3)
        assert two.asked[0] != b""
        assert following.streams.failovers == 1
        assert following.source.mirror.snapshot().checksum == source.checksum


async def test_a_renewed_certificate_is_shown_over_new_connections() -> None:
    """The stream goes on at its cursor, at the same upstream; the old connection is closed."""
    source = Source(policy("a"))
    one = Upstream(source, "one")

    async with followed(one, stale_after_s=0.2) as following:
        await following.source.wait_for_state()
        before = following.streams.upstream.channel
        following.streams.connect_anew()
        assert following.streams.upstream.channel is not before
        await until(lambda: len(one.asked) == 2)
        assert one.asked[1] != b""
        source.commit(policy("b"))
        await until(lambda: following.source.mirror.revision == 2)
        assert (following.streams.failovers, one.open) == (0, 1)
        await until(lambda: before.get_state() is grpc.ChannelConnectivity.SHUTDOWN)


async def test_one_that_hangs_is_left_for_its_silence() -> None:
    source = Source(policy("a"))
    one, two = Upstream(source, "one"), Upstream(source, "two")

    async with followed(one, two, stale_after_s=0.2) as following:
        await following.source.wait_for_state()
        one.is_hung = True
        source.commit(policy("b"))
        await until(lambda: following.source.mirror.revision == 2)
        assert following.lineage().nodes[1] == "two"


async def test_one_that_never_says_anything_does_not_keep_the_others_waiting() -> None:
    source = Source(policy("a"))
    one, two = Upstream(source, "one", is_hung=True), Upstream(source, "two")

    async with followed(one, two, stale_after_s=0.2) as following:
        await following.source.wait_for_state()
        assert following.lineage().nodes[1] == "two"


async def test_one_that_follows_this_node_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(policy("a"))
    one = Upstream(source, "one", beyond=("other", _NODE, "root"))
    two = Upstream(source, "two")

    async with followed(one, two) as following:
        await following.source.wait_for_state()
        assert following.lineage().nodes[1] == "two"
    assert any("edge → one → other → edge → root" in it for it in messages(caplog))


async def test_one_that_comes_to_follow_this_node_is_left(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(policy("a"))
    one, two = Upstream(source, "one"), Upstream(source, "two")

    async with followed(one, two) as following:
        await following.source.wait_for_state()
        one.beyond = (_NODE,)
        await until(lambda: following.lineage().nodes == (_NODE, "two"))
    assert any("it follows this node" in it for it in messages(caplog))


async def test_one_with_another_store_is_refused_until_somebody_means_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, other = Source(policy("a")), Source(policy("x"), policy("y"))
    one = Upstream(source, "one")
    two = Upstream(other, "two", store_id="store-two")
    file = tmp_path / "edge.state"

    async with serving(one, two):
        async with following_them(one, two, state=file) as following:
            await following.source.wait_for_state()
            one.is_away = True
            await until(lambda: len(two.asked) > 3)
            assert following.source.store_id == "store-one"
            await until(lambda: two.open == 0)
        assert any("--start-over" in it for it in messages(caplog))

        # A restart changes nothing about it.
        asked = len(two.asked)
        async with following_them(one, two, state=file) as following:
            await until(lambda: len(two.asked) > asked)
            assert following.source.mirror.snapshot().checksum == source.checksum
        async with following_them(one, two, state=file, start_over=True) as following:
            await following.source.wait_for_state()
            assert following.source.store_id == "store-two"
            assert following.source.mirror.snapshot().checksum == other.checksum


async def test_one_that_is_behind_does_not_set_this_node_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, former = Source(policy("a")), Source(policy("a"))
    source.commit(policy("b"))
    one, two = Upstream(source, "one"), Upstream(former, "two")

    async with followed(one, two) as following:
        await following.source.wait_for_state()
        one.is_away = True
        await until(lambda: any("behind what this node has" in it for it in messages(caplog)))
        assert following.source.mirror.revision == 2

        former.commit(policy("b"))
        await until(lambda: following.lineage().nodes == (_NODE, "two"))


async def test_it_starts_over_only_when_nobody_could_go_on() -> None:
    source = Source(policy("a"))
    one, two = Upstream(source, "one"), Upstream(source, "two")

    async with followed(one, two) as following:
        await following.source.wait_for_state()
        for number in range(5):
            source.commit(policy(f"p{number}"))
        await until(lambda: following.source.mirror.revision == 6)
        changes = following.source.changes
        one.lost_before = 10
        one.is_away = True
        await until(lambda: following.lineage().nodes == (_NODE, "two"))
        one.is_away = False
        source.commit(policy("q"))
        await until(lambda: following.source.mirror.revision == 7)
        assert following.source.changes == changes + 1, "deltas, and no snapshot"

        # Now neither of them can.
        two.lost_before = 10
        two.is_away = True
        await asyncio.sleep(0)
        await until(lambda: not following.streams.is_following or two.open == 0)
        two.is_away = False
        await until(lambda: b"" in one.asked[1:] + two.asked)
        source.commit(policy("r"))
        await until(lambda: following.source.mirror.revision == 8)


async def test_one_that_was_too_slow_goes_on_where_it_is() -> None:
    source = Source(policy("a"))
    one = Upstream(source, "one")

    async with followed(one) as following:
        await following.source.wait_for_state()
        one.says_slow = True
        source.commit(policy("b"))
        await until(lambda: len(one.asked) > 1)
        source.commit(policy("c"))
        await until(lambda: following.source.mirror.revision == 3)
    assert b"" not in one.asked[1:]


async def test_an_earlier_one_that_is_back_is_followed_again_after_a_while() -> None:
    source = Source(policy("a"))
    one, two = Upstream(source, "one", is_away=True), Upstream(source, "two")

    async with followed(one, two, stale_after_s=0.1, prefer_after_s=0.3) as following:
        await until(lambda: following.lineage().nodes == (_NODE, "two"))
        await until(lambda: len(one.asked) > 2)
        assert following.lineage().nodes == (_NODE, "two"), "it is tried beside, not instead"

        one.is_away = False
        await until(lambda: following.lineage().nodes == (_NODE, "one"))
        source.commit(policy("b"))
        await until(lambda: following.source.mirror.revision == 2)
        assert following.streams.failovers == 2


async def test_one_that_has_gone_stale_itself_is_left_for_one_that_has_not() -> None:
    source = Source(policy("a"))
    one, two = Upstream(source, "one"), Upstream(source, "two")

    async with followed(one, two, stale_after_s=0.2) as following:
        await following.source.wait_for_state()
        one.staleness_s = 3600.0
        await until(lambda: following.lineage().nodes == (_NODE, "two"))
        # Neither is now: there is no better one, and no going to and fro.
        two.staleness_s = 3600.0
        failovers = following.streams.failovers
        await until(lambda: len(one.asked) > 3)
        assert following.streams.failovers == failovers


async def test_an_old_node_that_says_nothing_of_itself_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(policy("a"))
    old = Upstream(source, "", store_id="")

    async with followed(old):
        await until(lambda: any("upgrade it" in it for it in messages(caplog)))


async def test_nothing_is_said_twice_of_the_same_trouble(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    away = Upstream(Source(policy("a")), "one", is_away=True)

    async with followed(away):
        await until(lambda: len(away.asked) > 4)
        assert len(messages(caplog)) == 1
        away.is_away = False
        await until(lambda: away.open == 1)
        away.is_away = True
        await until(lambda: len(messages(caplog)) == 2)
