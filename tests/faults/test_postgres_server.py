"""PostgreSQL servers that die, hang, lose what they had, or are not what a store needs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from placet_engine.changes import Commit
from placet_engine.items import Revision
from placet_server.store.contract import (
    Leadership,
    LeadershipLost,
    RevisionConflict,
    Store,
    StoreDamaged,
    StoreIncompatible,
    StoreUnavailable,
)
from placet_server.store.postgres import PostgresStore, database, noticing
from placet_server.store.postgres.address import Address
from tests.conformance.stores import DEADLINE_S, EMPTY, commit, info, take, texts, write
from tests.faults import victims
from tests.postgres import Cluster, new_cluster, new_schema, running_cluster, shared_cluster


@asynccontextmanager
async def opened(url: str, *, patience_s: float = 5.0) -> AsyncIterator[PostgresStore]:
    async with await PostgresStore.open(Address.parse(url), patience_s=patience_s) as store:
        yield store


@pytest.fixture
def url() -> str:
    """A schema of the test's own."""
    return new_schema()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server of the test's own."""
    with running_cluster() as running:
        yield running


# ----------------------------------------------------------------------- lost connections


@dataclass(slots=True)
class Proxy:
    """Stands before a server, and cuts a connection when it is told to commit."""

    server: int
    cut: Callable[[int], str] = lambda number: ""
    """For each COMMIT, by number: `before` or `after` the server hears it, or not at all."""
    commits: int = 0
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.server)
        answering = asyncio.create_task(self._pass(there, writer))
        try:
            while data := await reader.read(65536):
                when = self._when(data)
                if when == "before":
                    break
                back.write(data)
                await back.drain()
                if when == "after":
                    # What the server answers is not passed on.
                    answering.cancel()
                    await there.read(1)
                    break
        finally:
            answering.cancel()
            for end in (writer, back):
                end.close()
            with suppress(ConnectionError):
                await back.wait_closed()

    def _when(self, data: bytes) -> str:
        if b"COMMIT" not in data:
            return ""
        self.commits += 1
        return self.cut(self.commits)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(port)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listening:
        proxy.port = listening.sockets[0].getsockname()[1]
        yield proxy


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("request_id", ["", "request"])
async def test_a_commit_whose_answer_is_lost_is_found_out_about(
    url: str, when: str, request_id: str
) -> None:
    """The server may have committed or not: the store looks, and appends at most once."""
    port = shared_cluster().port
    async with (
        proxied(port) as proxy,
        opened(url.replace(f":{port}", f":{proxy.port}")) as store,
    ):
        first = await commit(store, "acme", write("a", "// 1"))
        proxy.commits = 0
        proxy.cut = lambda number: when if number == 1 else ""

        done = await store.append(
            "acme",
            [write("a", "// 2")],
            expected=first.revision,
            info=info(request_id, message="second"),
        )

        assert proxy.commits > 1, "nothing was cut"
        assert done.revision == 2
        assert done.request_id == request_id
        assert await store.commits(EMPTY, limit=9) == [first, done]
        with pytest.raises(RevisionConflict):
            await store.append("acme", [write("a")], expected=first.revision, info=info())


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_change_of_the_ledger_whose_answer_is_lost_happens_once(
    url: str, when: str
) -> None:
    port = shared_cluster().port
    async with (
        proxied(port) as proxy,
        opened(url.replace(f":{port}", f":{proxy.port}")) as store,
    ):
        await store.ledger.transact(victims.count_one)
        proxy.commits = 0
        proxy.cut = lambda number: when if number == 1 else ""

        counted = [store.ledger.transact(victims.count_one) for _ in range(3)]

        assert sorted(await asyncio.gather(*counted)) == [2, 3, 4]
        assert proxy.commits > 1, "nothing was cut"
        assert await store.ledger.transact(victims.count_one) == 5


async def test_a_ledger_that_lacks_changes_is_noticed() -> None:
    primary = new_cluster()
    primary.start()
    replica = primary.replica(name="replica")
    try:
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{replica.port}"
        async with opened(f"postgresql://placet@{hosts}/postgres") as node:
            await node.ledger.transact(victims.count_one)
            replica.start()
            await _caught_up(primary)
            replica.stop(mode="fast")
            for _ in range(3):
                await node.ledger.transact(victims.count_one)
            primary.stop()
            replica.start()
            replica.promote()

            with pytest.raises(StoreDamaged, match="this node has seen 4"):
                await node.ledger.transact(victims.count_one)
    finally:
        replica.stop()


