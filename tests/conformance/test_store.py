"""What every store promises, as ``placet_server.store.contract`` says it."""

from __future__ import annotations

import asyncio
import datetime
import random
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from placet_engine.changes import Commit, Edit, ItemChange, ItemSet
from placet_engine.items import (
    TOPOLOGY,
    Body,
    CandidateEdits,
    Content,
    Item,
    ItemKey,
    ItemKind,
    NodeSettings,
    Placement,
    Policy,
    Revision,
    RolloutRecord,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import Entity, EntityUid, Layer, Position
from placet_engine.placement.residency import ResidencyRule
from placet_engine.rollouts.plan import Plan, PlanDefaults
from placet_engine.rollouts.record import Rollout, RolloutState
from placet_server.store.contract import (
    CommitInfo,
    CommitSummary,
    Fence,
    LeadershipLost,
    Notice,
    RevisionCompacted,
    RevisionConflict,
    RevisionUnknown,
    Store,
    StoreUnavailable,
)
from placet_server.store.following import PAGE
from tests.conformance.stores import (
    DEADLINE_S,
    EMPTY,
    NOON,
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

# ------------------------------------------------------------------------------- append


async def test_empty_store_has_nothing(store: Store) -> None:
    assert await store.head() == 0
    assert await store.earliest() == 0
    assert await store.owners() == {}
    assert await store.read("acme") == ItemSet(owner="acme")
    assert await store.read("acme", at=EMPTY) == ItemSet(owner="acme")
    assert await store.commits(EMPTY, limit=10) == []
    assert await store.history("acme", limit=10) == []
    assert store.store_id


async def test_append_returns_what_changed(store: Store) -> None:
    first = await store.append(
        "acme",
        [write("b", "// b1"), write("a", "// a1")],
        expected=EMPTY,
        info=info(author="ann", message="first"),
    )
    second = await store.append(
        "acme",
        [remove("b"), write("c", "// c1"), write("a", "// a2")],
        expected=first.revision,
        info=info("request", author="ben", message="second"),
    )

    def item(revision: int, policy_id: str, cedar: str) -> Item:
        return Item("acme", Revision(revision), Policy(id=policy_id, cedar=cedar))

    assert first == Commit(
        revision=Revision(1),
        owner="acme",
        time=NOON,
        changes=(
            ItemChange(None, item(1, "a", "// a1")),
            ItemChange(None, item(1, "b", "// b1")),
        ),
        author="ann",
        message="first",
    )
    assert second == Commit(
        revision=Revision(2),
        owner="acme",
        time=NOON,
        changes=(
            ItemChange(item(1, "a", "// a1"), item(2, "a", "// a2")),
            ItemChange(item(1, "b", "// b1"), None),
            ItemChange(None, item(2, "c", "// c1")),
        ),
        author="ben",
        message="second",
        request_id="request",
    )
    assert await store.commits(EMPTY, limit=10) == [first, second]


async def test_read_shows_an_append_at_once(store: Store) -> None:
    await commit(store, "acme", write("a", "// 1"), write("b", "// 1"))
    done = await commit(store, "acme", write("a", "// 2"), remove("b"))

    items = await store.read("acme")

    assert items.owner == "acme"
    assert items.revision == done.revision == await store.head()
    assert items.items == {
        policy_key("a"): Item("acme", done.revision, Policy(id="a", cedar="// 2"))
    }


async def test_removed_item_can_be_written_again(store: Store) -> None:
    await commit(store, "acme", write("a", "// 1"))
    await commit(store, "acme", remove("a"))
    again = await commit(store, "acme", write("a", "// 2"))

    assert [change.before for change in again.changes] == [None]
    assert await texts(store, "acme") == {"a": "// 2"}
    assert await texts(store, "acme", at=Revision(2)) == {}


async def test_revisions_grow_by_one_across_owners(store: Store) -> None:
    owners = ["acme", "", "globex", "acme", "", "acme"]

    revisions = [(await commit(store, owner, write("a"))).revision for owner in owners]

    assert revisions == [1, 2, 3, 4, 5, 6]
    assert await store.owners() == {"acme": 6, "": 5, "globex": 3}


async def test_owners_do_not_see_each_other(store: Store) -> None:
    await commit(store, "acme", write("a", "// acme"))
    await commit(store, "globex", write("a", "// globex"), write("b", "// globex"))
    await commit(store, "globex", remove("b"))

    assert await texts(store, "acme") == {"a": "// acme"}
    assert await texts(store, "globex") == {"a": "// globex"}
    assert (await store.read("acme")).revision == 1
    assert [line.revision for line in await store.history("acme", limit=9)] == [1]
    assert (await store.read("acm")).items == {}


@pytest.mark.parametrize("expected", [0, 1, 3, 99])
async def test_append_on_another_revision_conflicts(store: Store, expected: int) -> None:
    await commit(store, "acme", write("a", "// 1"))
    await commit(store, "acme", write("a", "// 2"))
    await commit(store, "globex", write("a"))

    with pytest.raises(RevisionConflict) as raised:
        await store.append(
            "acme", [write("a", "// 3")], expected=Revision(expected), info=info("request")
        )

    assert (raised.value.owner, raised.value.expected, raised.value.actual) == ("acme", expected, 2)
    assert await store.head() == 3
    assert await texts(store, "acme") == {"a": "// 2"}
    assert len(await store.history("acme", limit=9)) == 2


async def test_new_owner_expects_nothing(store: Store) -> None:
    with pytest.raises(RevisionConflict) as raised:
        await store.append("acme", [write("a")], expected=Revision(1), info=info())

    assert raised.value.actual == 0
    assert await store.owners() == {}


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([], "at least one edit"),
        ([write("a", "// 1"), write("a", "// 2")], "at most once"),
        ([write("a"), remove("a")], "at most once"),
        ([Edit(policy_key("b"), Policy(id="a", cedar=""))], "the edit of policy b"),
        ([write("b"), remove("a")], "cannot remove policy a"),
        ([write("\ud800")], "not valid UTF-8"),
        ([write("a", "// \udfff")], "not valid UTF-8"),
    ],
)
async def test_append_refuses_edits_that_make_no_sense(
    store: Store, edits: list[Edit], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await store.append("acme", edits, expected=EMPTY, info=info())

    assert await store.head() == 0
    assert (await commit(store, "acme", write("a"))).revision == 1


@pytest.mark.parametrize(
    "refused",
    [
        CommitInfo(time=NOON.replace(tzinfo=None)),
        CommitInfo(time=NOON, author="\ud800"),
        CommitInfo(time=NOON, message="\ud800"),
        CommitInfo(time=NOON, request_id="\ud800"),
    ],
    ids=["time", "author", "message", "request_id"],
)
async def test_append_refuses_what_cannot_be_kept(store: Store, refused: CommitInfo) -> None:
    with pytest.raises(ValueError, match=r"time zone|not valid UTF-8"):
        await store.append("acme", [write("a")], expected=EMPTY, info=refused)

    assert await store.head() == 0


async def test_one_of_many_concurrent_appends_wins(store: Store) -> None:
    await commit(store, "acme", write("a"))

    outcomes = await asyncio.gather(
        *(
            store.append("acme", [write("a", f"// {n}")], expected=Revision(1), info=info())
            for n in range(20)
        ),
        return_exceptions=True,
    )

    won = [outcome for outcome in outcomes if isinstance(outcome, Commit)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, RevisionConflict)]
    assert (len(won), len(lost)) == (1, 19)
    assert await store.head() == 2
    assert (await store.read("acme")).items[policy_key("a")] == won[0].changes[0].after


