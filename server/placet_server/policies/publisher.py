"""Checks change sets and commits them. What does not compile is never stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from placet_engine.changes import ChangeSet, Commit, Edit, ItemSet, resolve
from placet_engine.compiling import Compilation, Compiler
from placet_engine.findings import Change
from placet_engine.items import (
    PLATFORM,
    Policy,
    Revision,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import Problem, Severity
from placet_server.clock import Clock
from placet_server.errors import ChangeSetRefused, RolloutUnderWay
from placet_server.policies.active import ActivePolicies
from placet_server.store.contract import CommitInfo, RevisionConflict, Store
from placet_server.telemetry.propagation import PropagationTelemetry

# How often a publish that expects no particular revision is tried again when
# others commit to the same tenant at the same time.
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A change set applied to an owner's items, and what comes of it."""

    base: ItemSet
    edits: Sequence[Edit]
    items: ItemSet
    compilation: Compilation | None
    """None when the change set itself has problems."""
    problems: tuple[Problem, ...]
    """Everything found, about the change set and about what is in it."""

    @property
    def valid(self) -> bool:
        """Whether the candidate could be committed."""
        return not any(found.severity is Severity.ERROR for found in self.problems)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What was found that does not stand in the way."""
        return tuple(found for found in self.problems if found.severity is Severity.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a publish came to."""

    revision: Revision
    upserts: int
    deletes: int
    warnings: tuple[Problem, ...]


