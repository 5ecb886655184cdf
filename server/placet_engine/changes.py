"""Edits to an owner's items, and what they come to.

A change set is what an author asks for; a commit is what a store keeps: each
item before and after, in one revision.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from placet_engine.items import (
    CANDIDATE_KEY,
    CHECKSUM_MODULUS,
    NO_REVISION,
    ROLLOUT_KEY,
    Body,
    CandidateEdits,
    Content,
    Item,
    ItemKey,
    ItemKind,
    Revision,
    RolloutRecord,
    is_same_body,
)
from placet_engine.model import Problem, Severity
from placet_engine.rollouts.record import Rollout, RolloutState


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Edits that take effect together or not at all."""

    upserts: tuple[Content, ...] = ()
    deletes: tuple[ItemKey, ...] = ()
    replace_all: bool = False
    """Whether policies, templates and links that are not written go away, and,
    where the change set has any of the kind, entities and the schema."""
    replace_kinds: frozenset[ItemKind] = frozenset()
    """Further kinds that go away with ``replace_all``, although none is written."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One item written (``body``) or removed (no ``body``)."""

    key: ItemKey
    body: Body | None


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One item before and after a revision. One of the two may be absent."""

    before: Item | None
    after: Item | None

    @property
    def key(self) -> ItemKey:
        """Key of the item within its owner."""
        present = self.after or self.before
        assert present is not None
        return present.key

    @property
    def checksum_step(self) -> int:
        """What the change adds to a checksum of a set that the item is in, modulo."""
        gained = int.from_bytes(self.after.digest) if self.after else 0
        lost = int.from_bytes(self.before.digest) if self.before else 0
        return (gained - lost) % CHECKSUM_MODULUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One revision of a store: what it changed, by whom and why."""

    revision: Revision
    owner: str
    time: datetime.datetime
    """With time zone."""
    changes: tuple[ItemChange, ...]
    author: str = ""
    message: str = ""
    request_id: str = ""
    withdrawn: tuple[str, ...] = ()
    """Other owners of whom nothing may be held any more where the commit came to. Empty where it
    was made: what a node may hold depends on where it is."""

    @property
    def upserts(self) -> int:
        """How many items were written."""
        return sum(change.after is not None for change in self.changes)

    @property
    def deletes(self) -> int:
        """How many items were removed."""
        return len(self.changes) - self.upserts


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSet:
    """All items of one owner at one revision. Immutable."""

    owner: str
    revision: Revision = NO_REVISION
    """The newest revision that changed the owner; 0 when none did."""
    items: Mapping[ItemKey, Item] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def content_revision(self) -> Revision:
        """The newest revision that changed what is decided by: steps of rollouts do not."""
        item = self.items.get(ROLLOUT_KEY)
        if item is None or item.revision != self.revision:
            return self.revision
        rollout = rollout_of(item)
        if rollout.state is RolloutState.COMPLETED:
            return self.revision
        return Revision(rollout.stable_revision)

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way, or the last one there was."""
        item = self.items.get(ROLLOUT_KEY)
        return rollout_of(item) if item is not None else None

    @property
    def rollout_under_way(self) -> Rollout | None:
        """The rollout that has not ended."""
        rollout = self.rollout
        return None if rollout is None or rollout.state.is_final else rollout

    def candidate(self) -> ItemSet | None:
        """Return the content as the rollout under way would leave it, at the candidate's revision.

        None when no rollout is under way.
        """
        rollout, item = self.rollout_under_way, self.items.get(CANDIDATE_KEY)
        if rollout is None or item is None:
            return None
        assert isinstance(item.body, CandidateEdits)
        edits = [
            *candidate_edits(item.body),
            Edit(ROLLOUT_KEY, None),
            Edit(CANDIDATE_KEY, None),
        ]
        return self.editing(edits, Revision(rollout.candidate_revision))

    def proposed(self) -> ItemSet:
        """Return the candidate where the set's revision is the one that brought it, else the set.

        Decisions by a candidate name that revision.
        """
        rollout = self.rollout_under_way
        if rollout is None or rollout.candidate_revision != self.revision:
            return self
        return self.candidate() or self

    def of_kind(self, kind: ItemKind) -> Iterator[Item]:
        """Go through the items of one kind."""
        return (item for key, item in self.items.items() if key.kind is kind)

    def applying(self, revision: Revision, changes: Iterable[ItemChange]) -> ItemSet:
        """Return the set with the changes of one revision."""
        items = dict(self.items)
        for change in changes:
            if change.after is not None:
                items[change.key] = change.after
            else:
                items.pop(change.key, None)
        return ItemSet(owner=self.owner, revision=revision, items=MappingProxyType(items))

    def editing(self, edits: Iterable[Edit], revision: Revision) -> ItemSet:
        """Return the set as it would be if the edits were committed at ``revision``."""
        return self.applying(revision, to_changes(self, edits, revision))


def rollout_of(item: Item) -> Rollout:
    """Return the rollout that an item records, with its candidate's revision.

    The commit that brings a candidate cannot know its own revision, so that the record lacks it.
    """
    assert isinstance(item.body, RolloutRecord)
    rollout = item.body.rollout
    if rollout.candidate_revision:
        return rollout
    return replace(rollout, candidate_revision=item.revision)


def candidate_edits(candidate: CandidateEdits) -> list[Edit]:
    """Return what a candidate changes, as edits of its owner's items."""
    return [
        *(Edit(body.key, body) for body in candidate.upserts),
        *(Edit(key, None) for key in candidate.deletes),
    ]