async def test_concurrent_appends_to_many_owners_all_succeed(store: Store) -> None:
    owners = [f"tenant-{number}" for number in range(20)]

    done = await asyncio.gather(*(commit(store, owner, write("a")) for owner in owners))

    assert sorted(each.revision for each in done) == list(range(1, 21))
    assert await store.owners() == {each.owner: each.revision for each in done}
    assert await store.commits(EMPTY, limit=99) == sorted(done, key=lambda each: each.revision)


# ----------------------------------------------------------------------- repeated requests


async def test_repeated_request_returns_the_first_commit(store: Store) -> None:
    await commit(store, "acme", write("a", "// 0"))
    first = await store.append(
        "acme", [write("a", "// 1")], expected=Revision(1), info=info("request")
    )
    await commit(store, "acme", remove("a"))

    repeated = await store.append(
        "acme", [write("a", "// 1")], expected=Revision(1), info=info("request")
    )
    other = await store.append(
        "acme", [remove("z")], expected=Revision(77), info=info("request", author="other")
    )

    assert repeated == first == other
    assert await store.head() == 3
    assert await texts(store, "acme") == {}


async def test_request_ids_belong_to_their_owner(store: Store) -> None:
    acme = await commit(store, "acme", write("a"), request_id="request")
    globex = await commit(store, "globex", write("a"), request_id="request")

    assert (acme.revision, globex.revision) == (1, 2)


async def test_a_commit_is_found_by_its_request_id(store: Store) -> None:
    made = await commit(store, "acme", write("a"), request_id="request")
    await commit(store, "acme", write("b"))

    assert await store.find_commit("acme", request_id="request") == made
    assert await store.find_commit("globex", request_id="request") is None
    assert await store.find_commit("acme", request_id="other") is None
    assert await store.find_commit("acme", request_id="") is None


async def test_appends_without_request_id_are_all_new(store: Store) -> None:
    await commit(store, "acme", write("a", "// 1"))
    await commit(store, "acme", write("a", "// 1"))

    assert await store.head() == 2


async def test_request_that_conflicted_can_be_made_again(store: Store) -> None:
    await commit(store, "acme", write("a", "// 1"))
    with pytest.raises(RevisionConflict):
        await store.append("acme", [write("a", "// 2")], expected=EMPTY, info=info("request"))

    done = await store.append(
        "acme", [write("a", "// 2")], expected=Revision(1), info=info("request")
    )

    assert done.revision == 2


async def test_request_made_many_times_at_once_commits_once(store: Store) -> None:
    done = await asyncio.gather(
        *(
            store.append("acme", [write("a")], expected=EMPTY, info=info("request"))
            for _ in range(10)
        )
    )

    assert all(each == done[0] for each in done)
    assert await store.head() == 1