class Publisher:
    """Publishes change sets to a store.

    Args:
        store: where they are kept.
        compiler: checks what would result.
        executor: runs it.
        active: what this node decides by.
        clock: dates commits.
        check_owner: raises if what an owner has may not be kept here.
        telemetry: is told how long it takes. None: nobody is.
    """

    def __init__(
        self,
        *,
        store: Store,
        compiler: Compiler,
        executor: Executor,
        active: ActivePolicies,
        clock: Clock,
        check_owner: Callable[[str], None] = lambda owner: None,
        telemetry: PropagationTelemetry | None = None,
    ) -> None:
        self.check_owner = check_owner
        """To be called right before anything is stored, however long ago the call came."""
        self._store = store
        self._compiler = compiler
        self._executor = executor
        self._active = active
        self._clock = clock
        self._telemetry = telemetry or PropagationTelemetry()

    async def publish(
        self,
        owner: str,
        change_set: ChangeSet,
        *,
        expected: Revision | None = None,
        author: str = "",
        message: str = "",
        request_id: str = "",
        timeout_s: float,
    ) -> Published:
        """Commit a change set, and return when this node decides by it.

        Raises:
            ChangeSetRefused: it has problems. Nothing was stored.
            RevisionConflict: the owner is not at the expected revision, or
                others kept committing. Nothing was stored.
            RevisionNotReached: it was committed, but this node did not get
                there in time. Asking again with the same request id finds it.
        """
        info = CommitInfo(
            time=self._clock.now(), author=author, message=message, request_id=request_id
        )
        with self._telemetry.publishing():
            return await self._publish(owner, change_set, expected, info, timeout_s)

    async def _publish(
        self,
        owner: str,
        change_set: ChangeSet,
        expected: Revision | None,
        info: CommitInfo,
        timeout_s: float,
    ) -> Published:
        if info.request_id:
            first = await self._store.find_commit(owner, request_id=info.request_id)
            if first is not None:
                return await self._enforced(first, (), timeout_s)
        for attempt in range(1, _ATTEMPTS + 1):
            candidate = await self.publishable(owner, change_set, expected)
            try:
                commit = await self._commit(owner, candidate, info)
            except RevisionConflict:
                if expected is not None or attempt == _ATTEMPTS:
                    raise
                continue
            return await self._enforced(commit, candidate.warnings, timeout_s)
        raise AssertionError("the loop above returns or raises")

    async def _enforced(
        self, commit: Commit, warnings: tuple[Problem, ...], timeout_s: float
    ) -> Published:
        """Wait until this node decides by a commit."""
        await self._active.wait_for(commit.revision, timeout_s)
        return Published(
            revision=commit.revision,
            upserts=commit.upserts,
            deletes=commit.deletes,
            warnings=warnings,
        )

    async def publishable(
        self, owner: str, change_set: ChangeSet, expected: Revision | None
    ) -> Candidate:
        """Return what a change set comes to, if it may be committed now.

        Raises:
            RolloutUnderWay: the owner's items have to stay as they are.
            ChangeSetRefused: it has problems.
            RevisionConflict: the owner is not at the expected revision.
        """
        candidate = await self.check(owner, change_set)
        base = candidate.base
        _refuse_under_way(base)
        if not candidate.valid:
            raise ChangeSetRefused(
                [found for found in candidate.problems if found.severity is Severity.ERROR]
            )
        if expected is not None and expected != base.revision:
            raise RevisionConflict(owner, expected, base.revision)
        return candidate

    async def check(self, owner: str, change_set: ChangeSet) -> Candidate:
        """Apply a change set to what the store has, without committing it.

        Warnings are about what is written, and about others only if an edit is to blame.
        """
        platform, base = await self.current(owner)
        edits, problems = resolve(change_set, base)
        if problems:
            return Candidate(
                base=base, edits=edits, items=base, compilation=None, problems=tuple(problems)
            )
        items = base.editing(edits, Revision(base.revision + 1))
        edited = frozenset(edit.key for edit in edits)
        written = edited.union(body.key for body in change_set.upserts)
        compilation = await self._compile(
            items if owner == PLATFORM else platform, items, Change(written=written, edited=edited)
        )
        places = _places(change_set)
        return Candidate(
            base=base,
            edits=edits,
            items=items,
            compilation=compilation,
            problems=tuple(_located(found, places) for found in compilation.problems),
        )

    async def current(self, owner: str) -> tuple[ItemSet, ItemSet]:
        """Return the platform's items and the owner's, as the store has them.

        Somebody may commit meanwhile: what is worked out on them is stored on condition that the
        owner is still at their revision.
        """
        if await self._store.head() == self._active.revision:
            # What is in memory is the same, is there already, and compiles in no time.
            return self._active.platform, self._active.items(owner)
        own = await self._store.read(owner)
        return own if owner == PLATFORM else await self._store.read(PLATFORM), own

    async def _compile(self, platform: ItemSet, own: ItemSet, change: Change) -> Compilation:
        loop = asyncio.get_running_loop()
        base = self._active.compiled(own.owner)
        check = partial(self._compiler.check, platform, own, base, change=change)
        return await loop.run_in_executor(self._executor, check)

    async def _commit(self, owner: str, candidate: Candidate, info: CommitInfo) -> Commit:
        base = candidate.base.revision
        if not candidate.edits:
            return Commit(revision=base, owner=owner, time=info.time, changes=())
        self.check_owner(owner)
        return await self._store.append(owner, candidate.edits, expected=base, info=info)


def _refuse_under_way(items: ItemSet) -> None:
    """Keep an owner's items as they are while a rollout rests on them.

    Raises:
        RolloutUnderWay: one does.
    """
    rollout = items.rollout_under_way
    if rollout is not None:
        raise RolloutUnderWay(rollout.id, items.owner)


def _places(change_set: ChangeSet) -> dict[str, str]:
    """Map each policy, link and entity of a change set to its field."""
    places: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for body in change_set.upserts:
        match body:
            case Policy():
                group, name, field = "policies", body.id, ".cedar"
            case TemplateLink():
                group, name, field = "template_links", body.id, ""
            case StoredEntity():
                group, name, field = "entities", str(body.entity.uid), ""
            case _:
                continue
        places[name] = f"{group}[{counts[group]}]{field}"
        counts[group] += 1
    return places


def _located(problem: Problem, places: dict[str, str]) -> Problem:
    """Point a finding at the field of the change set it is about, if it is about one."""
    field = places.get(problem.subject, problem.field)
    return replace(problem, field=f"change_set.{field}" if field else "change_set")
