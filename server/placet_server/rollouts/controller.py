"""What people do to rollouts: start, approve, pause, resume, promote, take back.

A rollout is an item of its owner's, and its candidate another. Every change of it is one commit,
on condition that the owner is at the revision the change was worked out on: so a step is taken
once, whoever else has the same idea, and a crash leaves the step either taken or not.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from placet_engine.changes import (
    ChangeSet,
    Commit,
    Edit,
    ItemSet,
    candidate_edits,
    diff,
    rollout_of,
)
from placet_engine.items import (
    CANDIDATE_KEY,
    ROLLOUT_KEY,
    CandidateEdits,
    Content,
    Revision,
    RolloutRecord,
)
from placet_engine.model import Problem
from placet_engine.rollouts import moving
from placet_engine.rollouts.plan import Plan
from placet_engine.rollouts.record import Reading, RollbackCause, Rollout, RolloutState
from placet_server.clock import Clock
from placet_server.errors import (
    ApprovalRefused,
    RolloutChanged,
    RolloutRefused,
    RolloutUnknown,
)
from placet_server.policies.active import ActivePolicies
from placet_server.policies.publisher import Candidate, Publisher
from placet_server.store.contract import CommitInfo, Fence, RevisionConflict, Store

_ATTEMPTS = 10
_ID_BYTES = 6
_SEED_BITS = 32

Move = Callable[[Rollout], Rollout]
"""What is to happen to a rollout; raises ``MoveRefused``."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for something."""

    name: str = ""
    """Empty: nobody knows."""
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to happen to a rollout."""

    rollout_id: str
    caller: Caller
    etag: str = ""
    """The rollout has to be as it was read with this. Empty: whatever it is."""
    message: str = ""
    """Why, for the history."""
    request_id: str = ""
    """Makes a repeat harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What starting a rollout came to."""

    rollout: Rollout
    """As it is kept."""
    revision: Revision
    """The revision that keeps it."""
    warnings: tuple[Problem, ...] = ()
    upserts: int = 0
    deletes: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A rollout and the revision that wrote it last."""

    rollout: Rollout
    revision: Revision

    @property
    def etag(self) -> str:
        """What changes are compared and set against."""
        return str(self.revision)