async def test_cancelled_append_is_committed_once_or_not_at_all(store: Store) -> None:
    """Cancels at many points of an append, until it is over, and repeats it as a caller would."""
    points = 0
    was_cancelled = True
    while was_cancelled:
        request_id = f"request-{points}"
        expected = (await store.read("acme")).revision

        async def attempt(request_id: str = request_id, expected: Revision = expected) -> Commit:
            edits = [write("a", f"// {request_id}")]
            return await store.append("acme", edits, expected=expected, info=info(request_id))

        cancelled = asyncio.create_task(attempt())
        for _ in range(points):
            await asyncio.sleep(0)
        was_cancelled = cancelled.cancel()
        await asyncio.wait([cancelled])
        async with asyncio.timeout(DEADLINE_S):
            done = await attempt()
        points += 1 + points // 8

        assert done.revision == expected + 1 == await store.head()
        assert done.request_id == request_id

    history = await store.commits(EMPTY, limit=1_000)
    assert len({each.request_id for each in history}) == len(history)


# ---------------------------------------------------------------------------------- read


async def test_read_at_shows_each_earlier_revision(store: Store) -> None:
    await commit(store, "acme", write("a", "// a1"), write("b", "// b1"))
    await commit(store, "globex", write("a", "// other"))
    await commit(store, "acme", write("a", "// a3"), remove("b"))
    await commit(store, "acme", remove("a"))
    await commit(store, "acme", write("b", "// b5"))

    seen = [(await texts(store, "acme", at=Revision(at))) for at in range(6)]
    revisions = [(await store.read("acme", at=Revision(at))).revision for at in range(6)]

    assert seen == [
        {},
        {"a": "// a1", "b": "// b1"},
        {"a": "// a1", "b": "// b1"},
        {"a": "// a3"},
        {},
        {"b": "// b5"},
    ]
    assert revisions == [0, 1, 1, 3, 4, 5]
    assert await store.read("acme", at=await store.head()) == await store.read("acme")


@pytest.mark.parametrize("at", [3, 2**80])
async def test_read_at_unknown_revision(store: Store, at: int) -> None:
    await commit_many(store, 2)

    with pytest.raises(RevisionUnknown) as raised:
        await store.read("acme", at=Revision(at))

    assert (raised.value.revision, raised.value.head) == (at, 2)


async def test_item_set_stays_as_it_was_read(store: Store) -> None:
    await commit(store, "acme", write("a", "// 1"))
    items = await store.read("acme")

    await commit(store, "acme", write("a", "// 2"), write("b"))

    assert items == await store.read("acme", at=Revision(1))


# ------------------------------------------------------------------- what is in the items

BODIES: list[Content] = [
    Policy(id="p1", cedar="permit (principal, action, resource);"),
    Policy(
        id="p2",
        cedar="// \0 \\ \\0 '\";\r\n\t🦉",
        layer=Layer.JURISDICTION,
        jurisdiction="EU",
        description="why",
        labels={"team": "orders", "": "empty"},
        position=Position(file="a.cedar", line=3, column=9),
    ),
    TemplateLink(id="l1", template_id="t1"),
    TemplateLink(
        id="l2",
        template_id="t1",
        principal=EntityUid("User", "ann"),
        resource=EntityUid("App::Doc", '"d"'),
    ),
    StoredEntity(Entity(uid=EntityUid("User", "ann"))),
    StoredEntity(
        Entity(
            uid=EntityUid("App::Doc", "d1"),
            attributes={
                "no": False,
                "number": -(2**63),
                "set": ["a", 1, {"deep": []}],
                "owner": {"__entity": {"type": "User", "id": "ann"}},
                "from": {"__extn": {"fn": "ip", "arg": "10.0.0.0/8"}},
                "null\0key": "",
            },
            parents=(EntityUid("Folder", "f1"), EntityUid("Folder", "f0")),
            tags={"tag": "value"},
        )
    ),
    SchemaText("entity User;"),
    Settings(
        schema_validation=SchemaValidation.WARN, jurisdictions=("EU", "US"), max_staleness_s=2.5
    ),
]


async def test_every_kind_of_body_comes_back_equal(store: Store) -> None:
    done = await commit(store, "acme", *(Edit(body.key, body) for body in BODIES))

    read = await store.read("acme")

    assert {key: item.body for key, item in read.items.items()} == {
        body.key: body for body in BODIES
    }
    assert {item.digest for item in read.items.values()} == {
        Item("acme", done.revision, body).digest for body in BODIES
    }
    assert await store.commits(EMPTY, limit=1) == [done]


async def test_kinds_and_types_do_not_share_ids(store: Store) -> None:
    bodies: list[Body] = [
        Policy(id="x", cedar=""),
        TemplateLink(id="x", template_id="t"),
        StoredEntity(Entity(uid=EntityUid("A", "x"))),
        StoredEntity(Entity(uid=EntityUid("B", "x"))),
    ]
    await commit(store, "acme", *(Edit(body.key, body) for body in bodies))

    await commit(store, "acme", Edit(ItemKey(ItemKind.ENTITY, "x", "A"), None))

    assert set((await store.read("acme")).items) == {body.key for body in bodies} - {
        ItemKey(ItemKind.ENTITY, "x", "A")
    }


async def test_caller_cannot_reach_into_the_store(store: Store) -> None:
    """A body keeps what it was when it was appended, and reads as it does from a database."""
    names: list[Any] = ["ann"]
    entity = Entity(uid=EntityUid("Team", "t"), attributes={"names": names, "pair": ("a", "b")})
    done = await commit(store, "acme", Edit(StoredEntity(entity).key, StoredEntity(entity)))

    names.append("eve")

    expected = StoredEntity(
        Entity(uid=entity.uid, attributes={"names": ["ann"], "pair": ["a", "b"]})
    )
    (item,) = (await store.read("acme")).items.values()
    assert item.body == expected
    assert [change.after and change.after.body for change in done.changes] == [expected]