async def test_what_stays_unknown_is_not_acknowledged(url: str) -> None:
    port = shared_cluster().port
    async with proxied(port) as proxy:
        proxied_url = url.replace(f":{port}", f":{proxy.port}")
        async with opened(proxied_url, patience_s=0.3) as store:
            proxy.cut = lambda number: "after"

            with pytest.raises(StoreUnavailable, match="not known whether it was committed"):
                await store.append("acme", [write("a")], expected=EMPTY, info=info("request"))

            proxy.cut = lambda number: ""
            done = await store.append("acme", [write("a")], expected=EMPTY, info=info("request"))
            assert done.revision == await store.head() == 1


async def test_a_server_that_restarts_is_waited_for(cluster: Cluster) -> None:
    async with opened(cluster.url, patience_s=DEADLINE_S) as store:
        async with aclosing(store.watch(EMPTY)) as watch:
            before = await commit(store, "acme", write("a", "// 1"))
            cluster.stop()
            appending = asyncio.create_task(commit(store, "acme", write("a", "// 2")))
            await asyncio.to_thread(cluster.start)
            after = await appending

            assert await take(watch, 2) == [before, after]
        assert await texts(store, "acme") == {"a": "// 2"}


async def test_a_server_that_is_away_is_unavailable(cluster: Cluster) -> None:
    async with opened(cluster.url, patience_s=0.2) as store:
        await commit(store, "acme", write("a"))
        cluster.stop()

        with pytest.raises(StoreUnavailable, match="connection refused; see that"):
            await store.head()
        with pytest.raises(StoreUnavailable, match="connection refused; see that"):
            await store.append("acme", [write("a")], expected=EMPTY, info=info())
        cluster.start()
        assert await store.head() == 1


async def test_a_server_that_hangs_is_left(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing says that it does: it takes what is sent, and does not answer."""
    monkeypatch.setattr(noticing, "_SILENCE_S", 0.5)
    async with (
        opened(cluster.url, patience_s=0.1) as store,
        aclosing(store.watch(EMPTY)) as watch,
    ):
        done = await commit(store, "acme", write("a"))
        assert await take(watch, 1) == [done]
        with stopped(cluster):
            async with asyncio.timeout(DEADLINE_S):
                with pytest.raises(StoreUnavailable):
                    await store.head()
        async with asyncio.timeout(DEADLINE_S):
            while True:
                with suppress(StoreUnavailable):
                    assert await store.head() == 1
                    break


async def test_a_server_that_hangs_before_it_was_listened_to_is_left(cluster: Cluster) -> None:
    """It was noticed only by whoever listened already; all others waited for two minutes."""
    async with opened(cluster.url, patience_s=0.1) as store:
        await commit(store, "acme", write("a"))
        with stopped(cluster):
            reading = asyncio.create_task(store.head())
            async with asyncio.timeout(DEADLINE_S), aclosing(store.watch(EMPTY)) as watch:
                watching = asyncio.create_task(anext(watch))
                with pytest.raises(StoreUnavailable):
                    await reading
                with pytest.raises(StoreUnavailable):
                    await watching


class stopped:  # noqa: N801  # reads as a block
    """Has all processes of a server stand still for the length of the block."""

    def __init__(self, cluster: Cluster) -> None:
        self._pids = [cluster.pid]

    def __enter__(self) -> None:
        self._send(signal.SIGSTOP)
        # Who has been stopped makes no more processes: one that was forked in between would
        # answer, and the server would not be silent.
        children = Path(f"/proc/{self._pids[0]}/task/{self._pids[0]}/children").read_text()
        self._pids += map(int, children.split())
        self._send(signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


# ------------------------------------------------------------------------------- failover


async def test_a_replica_that_lacks_commits_is_noticed() -> None:
    """It was promoted, and would give revisions a second time."""
    primary = new_cluster()
    primary.start()
    replica = primary.replica(name="replica")
    try:
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{replica.port}"
        async with opened(f"postgresql://placet@{hosts}/postgres") as node:
            await commit(node, "acme", write("a", "// 1"))
            # It has this one, and not the next.
            replica.start()
            await _caught_up(primary)
            replica.stop(mode="fast")
            lost = await commit(node, "acme", write("a", "// 2"))
            primary.stop()
            replica.start()
            replica.promote()

            with pytest.raises(StoreDamaged, match=r"revision 2, which this node has seen"):
                await node.head()
            with pytest.raises(StoreDamaged):
                await node.append("acme", [write("b")], expected=Revision(1), info=info())

            async with opened(replica.url) as other:
                assert await other.head() == 1
                await commit(other, "acme", write("a", "// other"))
            # There is a revision 2 again, and it is another.
            with pytest.raises(StoreDamaged):
                await node.commits(lost.revision, limit=9)
    finally:
        replica.stop()


async def test_what_no_replica_has_is_neither_acknowledged_nor_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server waits for a replica that is away. Giving up the wait would keep the commit."""
    monkeypatch.setattr(database, "_WRITE", replace(database._WRITE, timeout_s=0.5))
    with running_cluster() as primary:
        replica = primary.replica(name="replica")
        replica.start()
        async with opened(primary.url, patience_s=0.0) as store:
            primary.set(synchronous_standby_names="replica")
            first = await until_appended(store, "first")
            replica.stop(mode="fast")

            with pytest.raises(StoreUnavailable, match="not known whether it was committed"):
                await append_as(store, "second")
            assert await store.head() == first.revision
            assert await store.find_commit("acme", request_id="second") is None

            replica.start()
            second = await until_appended(store, "second")
            assert await store.commits(EMPTY, limit=9) == [first, second]
        replica.stop()


async def append_as(store: PostgresStore, request_id: str) -> Commit:
    expected = (await store.read("acme")).revision
    return await store.append("acme", [write(request_id)], expected=expected, info=info(request_id))


async def until_appended(store: PostgresStore, request_id: str) -> Commit:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(StoreUnavailable):
                return await append_as(store, request_id)


async def _caught_up(primary: Cluster) -> None:
    async with asyncio.timeout(DEADLINE_S):
        lag = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
        while await asyncio.to_thread(primary.run, lag) != "1":  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.02)