class RolloutController:
    """Starts and steers rollouts."""

    def __init__(
        self, *, store: Store, publisher: Publisher, active: ActivePolicies, clock: Clock
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._active = active
        self._clock = clock

    # ------------------------------------------------------------------------------ start

    async def start(
        self,
        owner: str,
        change_set: ChangeSet | Revision,
        plan: Plan,
        *,
        caller: Caller,
        expected: Revision | None = None,
        message: str = "",
        request_id: str = "",
        timeout_s: float,
    ) -> Started:
        """Put a candidate on its way, and return when this node knows of it.

        Args:
            owner: whose items.
            change_set: what the candidate changes, or the revision it restores.
            plan: how it goes.
            caller: the author.
            expected: the owner's revision, if it has to be that.
            message: why.
            request_id: makes a repeat harmless.
            timeout_s: how long to wait for this node.

        Raises:
            ChangeSetRefused: the candidate has problems. Nothing was stored.
            RolloutUnderWay: the owner has one already.
            RevisionConflict, RevisionCompacted, RevisionUnknown: as the store says.
            RevisionNotReached: it was stored, but this node did not get there in time.
        """
        if request_id:
            first = await self._store.find_commit(owner, request_id=request_id)
            if first is not None:
                return await self._found(owner, first, timeout_s)
        for attempt in range(1, _ATTEMPTS + 1):
            candidate = await self._candidate(owner, change_set, expected)
            now = self._clock.now()
            rollout = moving.begin(
                id_=secrets.token_hex(_ID_BYTES),
                plan=plan,
                stable_revision=candidate.base.content_revision,
                seed=secrets.randbits(_SEED_BITS),
                author=caller.name,
                message=message,
                now=now,
            )
            info = CommitInfo(time=now, author=caller.name, message=message, request_id=request_id)
            base = candidate.base
            edits = _edits(base, rollout, _to_candidate(candidate.edits))
            self._publisher.check_owner(owner)
            try:
                commit = await self._store.append(owner, edits, expected=base.revision, info=info)
            except RevisionConflict:
                if expected is not None or attempt == _ATTEMPTS:
                    raise
                continue
            await self._active.wait_for(commit.revision, timeout_s)
            return _started(commit, candidate)
        raise AssertionError("the loop above returns or raises")

    async def _candidate(
        self, owner: str, change_set: ChangeSet | Revision, expected: Revision | None
    ) -> Candidate:
        if not isinstance(change_set, ChangeSet):
            change_set = await self._restoring(owner, change_set)
        candidate = await self._publisher.publishable(owner, change_set, expected)
        if not candidate.edits:
            raise RolloutRefused(
                "the candidate changes nothing; there is nothing to roll out", "NOTHING_TO_CHANGE"
            )
        return candidate

    async def _restoring(self, owner: str, revision: Revision) -> ChangeSet:
        """Return what leads from the owner's items back to those of a revision."""
        _, current = await self._publisher.current(owner)
        former = await self._at(owner, current, revision)
        changes = diff(current, former)
        return ChangeSet(
            upserts=tuple(_content(change.after.body) for change in changes if change.after),
            deletes=tuple(change.key for change in changes if not change.after),
        )

    async def _at(self, owner: str, current: ItemSet, revision: Revision) -> ItemSet:
        """Read an owner's content at a revision; at that of a candidate, the candidate."""
        if current.revision == revision:
            return current
        items = await self._store.read(owner, at=revision)
        return items.proposed() if items.revision == revision else items

    async def _found(self, owner: str, commit: Commit, timeout_s: float) -> Started:
        """Return what a repeated start came to the first time, as it is now."""
        await self._active.wait_for(commit.revision, timeout_s)
        started = _rollout_of(commit)
        if started is None:
            raise RolloutRefused(
                "this request id was that of a publish; use another", "REQUEST_ID_TAKEN"
            )
        kept = await self.get(owner, started.id)
        return Started(rollout=kept.rollout, revision=kept.revision)

    # ------------------------------------------------------------------------------ steer

    async def approve(self, owner: str, wish: Wish) -> Kept:
        """Let a rollout go ahead that waits for a person's yes. Raises as :meth:`move`.

        Raises:
            ApprovalRefused: the caller may not.
        """

        def approved(rollout: Rollout) -> Rollout:
            after = moving.approve(rollout, wish.caller.name, self._clock.now())
            _check_approver(rollout, wish.caller)
            return after

        return await self.move(owner, wish, approved)

    async def pause(self, owner: str, wish: Wish) -> Kept:
        """Hold a rollout at its step. Raises as :meth:`move`."""
        return await self.move(owner, wish, lambda it: moving.pause(it, self._clock.now()))

    async def resume(self, owner: str, wish: Wish) -> Kept:
        """Let a rollout go on. Raises as :meth:`move`."""
        return await self.move(owner, wish, lambda it: moving.resume(it, self._clock.now()))

    async def promote(
        self, owner: str, wish: Wish, readings: Sequence[Reading], *, all_steps: bool
    ) -> Kept:
        """Take the next step, or all that are left. Raises as :meth:`move`."""
        return await self.move(
            owner,
            wish,
            lambda it: moving.promote(it, readings, self._clock.now(), all_steps=all_steps),
        )

    async def roll_back(self, owner: str, wish: Wish) -> Kept:
        """Give everything back to the stable revision. Raises as :meth:`move`."""
        return await self.move(
            owner,
            wish,
            lambda it: moving.roll_back(it, wish.caller.name, wish.message, self._clock.now()),
        )

    async def move(self, owner: str, wish: Wish, move: Move) -> Kept:
        """Have something happen to a rollout, once.

        Raises:
            RolloutUnknown: there is no such rollout.
            RolloutRefused: its state does not let it happen.
            RolloutChanged: it is no longer as the caller read it.
        """
        id_, request_id = wish.rollout_id, wish.request_id
        if request_id and await self._store.find_commit(owner, request_id=request_id):
            return await self.get(owner, id_)
        for attempt in range(1, _ATTEMPTS + 1):
            _, items = await self._publisher.current(owner)
            rollout = items.rollout
            if rollout is None or rollout.id != id_:
                # An earlier one, which has ended; or none.
                rollout = (await self.get(owner, id_)).rollout
            if wish.etag and wish.etag != str(items.items[ROLLOUT_KEY].revision):
                raise RolloutChanged(id_)
            try:
                after = move(rollout)
            except moving.MoveRefused as refused:
                raise RolloutRefused(str(refused), "ROLLOUT_STATE") from refused
            try:
                return await self.keep(
                    items, after, caller=wish.caller, message=wish.message, request_id=request_id
                )
            except RevisionConflict:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the loop above returns or raises")

    async def keep(
        self,
        items: ItemSet,
        rollout: Rollout,
        *,
        caller: Caller,
        message: str = "",
        request_id: str = "",
        fence: Fence | None = None,
    ) -> Kept:
        """Commit what has become of an owner's rollout, on top of the items it was worked out on.

        With a fence, only for who leads.

        Raises:
            RevisionConflict: the owner has moved on. Nothing was stored.
            LeadershipLost: somebody else leads. Nothing was stored.
        """
        commit = await self._store.append(
            items.owner,
            _edits(items, rollout),
            expected=items.revision,
            info=CommitInfo(
                time=self._clock.now(),
                author=caller.name,
                message=message or _described(rollout),
                request_id=request_id,
            ),
            fence=fence,
        )
        return Kept(rollout, commit.revision)

    # ------------------------------------------------------------------------------- read

    async def get(self, owner: str, id_: str = "") -> Kept:
        """Return a rollout; without an id, the one under way or else the newest.

        Raises:
            RolloutUnknown: there is no such rollout.
        """
        async with aclosing(self._versions(owner)) as versions:
            async for kept in versions:
                if id_ in ("", kept.rollout.id):
                    return kept
        raise RolloutUnknown(id_, owner)

    async def list(
        self,
        owner: str,
        *,
        states: frozenset[RolloutState] = frozenset(),
        limit: int,
    ) -> list[Kept]:
        """Return an owner's rollouts, newest first.

        Args:
            owner: whose.
            states: only those in one of these; any when empty.
            limit: how many at most.
        """
        listed: list[Kept] = []
        met: set[str] = set()
        async with aclosing(self._versions(owner)) as versions:
            async for kept in versions:
                # The newest version of each comes first.
                if kept.rollout.id in met:
                    continue
                met.add(kept.rollout.id)
                if not states or kept.rollout.state in states:
                    listed.append(kept)
                if len(listed) == limit:
                    break
        return listed

    async def _versions(self, owner: str) -> AsyncGenerator[Kept, None]:
        """Go through what an owner's rollouts were, newest first.

        The newest is read by itself: whoever watches a rollout wants no other, every second.
        """
        before: Revision | None = None
        limit = 1
        while True:
            items = await self._store.versions(owner, ROLLOUT_KEY, before=before, limit=limit)
            for item in items:
                yield Kept(rollout_of(item), item.revision)
            if len(items) < limit:
                return
            before, limit = items[-1].revision, _PAGE


_PAGE = 100


def _rollout_of(commit: Commit) -> Rollout | None:
    for change in commit.changes:
        if change.after is not None and isinstance(change.after.body, RolloutRecord):
            return rollout_of(change.after)
    return None


def _started(commit: Commit, candidate: Candidate) -> Started:
    rollout = _rollout_of(commit)
    assert rollout is not None
    written = sum(edit.body is not None for edit in candidate.edits)
    return Started(
        rollout=rollout,
        revision=commit.revision,
        warnings=candidate.warnings,
        upserts=written,
        deletes=len(candidate.edits) - written,
    )


def _to_candidate(edits: Sequence[Edit]) -> CandidateEdits:
    edits = sorted(edits, key=lambda edit: edit.key)
    return CandidateEdits(
        upserts=tuple(_content(edit.body) for edit in edits if edit.body is not None),
        deletes=tuple(edit.key for edit in edits if edit.body is None),
    )


def _content(body: object) -> Content:
    assert not isinstance(body, RolloutRecord | CandidateEdits)
    return body  # type: ignore[return-value]  # all other bodies are content


def _edits(items: ItemSet, rollout: Rollout, new: CandidateEdits | None = None) -> list[Edit]:
    """Return what a rollout's change comes to in its owner's items.

    Args:
        items: the owner's, before.
        rollout: after.
        new: the candidate, when it begins.
    """
    edits = [Edit(ROLLOUT_KEY, RolloutRecord(rollout))]
    known = items.items.get(CANDIDATE_KEY)
    candidate = new
    if candidate is None and known is not None:
        assert isinstance(known.body, CandidateEdits)
        candidate = known.body
    if not rollout.state.is_final:
        return edits + ([Edit(CANDIDATE_KEY, new)] if new is not None else [])
    if known is not None:
        edits.append(Edit(CANDIDATE_KEY, None))
    if rollout.state is RolloutState.COMPLETED and candidate is not None:
        edits += candidate_edits(candidate)
    return edits


def _check_approver(rollout: Rollout, caller: Caller) -> None:
    if not caller.name:
        raise ApprovalRefused("it is not known who approves; say who you are")
    if caller.name == rollout.author:
        raise ApprovalRefused(
            f"`{caller.name}` started the rollout and cannot approve it; ask somebody else"
        )
    groups = rollout.plan.approver_groups
    if groups and not caller.groups.intersection(groups):
        raise ApprovalRefused(
            f"`{caller.name}` is in none of the groups that may approve: {', '.join(groups)}"
        )


def _described(rollout: Rollout) -> str:
    """Say in the history what happened to a rollout."""
    match rollout.state:
        case RolloutState.COMPLETED:
            what = "completed"
        case RolloutState.ROLLED_BACK:
            assert rollout.rollback is not None
            what = f"rolled back: {rollback_reason(rollout)}"
        case RolloutState.PAUSED:
            what = f"paused at {rollout.share_percent} %"
        case _:
            steps = len(rollout.plan.steps)
            what = f"step {rollout.step + 1} of {steps}: {rollout.share_percent} %"
    return f"rollout {rollout.id}: {what}"


def rollback_reason(rollout: Rollout) -> str:
    """Say for people why a rollout was undone."""
    rollback = rollout.rollback
    assert rollback is not None
    match rollback.cause:
        case RollbackCause.GUARD:
            breach = rollback.breach
            assert breach is not None
            guard = next(guard for guard in rollout.plan.guards if guard.kind is breach.kind)
            return (
                f"the guard on {moving.guard_title(breach.kind)} was breached, at "
                f"{breach.measured:g} with a bound of {guard.threshold:g}"
            )
        case RollbackCause.PERSON:
            return f"by {rollback.actor or 'somebody'}"
        case RollbackCause.NOT_APPROVED:
            return "nobody approved it in time"