ODD_TEXTS = [
    "",
    " ",
    "  ",
    "\0",
    "a\0",
    "a\0b",
    "a",
    "\\0",
    "\\\\0",
    "\\",
    "\\\0",
    "'",
    '"',
    "''; DROP TABLE items; --",
    "%",
    "_",
    "\n",
    "a\r\nb",
    "\x7f\x01",
    "A",
    "é",
    "e\u0301",
    "ﬀ",
    "🦉",
    "👩‍👩‍👧",
    "שלום",
    "\u202egnp.exe",
    "\ufeff",
    "\uffff",
    "\U0010ffff",
    "null",
    "x" * 100_000,
]


async def test_any_text_is_an_id(store: Store) -> None:
    bodies: list[Body] = []
    for text in ODD_TEXTS:
        bodies.append(Policy(id=text, cedar=text))
        bodies.append(TemplateLink(id=text, template_id=text))
        bodies.append(StoredEntity(Entity(uid=EntityUid(text, text), attributes={text: text})))
    await commit(store, "acme", *(Edit(body.key, body) for body in bodies))

    for text in ODD_TEXTS:
        await commit(store, "acme", write(text, "// new"))
        assert len(await store.history("acme", key=policy_key(text), limit=9)) == 2
    read = await store.read("acme")
    assert {key: item.body for key, item in read.items.items()} == {
        body.key: Policy(id=body.id, cedar="// new") if isinstance(body, Policy) else body
        for body in bodies
    }

    await commit(store, "acme", *(Edit(body.key, None) for body in bodies))
    assert (await store.read("acme")).items == {}
    assert len((await store.read("acme", at=Revision(1))).items) == len(bodies)


async def test_any_text_is_an_owner_and_a_note(store: Store) -> None:
    for text in ODD_TEXTS:
        note = info(f"request {text}", author=text, message=text)
        done = await store.append(text, [write("a", text)], expected=EMPTY, info=note)
        repeated = await store.append(text, [write("a", text)], expected=EMPTY, info=note)
        assert repeated == done

    assert set(await store.owners()) == set(ODD_TEXTS)
    for text in ODD_TEXTS:
        assert await texts(store, text) == {"a": text}
        (line,) = await store.history(text, limit=9)
        assert (line.owner, line.author, line.message) == (text, text, text)
    assert [each.owner for each in await store.commits(EMPTY, limit=99)] == ODD_TEXTS


async def test_large_bodies(store: Store) -> None:
    large = "🦉\0" * 200_000  # a megabyte in UTF-8, more in JSON

    done = await commit(store, "acme", *(write(f"p{number}", large) for number in range(4)))

    assert await texts(store, "acme") == {f"p{number}": large for number in range(4)}
    assert await watch_some(store, EMPTY, 1) == [done]


@pytest.mark.slow
async def test_large_change_sets(store: Store) -> None:
    """More keys than an SQL statement takes parameters, which is 32,766."""
    count = 33_000
    await commit(store, "acme", *(write(f"p{number}", "// 1") for number in range(count)))

    done = await commit(store, "acme", *(remove(f"p{number}") for number in range(1, count)))

    assert done.deletes == count - 1
    assert await texts(store, "acme") == {"p0": "// 1"}
    assert await store.commits(Revision(1), limit=1) == [done]


@pytest.mark.parametrize(
    "time",
    [
        datetime.datetime.min.replace(tzinfo=datetime.UTC),
        datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=datetime.UTC),
        datetime.datetime(
            2025, 3, 30, 2, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2))
        ),
        datetime.datetime.max.replace(tzinfo=datetime.UTC),
    ],
    ids=["min", "before 1970", "other zone", "max"],
)
async def test_times_are_exact(store: Store, time: datetime.datetime) -> None:
    await store.append("acme", [write("a")], expected=EMPTY, info=CommitInfo(time=time))

    (done,) = await store.commits(EMPTY, limit=1)
    (line,) = await store.history("acme", limit=1)

    assert done.time == line.time == time


# -------------------------------------------------------------------- commits and history


async def test_commits_come_in_pages(store: Store) -> None:
    done = [
        await commit(store, owner, write("p", f"// {number}"))
        for number, owner in enumerate(["acme", "globex", "acme", "", "acme"])
    ]

    assert await store.commits(EMPTY, limit=2) == done[:2]
    assert await store.commits(Revision(2), limit=2) == done[2:4]
    assert await store.commits(Revision(4), limit=2) == done[4:]
    assert await store.commits(Revision(5), limit=2) == []
    assert await store.commits(EMPTY, limit=1_000_000) == done


@pytest.mark.parametrize("after", [3, 2**80])
async def test_commits_after_an_unknown_revision(store: Store, after: int) -> None:
    await commit_many(store, 2)

    with pytest.raises(RevisionUnknown) as raised:
        await store.commits(Revision(after), limit=1)

    assert (raised.value.revision, raised.value.head) == (after, 2)


