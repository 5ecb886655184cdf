"""What is done to a store from outside, while no node needs it or beside those that do."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from placet_server.store import migrations
from placet_server.store.checking import Checked, check_store
from placet_server.store.contract import StoreIncompatible, StoreUnavailable
from placet_server.store.copying import Copied, CopyRefused, copy_store
from placet_server.store.pages import Tell
from placet_server.store.tables import store_meta
from placet_server.stores import OpenedDatabase, opened_database

NEWEST_LAYOUT = migrations.HEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What migrating came to."""

    place: str
    before: str | None
    """The layout there was; None: no store."""
    after: str


async def migrate(place: str) -> Migrated:
    """Bring a store to the layout this placet knows; make one where there is none.

    Raises:
        ConfigError, StoreError: it cannot be opened or changed.
    """
    async with opened_database(place) as opened:
        before = await _layout(opened)
        await opened.prepare()
        after = await _layout(opened)
    assert after is not None
    return Migrated(place=opened.shown, before=before, after=after)


async def check(place: str, tell: Tell) -> Checked:
    """Look at all of a store, and change nothing.

    Raises:
        ConfigError, StoreError: it cannot be opened or read.
    """
    async with opened_database(place, is_there=True) as opened:
        await _require_newest(opened)
        return await opened.database.read_long(lambda it: check_store(it, tell))


async def copy(source: str, target: str, tell: Tell) -> Copied:
    """Copy a store into an empty one, and compare the two; all of it is kept, or nothing.

    Raises:
        CopyRefused: one of them is in use, the target is not empty, or they do not agree.
        ConfigError, StoreError: one of them cannot be opened, read or written to.
    """
    stopped = False

    def telling(done: int, whole: int) -> None:
        # A transaction is not cancelled: it comes to an end here, and undoes what it did.
        if stopped:
            raise CopyRefused("the copy was stopped; nothing was kept")
        tell(done, whole)

    async with (
        opened_database(source, is_there=True) as from_,
        opened_database(target) as to,
    ):
        await _refuse_in_use(from_)
        await _require_newest(from_)
        await _refuse_in_use(to)
        await to.prepare()
        try:
            return await from_.database.read_long(
                lambda read: to.database.write_long(
                    lambda written: copy_store(read, written, telling)
                )
            )
        except asyncio.CancelledError:
            stopped = True
            raise


async def accept(place: str) -> str:
    """Take a store that lost commits for a new one, by giving it a new id; return that.

    Whoever followed the store by a cursor starts again from its current state.

    Raises:
        ConfigError, StoreError: it cannot be opened or written to.
    """
    async with opened_database(place, is_there=True) as opened:
        await _require_newest(opened)
        return await opened.database.write(_renew)


async def _renew(connection: AsyncConnection) -> str:
    store_id = uuid.uuid4().hex
    await connection.execute(update(store_meta).values(store_id=store_id))
    return store_id


async def _layout(opened: OpenedDatabase) -> str | None:
    found = await opened.database.read(lambda it: it.run_sync(migrations.heads))
    return ", ".join(sorted(found)) or None


async def _require_newest(opened: OpenedDatabase) -> None:
    layout = await _layout(opened)
    if layout is None:
        raise StoreUnavailable(f"`{opened.shown}` has no store in it; name one that has")
    if layout != NEWEST_LAYOUT:
        raise StoreIncompatible(
            f"`{opened.shown}` has layout `{layout}` and this placet works on `{NEWEST_LAYOUT}`: "
            "run `placet store migrate`, or upgrade placet"
        )


async def _refuse_in_use(opened: OpenedDatabase) -> None:
    if await opened.database.is_in_use():
        raise CopyRefused(
            f"`{opened.shown}` is in use: stop the nodes that serve from it, since what they "
            "commit meanwhile would not be copied"
        )