async def test_what_is_committed_meanwhile_is_not_missed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is new once looked for commits that came after its transaction began."""
    sleep = f"SELECT pg_sleep(1) -- {url}"
    monkeypatch.setattr(database, "_READ", replace(database._READ, begin=(sleep,)))
    asleep = f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{sleep}'"
    async with opened(url) as store:
        first = await store.append("acme", [write("a")], expected=EMPTY, info=info())
        store.database.abandon()
        reading = asyncio.create_task(store.commits(EMPTY, limit=9))
        async with asyncio.timeout(DEADLINE_S):
            while await asyncio.to_thread(shared_cluster().run, asleep) != "1":
                pass
        await store.append("acme", [write("b")], expected=first.revision, info=info())

        assert await reading == [first]


async def test_a_replica_alone_takes_no_writes() -> None:
    with running_cluster() as primary:
        replica = primary.replica(name="replica")
        replica.start()
        try:
            with pytest.raises(StoreUnavailable, match="it is a replica"):
                async with opened(replica.url, patience_s=0.0):
                    pass
            hosts = f"127.0.0.1:{replica.port},127.0.0.1:{primary.port}"
            async with opened(f"postgresql://placet@{hosts}/postgres") as store:
                assert (await commit(store, "acme", write("a"))).revision == 1
        finally:
            replica.stop()


async def test_another_store_in_the_place_of_the_first_is_noticed(cluster: Cluster) -> None:
    async with opened(cluster.url) as store:
        await commit(store, "acme", write("a"))
        cluster.run("UPDATE store_meta SET store_id = 'another'")
        cluster.stop()
        cluster.start()

        with pytest.raises(StoreDamaged, match="another store is there"):
            await store.head()


# -------------------------------------------------------------- what cannot be a store


async def test_tables_of_another_program_are_left_alone(url: str) -> None:
    shared_cluster().run(f"CREATE TABLE {url.rpartition('=')[2]}.items (name text)")

    with pytest.raises(StoreDamaged, match="tables of another program: `items`"):
        async with opened(url):
            pass


async def test_a_newer_layout_is_left_alone(url: str) -> None:
    async with opened(url):
        pass
    shared_cluster().run(f"UPDATE {url.rpartition('=')[2]}.alembic_version SET version_num = '9'")

    with pytest.raises(StoreIncompatible, match="upgrade placet"):
        async with opened(url):
            pass


async def test_text_has_to_be_utf_8() -> None:
    cluster = shared_cluster()
    cluster.run("CREATE DATABASE ascii TEMPLATE template0 ENCODING SQL_ASCII")

    with pytest.raises(StoreIncompatible, match="ENCODING 'UTF8'"):
        async with opened(cluster.url_of("ascii")):
            pass


async def test_a_missing_table_is_damage(url: str) -> None:
    async with opened(url) as store:
        shared_cluster().run(f"DROP TABLE {url.rpartition('=')[2]}.items")

        with pytest.raises(StoreDamaged, match="restore the database"):
            await store.read("acme")


async def test_a_node_needs_no_right_to_make_tables(url: str) -> None:
    cluster, schema = shared_cluster(), url.rpartition("=")[2]
    cluster.run("DROP ROLE IF EXISTS node")
    cluster.run("CREATE ROLE node LOGIN")
    cluster.run(f"GRANT USAGE ON SCHEMA {schema} TO node")
    as_node = url.replace("placet@", "node@")
    with pytest.raises(StoreUnavailable, match="placet store migrate"):
        async with opened(as_node):
            pass
    async with opened(url):
        pass
    rights = "SELECT, INSERT, UPDATE, DELETE"
    cluster.run(f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO node")

    async with opened(as_node) as store:
        assert (await commit(store, "acme", write("a"))).revision == 1
        await store.compact(Revision(1))
        async with store.lead("rollouts", holder="node"):
            pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("placet@", "nobody-here@"), "see the user"),
        (("/postgres", "/no-such-database"), "create the database"),
        (("?search_path=", "?search_path=no"), "no schema to make tables in"),
    ],
    ids=["user", "database", "schema"],
)
async def test_what_is_not_there_is_told(url: str, change: tuple[str, str], message: str) -> None:
    with pytest.raises((StoreUnavailable, StoreIncompatible), match=message):
        async with opened(url.replace(*change)):
            pass


# ----------------------------------------------------------------------------- leadership


async def test_a_leader_whose_connection_is_lost_is_followed(url: str) -> None:
    async with (
        opened(url) as one,
        opened(url) as other,
        one.lead("rollouts", holder="one") as first,
    ):
        shared_cluster().run(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
        async with asyncio.timeout(DEADLINE_S):
            await first.lost()
            async with other.lead("rollouts", holder="other") as second:
                assert second.fence.term == first.fence.term + 1
        with pytest.raises(LeadershipLost):
            await one.append("acme", [write("a")], expected=EMPTY, info=info(), fence=first.fence)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_leader_that_hangs_is_followed_and_can_do_nothing(
    url: str, tmp_path: Path, kind: str
) -> None:
    """It does not know that it hung, and goes on as if it led."""
    place = url if kind == "postgres" else str(tmp_path / "store.db")
    reading, writing = victims.pipe()
    with reading, writing:
        victim = victims.start(victims.append_while_leading, place, writing)
        try:
            assert await asyncio.to_thread(reading.recv) == "leads"
            await victims.hang(victim, place)
            async with (
                await victims.open_store(place) as store,
                asyncio.timeout(DEADLINE_S),
                AsyncExitStack() as leading,
            ):
                leadership = await _lead_at_last(store, leading)
                assert leadership.fence.term == 2
                os.kill(victim.pid or 0, signal.SIGCONT)
                assert await asyncio.to_thread(reading.recv) == "lost"
                history = await store.commits(EMPTY, limit=1_000_000)
                assert await store.head() == len(history)
        finally:
            victim.kill()
            victim.join(victims.DEADLINE_S)


async def _lead_at_last(store: Store, stack: AsyncExitStack) -> Leadership:
    """Lead as nodes do, who try again: the log is locked by whoever hung while writing to it."""
    while True:
        with suppress(StoreUnavailable):
            return await stack.enter_async_context(store.lead("rollouts", holder="next"))