async def test_history_is_newest_first(store: Store) -> None:
    await store.append(
        "acme",
        [write("a"), write("b")],
        expected=EMPTY,
        info=info(author="ann", message="first"),
    )
    await commit(store, "globex", write("a"))
    await store.append(
        "acme",
        [remove("a"), remove("b"), write("c")],
        expected=Revision(1),
        info=info(author="ben", message="second"),
    )

    assert await store.history("acme", limit=9) == [
        CommitSummary(
            revision=Revision(3),
            owner="acme",
            time=NOON,
            author="ben",
            message="second",
            upserts=1,
            deletes=2,
        ),
        CommitSummary(
            revision=Revision(1),
            owner="acme",
            time=NOON,
            author="ann",
            message="first",
            upserts=2,
            deletes=0,
        ),
    ]


async def test_history_comes_in_pages(store: Store) -> None:
    for number in range(6):
        await commit(store, "acme", write("a" if number % 2 else "b", f"// {number}"))
        await commit(store, "globex", write("a", f"// {number}"))

    async def revisions(
        *, key: ItemKey | None = None, before: int | None = None, limit: int = 99
    ) -> list[int]:
        bound = None if before is None else Revision(before)
        lines = await store.history("acme", key=key, before=bound, limit=limit)
        return [line.revision for line in lines]

    assert await revisions() == [11, 9, 7, 5, 3, 1]
    assert await revisions(limit=2) == [11, 9]
    assert await revisions(before=9, limit=2) == [7, 5]
    assert await revisions(before=6) == [5, 3, 1]
    assert await revisions(before=1) == await revisions(before=-5) == []
    assert await revisions(before=2**80) == [11, 9, 7, 5, 3, 1]
    assert await revisions(key=policy_key("a")) == [11, 7, 3]
    assert await revisions(key=policy_key("a"), before=11, limit=1) == [7]
    assert await revisions(key=policy_key("c")) == []
    assert await revisions(key=ItemKey(ItemKind.TEMPLATE_LINK, "a")) == []


async def test_history_of_an_item_has_its_removal(store: Store) -> None:
    await commit(store, "acme", write("a"))
    await commit(store, "acme", remove("a"))

    lines = await store.history("acme", key=policy_key("a"), limit=9)

    assert [(line.revision, line.upserts, line.deletes) for line in lines] == [(2, 0, 1), (1, 1, 0)]


