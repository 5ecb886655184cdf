"""What stores promise beyond ``test_store``, if their data outlives them and may be shared."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from placet_engine.changes import Commit
from placet_engine.items import Policy, Revision
from placet_server.store.contract import (
    Fence,
    Leadership,
    LeadershipLost,
    RevisionConflict,
    Store,
)
from tests.conformance.stores import (
    DEADLINE_S,
    EMPTY,
    OpenStore,
    commit,
    commit_many,
    info,
    policy_key,
    remove,
    take,
    texts,
    watch_some,
    write,
)


async def test_reopened_store_has_everything(open_store: OpenStore) -> None:
    store = await open_store()
    await commit(store, "acme", write("a", "// 1"), write("b", "// 1"))
    await commit(store, "globex", write("g"))
    done = await commit(store, "acme", write("a", "// 2"), remove("b"), request_id="request")
    await commit(store, "acme", write("c", "// 3"))
    await store.compact(Revision(1))
    before = await _everything(store)
    await store.aclose()

    store = await open_store()

    assert await _everything(store) == before
    repeated = await store.append("acme", [write("z")], expected=EMPTY, info=info("request"))
    assert repeated == done
    assert (await commit(store, "acme", write("a"))).revision == 5


async def _everything(store: Store) -> object:
    earliest, head = await store.earliest(), await store.head()
    owners = await store.owners()
    return (
        store.store_id,
        (earliest, head, owners),
        [
            await store.read(owner, at=Revision(at))
            for owner in owners
            for at in range(earliest, head + 1)
        ],
        await store.commits(earliest, limit=99),
        [await store.history(owner, limit=99) for owner in owners],
    )


async def test_stores_are_told_apart(open_store: OpenStore) -> None:
    one, other = await open_store(), await open_store("elsewhere")

    await commit(one, "acme", write("a"))

    assert one.store_id != other.store_id
    assert await other.head() == 0


async def test_many_open_a_new_store_at_once(open_store: OpenStore) -> None:
    stores = await asyncio.gather(*(open_store() for _ in range(8)))

    assert len({store.store_id for store in stores}) == 1
    for number, store in enumerate(stores):
        assert (await commit(store, "acme", write("a"))).revision == number + 1


async def test_a_store_opens_while_others_commit(open_store: OpenStore) -> None:
    """What is checked of a store when it is opened once looked at two states of it."""
    busy = await open_store()

    async with asyncio.TaskGroup() as group:
        committing = group.create_task(commit_many(busy, 200))
        while not committing.done():
            store = await open_store()
            assert await store.head() <= 200
            await store.aclose()


async def test_cancelled_open_leaves_nothing_behind(open_store: OpenStore) -> None:
    """Cancels at many points of opening. Warnings being errors, a lost connection would fail."""
    points = 0
    while True:
        opening = asyncio.create_task(open_store())
        for _ in range(points):
            await asyncio.sleep(0)
        if not opening.cancel():
            break
        await asyncio.wait([opening])
        points += 1 + points // 4

    assert (await commit(opening.result(), "acme", write("a"))).revision == 1


async def test_commits_of_another_store_are_read_at_once(open_store: OpenStore) -> None:
    one, other = await open_store(), await open_store()

    for number in range(5):
        done = await commit(one, "acme", write("a", f"// {number}"))
        assert await other.head() == done.revision
        assert await texts(other, "acme") == {"a": f"// {number}"}
        one, other = other, one


async def test_commits_of_another_store_are_watched(open_store: OpenStore) -> None:
    """Nothing in the process tells of them."""
    one, other = await open_store(), await open_store()

    async with aclosing(one.watch(EMPTY)) as watch:
        for _ in range(3):
            done = await commit_many(other, 2)
            assert await take(watch, 2) == done


async def test_one_of_many_appends_through_many_stores_wins(open_store: OpenStore) -> None:
    stores = await asyncio.gather(*(open_store() for _ in range(4)))

    outcomes = await asyncio.gather(
        *(
            store.append("acme", [write("a", f"// {n}")], expected=EMPTY, info=info())
            for store in stores
            for n in range(3)
        ),
        return_exceptions=True,
    )

    won = [outcome for outcome in outcomes if isinstance(outcome, Commit)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]
    assert (len(won), len(lost)) == (1, 11)
    for store in stores:
        assert await store.commits(EMPTY, limit=9) == won


async def test_request_through_many_stores_commits_once(open_store: OpenStore) -> None:
    stores = await asyncio.gather(*(open_store() for _ in range(4)))

    done = await asyncio.gather(
        *(
            store.append("acme", [write("a")], expected=EMPTY, info=info("request"))
            for store in stores
        )
    )

    assert all(each == done[0] for each in done)
    for store in stores:
        assert await store.head() == 1


async def test_no_update_is_lost_between_stores(open_store: OpenStore) -> None:
    """Each writer adds one to a number, again and again, while all are watched."""
    stores = await asyncio.gather(*(open_store() for _ in range(3)))
    additions = 15
    total = len(stores) * additions

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        watched = [group.create_task(watch_some(store, EMPTY, total)) for store in stores]
        for store in stores:
            group.create_task(_add(store, additions))

    log = await stores[0].commits(EMPTY, limit=total + 1)
    assert await texts(stores[0], "acme") == {"sum": str(total)}
    assert [each.revision for each in log] == list(range(1, total + 1))
    for commits in watched:
        assert commits.result() == log


async def _add(store: Store, times: int) -> None:
    while times:
        current = await store.read("acme")
        item = current.items.get(policy_key("sum"))
        number = int(item.body.cedar) if item and isinstance(item.body, Policy) else 0
        try:
            await store.append(
                "acme", [write("sum", str(number + 1))], expected=current.revision, info=info()
            )
        except RevisionConflict:
            continue
        times -= 1


async def test_one_of_many_stores_leads(open_store: OpenStore) -> None:
    one, other = await open_store(), await open_store()

    async with one.lead("rollouts", holder="one") as first:
        waiting = asyncio.create_task(_lead(other, first))
        assert not first.is_lost
        with pytest.raises(RevisionConflict):
            await one.append("acme", [write("a")], expected=Revision(7), info=info())
        assert not waiting.done()
    async with asyncio.timeout(DEADLINE_S):
        second = await waiting

    assert (first.fence.term, second.term) == (1, 2)
    with pytest.raises(LeadershipLost):
        await one.append("acme", [write("a")], expected=EMPTY, info=info(), fence=first.fence)


async def _lead(store: Store, before: Leadership) -> Fence:
    async with store.lead("rollouts", holder="other") as leadership:
        assert before.is_lost
        return leadership.fence


async def test_terms_outlive_the_store(open_store: OpenStore) -> None:
    for term in (1, 2):
        store = await open_store()
        async with store.lead("rollouts", holder="node") as leadership:
            assert leadership.fence.term == term
        await store.aclose()