def to_changes(current: ItemSet, edits: Iterable[Edit], revision: Revision) -> list[ItemChange]:
    """Turn edits into before and after, at the revision that commits them."""
    return [
        ItemChange(
            current.items.get(edit.key),
            Item(current.owner, revision, edit.body) if edit.body is not None else None,
        )
        for edit in edits
    ]


def diff(before: ItemSet, after: ItemSet) -> list[ItemChange]:
    """Return the changes of content that lead from one set to the other, in order of key."""
    changes = []
    for key in sorted(before.items.keys() | after.items.keys()):
        if not key.kind.is_content:
            continue
        old, new = before.items.get(key), after.items.get(key)
        if old is None or new is None or not is_same_body(old.body, new.body):
            changes.append(ItemChange(old, new))
    return changes


def resolve(change_set: ChangeSet, current: ItemSet) -> tuple[list[Edit], list[Problem]]:
    """Work out which edits a change set comes to on top of ``current``.

    Writing what is already there is no edit. Problems are about the change
    set itself (keys given twice, removals of what is not there), not about
    what is in the items.
    """
    problems = list(_duplicate_keys(change_set))
    for index, key in enumerate(change_set.deletes):
        if key not in current.items:
            problems.append(
                Problem(
                    severity=Severity.ERROR,
                    reason="ITEM_MISSING",
                    message=f"cannot delete {key}: it is not there; list what is, and leave it out",
                    field=f"deletes[{index}]",
                    subject=key.id,
                )
            )
    written = {body.key for body in change_set.upserts}
    removed = dict.fromkeys(key for key in change_set.deletes if key in current.items)
    if change_set.replace_all:
        replaced = _ALWAYS_REPLACED | {key.kind for key in written} | change_set.replace_kinds
        removed.update(
            dict.fromkeys(
                key for key in current.items if key.kind in replaced and key not in written
            )
        )
    edits = [
        Edit(body.key, body)
        for body in change_set.upserts
        if (known := current.items.get(body.key)) is None or not is_same_body(known.body, body)
    ]
    edits.extend(Edit(key, None) for key in removed)
    return edits, problems


_ALWAYS_REPLACED = frozenset({ItemKind.POLICY, ItemKind.TEMPLATE_LINK})


def _duplicate_keys(change_set: ChangeSet) -> Iterator[Problem]:
    keys: Sequence[ItemKey] = [
        *(body.key for body in change_set.upserts),
        *change_set.deletes,
    ]
    for key, count in Counter(keys).items():
        if count > 1:
            yield Problem(
                severity=Severity.ERROR,
                reason="DUPLICATE_KEY",
                message=f"{key} is in the change set {count} times; keep one",
                field="change_set",
                subject=key.id,
            )