@pytest.mark.parametrize("limit", [0, -1])
async def test_limits_let_something_through(store: Store, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        await store.commits(EMPTY, limit=limit)
    with pytest.raises(ValueError, match="limit"):
        await store.history("acme", limit=limit)


# --------------------------------------------------------------------------------- watch


@pytest.mark.parametrize("after", [0, 2, 4])
async def test_watch_continues_after_a_revision(store: Store, after: int) -> None:
    done = await commit_many(store, 4)

    async with aclosing(store.watch(Revision(after))) as watch:
        assert await take(watch, 4 - after) == done[after:]
        done = await commit_many(store, 2)
        assert await take(watch, 2) == done


async def test_watch_has_the_commits_of_all_owners(store: Store) -> None:
    async with aclosing(store.watch(EMPTY)) as watch:
        for owner in ("acme", "", "globex"):
            assert await take(watch, 0) == []
            done = await commit(store, owner, write("a"))
            assert await take(watch, 1) == [done]


async def test_watcher_that_waits_is_woken(store: Store) -> None:
    async with aclosing(store.watch(EMPTY)) as watch:
        waiting = asyncio.create_task(take(watch, 1))
        while not await _is_idle(store, waiting):
            pass

        done = await commit(store, "acme", write("a"))

        assert await waiting == [done]


async def _is_idle(store: Store, waiting: asyncio.Task[Any]) -> bool:
    """Give a watcher time for several reads, and say whether it still waits."""
    for _ in range(3):
        await store.head()
        await asyncio.sleep(0)
    return not waiting.done()


async def test_watch_of_more_commits_than_a_page(store: Store) -> None:
    count = 2 * PAGE + 3
    done = await commit_many(store, count)

    assert await watch_some(store, EMPTY, count) == done
    assert await watch_some(store, Revision(PAGE), count - PAGE) == done[PAGE:]


async def test_watch_of_commits_one_page_long(store: Store) -> None:
    """The page that is just full is not the last one."""
    done = await commit_many(store, PAGE)

    async with aclosing(store.watch(EMPTY)) as watch:
        assert await take(watch, PAGE) == done
        waiting = asyncio.create_task(take(watch, 1))
        assert await _is_idle(store, waiting)
        assert await commit_many(store, 1) == await waiting


async def test_many_watchers_miss_nothing_while_many_append(store: Store) -> None:
    """Watchers start all along, each sees what follows its start: in order, once."""
    writers, appends = 5, 12
    total = writers * appends
    watched: list[tuple[Revision, asyncio.Task[list[Commit]]]] = []

    async with asyncio.TaskGroup() as group:

        def watch_from(after: Revision) -> None:
            watched.append((after, group.create_task(watch_some(store, after, total - after))))

        async def append(owner: str) -> None:
            for number in range(appends):
                done = await commit(store, owner, write("p", f"// {number}"))
                watch_from(done.revision)

        for _ in range(5):
            watch_from(EMPTY)
        for number in range(writers):
            group.create_task(append(f"tenant-{number}"))

    log = await store.commits(EMPTY, limit=total)
    assert [each.revision for each in log] == list(range(1, total + 1))
    for after, commits in watched:
        assert commits.result() == log[after:]


async def test_slow_watcher_holds_back_nobody(store: Store) -> None:
    async with aclosing(store.watch(EMPTY)) as slow:
        done = await commit_many(store, 1)
        assert await take(slow, 1) == done

        done = await commit_many(store, PAGE + 5)

        assert await watch_some(store, Revision(1), len(done)) == done
        assert await take(slow, len(done)) == done


async def test_watch_after_an_unknown_revision(store: Store) -> None:
    await commit_many(store, 2)

    with pytest.raises(RevisionUnknown):
        await watch_some(store, Revision(3), 1)


async def test_watch_after_a_compacted_revision(store: Store) -> None:
    await commit_many(store, 4)
    await store.compact(Revision(2))

    with pytest.raises(RevisionCompacted) as raised:
        await watch_some(store, Revision(1), 1)
    assert (raised.value.revision, raised.value.earliest) == (1, 2)
    assert len(await watch_some(store, Revision(2), 2)) == 2


async def test_watcher_overtaken_by_compaction_is_told(store: Store) -> None:
    async with aclosing(store.watch(EMPTY)) as slow:
        done = await commit_many(store, 1)
        assert await take(slow, 1) == done
        await commit_many(store, 4)
        await store.compact(Revision(3))

        with pytest.raises(RevisionCompacted):
            await take(slow, 1)


async def test_cancelled_watcher_leaves_the_others_alone(store: Store) -> None:
    async with aclosing(store.watch(EMPTY)) as staying:
        watch = store.watch(EMPTY)
        leaving = asyncio.create_task(take(watch, 1))
        waiting = asyncio.create_task(take(staying, 1))
        assert await _is_idle(store, leaving)

        leaving.cancel()
        await asyncio.wait([leaving])
        await watch.aclose()

        assert leaving.cancelled()
        assert await commit_many(store, 1) == await waiting


async def test_watch_can_be_closed_anywhere(store: Store) -> None:
    await commit_many(store, 3)

    before_start = store.watch(EMPTY)
    await before_start.aclose()
    between = store.watch(EMPTY)
    await take(between, 1)
    await between.aclose()
    at_the_end = store.watch(EMPTY)
    await take(at_the_end, 3)
    await at_the_end.aclose()

    for watch in (before_start, between, at_the_end):
        assert [each async for each in watch] == []
    assert await store.head() == 3


# ------------------------------------------------------------------------------- compact


async def test_compacted_store_keeps_items_and_later_commits(store: Store) -> None:
    await commit(store, "acme", write("a", "// 1"), write("b", "// 1"), write("c", "// 1"))
    await commit(store, "acme", write("a", "// 2"), remove("b"))
    await commit(store, "globex", write("g", "// 3"))
    await commit(store, "acme", remove("a"), write("b", "// 4"))
    await commit(store, "acme", write("a", "// 5"), remove("c"))
    reads = {at: await store.read("acme", at=Revision(at)) for at in range(6)}
    commits = await store.commits(Revision(3), limit=9)

    await store.compact(Revision(3))

    assert await store.earliest() == 3
    assert await store.head() == 5
    assert await store.owners() == {"acme": 5, "globex": 3}
    for at in (3, 4, 5):
        assert await store.read("acme", at=Revision(at)) == reads[at]
    assert await store.read("acme") == reads[5]
    assert await texts(store, "globex", at=Revision(4)) == {"g": "// 3"}
    assert await store.commits(Revision(3), limit=9) == commits
    assert [line.revision for line in await store.history("acme", limit=9)] == [5, 4]
    assert await store.history("globex", limit=9) == []


async def test_compacted_revisions_are_refused(store: Store) -> None:
    await commit_many(store, 4)
    await store.compact(Revision(2))

    for gone in (-1, 0, 1):
        with pytest.raises(RevisionCompacted) as raised:
            await store.read("acme", at=Revision(gone))
        assert (raised.value.revision, raised.value.earliest) == (gone, 2)
        with pytest.raises(RevisionCompacted):
            await store.commits(Revision(gone), limit=1)


async def test_compacting_everything_keeps_the_items(store: Store) -> None:
    await commit(store, "acme", write("a", "// 1"), write("b"))
    await commit(store, "acme", write("a", "// 2"), remove("b"))
    await commit(store, "empty", write("a"))
    await commit(store, "empty", remove("a"))

    await store.compact(Revision(4))

    assert await store.head() == await store.earliest() == 4
    assert await texts(store, "acme") == {"a": "// 2"}
    assert await texts(store, "acme", at=Revision(4)) == {"a": "// 2"}
    assert await store.read("empty") == ItemSet(owner="empty", revision=Revision(4))
    assert await store.commits(Revision(4), limit=9) == []
    done = await commit(store, "acme", write("a", "// 5"))
    assert done.revision == 5
    assert [change.before and change.before.revision for change in done.changes] == [2]
    assert await store.commits(Revision(4), limit=9) == [done]


async def test_compacting_less_than_was_does_nothing(store: Store) -> None:
    await commit_many(store, 4)
    await store.compact(Revision(3))

    await store.compact(Revision(3))
    await store.compact(Revision(1))
    await store.compact(Revision(-1))

    assert await store.earliest() == 3


@pytest.mark.parametrize("keep_after", [3, 2**80])
async def test_compacting_the_future_is_refused(store: Store, keep_after: int) -> None:
    await commit_many(store, 2)

    with pytest.raises(RevisionUnknown):
        await store.compact(Revision(keep_after))

    assert await store.earliest() == 0


async def test_compacted_request_id_is_forgotten(store: Store) -> None:
    """Its repeat is no danger: it expects a revision the owner has left behind."""
    await commit(store, "acme", write("a", "// 1"), request_id="request")
    await commit(store, "acme", write("a", "// 2"))
    await store.compact(Revision(1))

    with pytest.raises(RevisionConflict):
        await store.append("acme", [write("a", "// 1")], expected=EMPTY, info=info("request"))
    done = await commit(store, "acme", write("a", "// 3"), request_id="request")

    assert done.revision == 3


# --------------------------------------------------------------------------------- close


async def test_closed_store_refuses_everything(store: Store) -> None:
    await commit_many(store, 1)
    store_id = store.store_id
    await store.aclose()
    await store.aclose()

    calls = [
        store.append("acme", [write("a")], expected=EMPTY, info=info()),
        store.head(),
        store.earliest(),
        store.owners(),
        store.read("acme"),
        store.read("acme", at=EMPTY),
        store.commits(EMPTY, limit=1),
        store.history("acme", limit=1),
        store.compact(EMPTY),
        watch_some(store, EMPTY, 1),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            await call
    assert store.store_id == store_id


async def test_closing_ends_watches(store: Store) -> None:
    watch = store.watch(EMPTY)
    waiting = asyncio.create_task(take(watch, 1))
    assert await _is_idle(store, waiting)

    await store.aclose()

    with pytest.raises(StoreUnavailable, match="closed"):
        await waiting
    await watch.aclose()


async def test_closing_waits_for_what_is_under_way(store: Store) -> None:
    appends = [
        asyncio.create_task(commit(store, f"tenant-{number}", write("a"))) for number in range(5)
    ]
    await asyncio.sleep(0)

    await store.aclose()

    async with asyncio.timeout(DEADLINE_S):
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert all(isinstance(outcome, Commit | StoreUnavailable) for outcome in outcomes)


# ------------------------------------------------------------------------------- versions


ROLLOUT = RolloutRecord(
    Rollout(
        id="r1",
        plan=Plan(guards=PlanDefaults().guards),
        state=RolloutState.RUNNING,
        stable_revision=3,
        create_time=NOON,
        update_time=NOON,
    )
)


async def test_versions_are_what_an_item_was_newest_first(store: Store) -> None:
    one, two = Policy(id="p", cedar="one"), Policy(id="p", cedar="two")
    await commit(store, "acme", Edit(one.key, one))
    await commit(store, "other", Edit(one.key, one))
    await commit(store, "acme", Edit(two.key, two))
    await commit(store, "acme", Edit(two.key, None))

    versions = await store.versions("acme", one.key, limit=10)

    assert versions == [Item("acme", Revision(3), two), Item("acme", Revision(1), one)]
    assert await store.versions("acme", one.key, limit=1) == versions[:1]
    assert await store.versions("acme", one.key, before=Revision(3), limit=10) == versions[1:]
    assert await store.versions("acme", one.key, before=Revision(2**70), limit=1) == versions[:1]
    assert await store.versions("nobody", one.key, limit=10) == []
    with pytest.raises(ValueError, match="limit must be at least 1"):
        await store.versions("acme", one.key, limit=0)


async def test_a_rollout_and_its_candidate_are_kept(store: Store) -> None:
    bodies: list[Body] = [ROLLOUT, CandidateEdits(upserts=tuple(BODIES), deletes=(BODIES[0].key,))]
    await commit(store, "acme", *(Edit(body.key, body) for body in bodies))

    kept = await store.read("acme")

    assert {key: item.body for key, item in kept.items.items()} == {
        body.key: body for body in bodies
    }
    assert kept.rollout == replace(ROLLOUT.rollout, candidate_revision=1)


async def test_placements_and_nodes_settings_are_kept(store: Store) -> None:
    placed = Placement(
        tenant="acme",
        rule=ResidencyRule.EU_ONLY,
        home_region="eu-west",
        affinity_regions=("eu-west", "eu-central"),
    )
    bodies: list[Body] = [
        placed,
        replace(placed, tenant="other", affinity_regions=()),
        NodeSettings(node="acme", weight=5),
        NodeSettings(node="n2", draining=False),
    ]
    made = await commit(store, TOPOLOGY, *(Edit(body.key, body) for body in bodies))

    kept = await store.read(TOPOLOGY)

    assert [item.body for item in kept.items.values()] == bodies
    assert [change.after for change in made.changes] == list(kept.items.values())


# ---------------------------------------------------------------------------------- board


def notice(name: str = "n1", *, topic: str = "nodes", minute: int = 0, **body: Any) -> Notice:
    return Notice(topic=topic, name=name, time=NOON.replace(minute=minute), body=body)


async def test_a_notice_takes_the_place_of_the_one_before(store: Store) -> None:
    for put in (notice(revision=1), notice("n0"), notice(topic="samples"), notice(revision=2)):
        await store.put_up(put)

    assert await store.notices("nodes") == [notice("n0"), notice(revision=2)]
    assert await store.notices("samples") == [notice(topic="samples")]
    assert await store.notices("nothing") == []
    assert await store.head() == 0


async def test_old_notices_are_taken_down(store: Store) -> None:
    for put in (notice("old"), notice("new", minute=5), notice("old", topic="samples")):
        await store.put_up(put)

    await store.take_down("nodes", before=NOON.replace(minute=5))

    assert await store.notices("nodes") == [notice("new", minute=5)]
    assert await store.notices("samples") == [notice("old", topic="samples")]


@pytest.mark.parametrize(
    "bad",
    [
        Notice(topic="t", name="n", time=NOON.replace(tzinfo=None), body={}),
        notice(value=float("nan")),
        notice(value=object()),
    ],
    ids=["no zone", "no number", "no json"],
)
async def test_a_bad_notice_changes_nothing(store: Store, bad: Notice) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the message is json's in part
        await store.put_up(bad)

    assert await store.notices("nodes") == []


async def test_names_of_notices_may_be_any_text(store: Store) -> None:
    names = sorted(ODD_TEXTS)
    for name in names:
        await store.put_up(notice(name, text=name))

    put_up = [(put.name, put.body["text"]) for put in await store.notices("nodes")]
    assert put_up == list(zip(names, names, strict=True))


# ------------------------------------------------------------------------------ leadership


async def test_one_leads_at_a_time_and_terms_grow(store: Store) -> None:
    fences: list[Fence] = []
    leading = 0

    async def lead() -> None:
        nonlocal leading
        async with store.lead("rollouts", holder="node") as leadership:
            leading += 1
            assert leading == 1
            fences.append(leadership.fence)
            await asyncio.sleep(0)
            leading -= 1
        assert leadership.is_lost
        await leadership.lost()

    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(lead() for _ in range(5)))

    assert fences == [Fence("rollouts", term) for term in range(1, 6)]


async def test_roles_are_led_apart(store: Store) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        store.lead("one", holder="node") as one,
        store.lead("other", holder="node") as other,
    ):
        assert (one.fence, other.fence) == (Fence("one", 1), Fence("other", 1))
        assert not one.is_lost


