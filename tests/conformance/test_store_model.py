"""Stores beside an oracle: any order of calls gives what plain dictionaries give."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from placet_engine.changes import Commit, Edit, ItemChange
from placet_engine.items import (
    Body,
    Item,
    ItemKey,
    Policy,
    Revision,
    SchemaText,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import Entity, EntityUid
from placet_server.store.contract import (
    CommitInfo,
    RevisionCompacted,
    RevisionConflict,
    Store,
)
from tests.conformance.stores import BACKENDS, DURABLE, NOON, Backend, watch_some

Answer = TypeVar("Answer")

OWNERS = st.sampled_from(["", "acme", "nul\0"])
REQUEST_IDS = st.sampled_from(["", "", "request-1", "request-2"])
TEXTS = st.sampled_from(["// 1", "// 2", "// \0"])
BODIES = st.one_of(
    st.builds(Policy, id=st.sampled_from(["a", "b", "\0"]), cedar=TEXTS),
    st.builds(TemplateLink, id=st.just("a"), template_id=TEXTS),
    st.builds(SchemaText, TEXTS),
    st.builds(
        lambda kind, text: StoredEntity(
            Entity(uid=EntityUid(kind, "a"), attributes={"text": text})
        ),
        st.sampled_from(["User", "Doc"]),
        TEXTS,
    ),
)
SHARE = st.floats(min_value=0, max_value=1)
"""How far between the earliest revision and the head."""


def some_bodies(min_size: int) -> st.SearchStrategy[list[Body]]:
    return st.lists(BODIES, min_size=min_size, max_size=4, unique_by=lambda body: body.key)


@dataclass
class Oracle:
    """What the store should hold: each state there was, and each commit."""

    states: list[dict[str, dict[ItemKey, Item]]] = field(default_factory=lambda: [{}])
    commits: list[Commit] = field(default_factory=list)
    earliest: int = 0

    @property
    def head(self) -> int:
        return len(self.commits)

    @property
    def kept(self) -> list[Commit]:
        return self.commits[self.earliest :]

    def revision_of(self, owner: str, at: int | None = None) -> int:
        mine = (each.revision for each in self.commits[:at] if each.owner == owner)
        return max(mine, default=0)

    def repeated(self, owner: str, request_id: str) -> Commit | None:
        mine = (
            e for e in self.kept if request_id and (e.owner, e.request_id) == (owner, request_id)
        )
        return next(mine, None)

    def commit(self, owner: str, edits: list[Edit], info: CommitInfo) -> Commit:
        revision = Revision(self.head + 1)
        before = self.states[-1].get(owner, {})
        after = dict(before)
        changes = []
        for edit in sorted(edits, key=lambda edit: edit.key):
            if edit.body is None:
                del after[edit.key]
            else:
                after[edit.key] = Item(owner, revision, edit.body)
            changes.append(ItemChange(before.get(edit.key), after.get(edit.key)))
        self.states.append(self.states[-1] | {owner: after})
        self.commits.append(
            Commit(
                revision=revision,
                owner=owner,
                time=info.time,
                changes=tuple(changes),
                request_id=info.request_id,
            )
        )
        return self.commits[-1]


class StoreMachine(RuleBasedStateMachine):
    """Makes calls at random. ``backend`` is set by what runs it."""

    make_backend = BACKENDS["memory"]
    is_durable = False

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.oracle = Oracle()
        self.backend: Backend
        self.store: Store

    def run_now(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(call)

    @initialize()
    def open(self) -> None:
        self.backend = type(self).make_backend(self.directory)
        self.store = self.run_now(self.backend.open())

    def teardown(self) -> None:
        try:
            self.run_now(self.check_everything())
            self.run_now(self.store.aclose())
        finally:
            self.runner.close()
            shutil.rmtree(self.directory)

    @rule(owner=OWNERS, written=some_bodies(0), data=st.data(), request_id=REQUEST_IDS)
    def append(self, owner: str, written: list[Body], data: st.DataObject, request_id: str) -> None:
        present = set(self.oracle.states[-1].get(owner, {})) - {body.key for body in written}
        removed = data.draw(
            st.lists(st.sampled_from(sorted(present)), unique=True, max_size=3)
            if present
            else st.just([])
        )
        edits = [Edit(body.key, body) for body in written] + [Edit(key, None) for key in removed]
        if not edits:
            return
        info = CommitInfo(time=NOON, request_id=request_id)
        expected = Revision(self.oracle.revision_of(owner))

        done = self.run_now(self.store.append(owner, edits, expected=expected, info=info))

        repeated = self.oracle.repeated(owner, request_id)
        assert done == (repeated or self.oracle.commit(owner, edits, info))

    @rule(owner=OWNERS, written=some_bodies(1), off_by=st.sampled_from([-2, -1, 1, 2]))
    def append_on_another_revision(self, owner: str, written: list[Body], off_by: int) -> None:
        edits = [Edit(body.key, body) for body in written]
        actual = self.oracle.revision_of(owner)

        with pytest.raises(RevisionConflict) as raised:
            self.run_now(
                self.store.append(
                    owner, edits, expected=Revision(actual + off_by), info=CommitInfo(time=NOON)
                )
            )

        assert raised.value.actual == actual

    @rule(share=SHARE)
    def compact(self, share: float) -> None:
        keep_after = round(share * self.oracle.head)

        self.run_now(self.store.compact(Revision(keep_after)))

        self.oracle.earliest = max(self.oracle.earliest, keep_after)

    @precondition(lambda self: self.is_durable)
    @rule()
    def reopen(self) -> None:
        store_id = self.store.store_id
        self.run_now(self.store.aclose())
        self.store = self.run_now(self.backend.open())
        assert self.store.store_id == store_id

    @rule(owner=OWNERS, share=SHARE)
    def read_at(self, owner: str, share: float) -> None:
        kept = self.oracle.head - self.oracle.earliest
        self.run_now(self.check_read(owner, self.oracle.earliest + round(share * kept)))

    @rule(share=SHARE, limit=st.integers(1, 4))
    def page_of_commits(self, share: float, limit: int) -> None:
        after = self.oracle.earliest + round(share * len(self.oracle.kept))

        page = self.run_now(self.store.commits(Revision(after), limit=limit))

        assert page == self.oracle.commits[after : after + limit]

    @rule(
        owner=OWNERS,
        body=st.none() | BODIES,
        before=st.none() | st.integers(0, 12),
        limit=st.integers(1, 4),
    )
    def page_of_history(
        self, owner: str, body: Body | None, before: int | None, limit: int
    ) -> None:
        key = None if body is None else body.key
        bound = None if before is None else Revision(before)

        page = self.run_now(self.store.history(owner, key=key, before=bound, limit=limit))

        expected = [
            (each.revision, each.upserts, each.deletes)
            for each in reversed(self.oracle.kept)
            if each.owner == owner
            and (before is None or each.revision < before)
            and (key is None or key in {change.key for change in each.changes})
        ]
        assert [(line.revision, line.upserts, line.deletes) for line in page] == expected[:limit]

    @invariant()
    def head_and_earliest_agree(self) -> None:
        if hasattr(self, "store"):
            assert self.run_now(self.store.head()) == self.oracle.head
            assert self.run_now(self.store.earliest()) == self.oracle.earliest

    async def check_read(self, owner: str, at: int) -> None:
        items = await self.store.read(owner, at=Revision(at))
        assert items.items == self.oracle.states[at].get(owner, {})
        assert items.revision == self.oracle.revision_of(owner, at)

    async def check_everything(self) -> None:
        """Every revision that is kept, of every owner, and none of the others."""
        kept = range(self.oracle.earliest, self.oracle.head + 1)
        owners = {each.owner for each in self.oracle.commits}
        for owner in owners:
            for at in kept:
                await self.check_read(owner, at)
            current = await self.store.read(owner)
            assert current == await self.store.read(owner, at=Revision(self.oracle.head))
        assert await self.store.owners() == {
            owner: self.oracle.revision_of(owner) for owner in owners
        }
        for gone in range(self.oracle.earliest):
            with pytest.raises(RevisionCompacted):
                await self.store.read("acme", at=Revision(gone))
        after = Revision(self.oracle.earliest)
        assert await watch_some(self.store, after, len(self.oracle.kept)) == self.oracle.kept


@pytest.mark.parametrize("name", BACKENDS)
def test_store_does_what_dictionaries_do(name: str) -> None:
    class Machine(StoreMachine):
        make_backend = BACKENDS[name]
        is_durable = name in DURABLE

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200 if name == "memory" else 40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