async def test_a_fence_is_void_once_somebody_else_leads(store: Store) -> None:
    async with store.lead("rollouts", holder="old") as old:
        done = await store.append(
            "acme", [write("a")], expected=EMPTY, info=info("first"), fence=old.fence
        )
    # Nobody has come after: what is under way may end.
    done = await store.append(
        "acme", [write("a", "// 2")], expected=done.revision, info=info(), fence=old.fence
    )
    async with store.lead("rollouts", holder="new") as new:
        with pytest.raises(LeadershipLost) as raised:
            await store.append(
                "acme", [write("a", "// 3")], expected=done.revision, info=info(), fence=old.fence
            )
        repeated = await store.append(
            "acme", [write("a")], expected=EMPTY, info=info("first"), fence=old.fence
        )
        await store.append(
            "acme", [write("a", "// 4")], expected=done.revision, info=info(), fence=new.fence
        )

    assert raised.value.fence == old.fence
    assert repeated.revision == 1
    assert await texts(store, "acme") == {"a": "// 4"}
    assert await store.head() == 3


async def test_whoever_stops_waiting_to_lead_does_not(store: Store) -> None:
    async with store.lead("rollouts", holder="leader"):
        waiting = asyncio.create_task(_lead_once(store))
        assert await _is_idle(store, waiting)
        waiting.cancel()
        await asyncio.wait([waiting])

    async with asyncio.timeout(DEADLINE_S):
        assert await _lead_once(store) == 2


async def _lead_once(store: Store) -> int:
    async with store.lead("rollouts", holder="node") as leadership:
        return leadership.fence.term


async def test_any_text_is_a_role(store: Store) -> None:
    for text in ODD_TEXTS:
        async with store.lead(text, holder=text) as leadership:
            assert leadership.fence == Fence(text, 1)
    with pytest.raises(ValueError, match="not valid UTF-8"):
        async with store.lead("\ud800", holder=""):
            pass


# ------------------------------------------------------------------------------ long texts


@pytest.mark.parametrize("length", [260, 300, 5_000])
async def test_long_texts_are_told_apart(store: Store, length: int) -> None:
    """PostgreSQL's indexes take 2,704 bytes a row, and compress what repeats itself."""
    chance = random.Random(1)
    start = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(length))
    owners = [start, f"{start}\0", f"{start}\\0"]
    for owner in owners:
        bodies: list[Body] = [Policy(id=f"{start}{end}", cedar="// 1") for end in ("", "a", "\0")]
        bodies.append(StoredEntity(Entity(uid=EntityUid(f"{start}T", start))))
        edits = [Edit(body.key, body) for body in bodies]
        note = info(f"request {owner}")
        done = await store.append(owner, edits, expected=EMPTY, info=note)
        assert await store.append(owner, edits, expected=EMPTY, info=note) == done
        assert await store.find_commit(owner, request_id=note.request_id) == done
        assert set((await store.read(owner)).items) == {body.key for body in bodies}
        again = await commit(store, owner, write(start, "// 2"), remove(f"{start}a"))
        key = policy_key(start)
        assert len(await store.history(owner, key=key, limit=9)) == 2
        assert len(await store.versions(owner, key, limit=9)) == 2
        (head,) = await store.commits(Revision(again.revision - 1), limit=9)
        assert head == again
        await store.put_up(notice(owner, topic=start))

    assert set(await store.owners()) == set(owners)
    assert [put.name for put in await store.notices(start)] == sorted(owners)
    await store.take_down(start, before=NOON.replace(minute=5))
    assert await store.notices(start) == []
