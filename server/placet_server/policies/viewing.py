"""What one subscriber gets to see: by its filter, and by where what it gets goes to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from placet_engine.changes import Commit, ItemChange
from placet_engine.items import CHECKSUM_MODULUS, PLATFORM, ItemKey
from placet_server.policies.residency import Move, Moved, Residency, Step, moves
from placet_server.policies.selection import Selection, checksum_steps
from placet_server.policies.source import WITHHELD


@dataclass(frozen=True, slots=True)
class Seen:
    """What a subscriber gets of one step."""

    owner: str | None = None
    """Whose items the commit changed; None where that is not shown."""
    changes: Sequence[ItemChange] = ()
    removals: Sequence[tuple[str, ItemKey]] = ()
    """Owner and key of what the subscriber may not have any more."""
    checksum_step: int = 0


class Turn(Enum):
    """Why a subscriber cannot go on with what it has."""

    FORBIDDEN = auto()
    """The tenant it follows may not be there any more."""
    SHOWN_AGAIN = auto()
    """A tenant may be there that may not have been before."""


class View:
    """A subscriber's, from some step on. It follows the steps it is shown.

    What is hidden is what was at the step last seen, not what is by now: each subscriber comes to
    it in its own time.

    Args:
        selection: what the subscriber asked for.
        residency: where tenants may be, as of where the subscriber stands.
        region: where what it gets goes to. Empty: nobody said.
    """

    def __init__(self, selection: Selection, residency: Residency, region: str) -> None:
        self.selection = selection
        self._residency = residency
        self.region = region
        tenant = selection.tenant
        if not tenant:
            self._hidden = residency.hidden(region)
        else:
            self._hidden = set() if residency.shows(residency.rule(tenant), region) else {tenant}

    def takes_owner(self, owner: str) -> bool:
        """Whether an owner's items are for the subscriber."""
        return self.selection.takes_owner(owner) and owner not in self._hidden

    def see(self, step: Step) -> Seen | Turn | None:
        """Take a step in; return what the subscriber gets of it. None: it is not concerned.

        Every step concerns whoever follows everybody, if only by its revision.
        """
        removals: list[tuple[str, ItemKey]] = []
        lost = 0
        for moved in step.moved:
            turn = self._follow(moved)
            if turn is Turn.FORBIDDEN and not self.selection.tenant:
                for key, digest in self._taken(moved):
                    removals.append((moved.move.tenant, key))
                    lost += int.from_bytes(digest)
            elif turn is not None:
                return turn
        owner = step.commit.owner
        if not self.takes_owner(owner) or owner == WITHHELD:
            return None if self.selection.tenant else Seen()
        changes = self.selection.changes(step.commit)
        return Seen(owner, changes, removals, (checksum_steps(changes) - lost) % CHECKSUM_MODULUS)

    def _follow(self, moved: Moved) -> Turn | None:
        """Hide or show a tenant from now on; say what that means for what the subscriber has."""
        tenant = moved.move.tenant
        if not self._turns(moved.move):
            return None
        if tenant in self._hidden:
            self._hidden.discard(tenant)
            # There was nothing to be missed of a tenant that has nothing.
            return Turn.SHOWN_AGAIN if any(self._taken(moved)) else None
        self._hidden.add(tenant)
        return Turn.FORBIDDEN

    def _taken(self, moved: Moved) -> Iterator[tuple[ItemKey, bytes]]:
        return (entry for entry in moved.digests.items() if self.selection.takes(entry[0]))

    def is_turned_by(self, commits: Iterable[Commit]) -> bool:
        """Whether a tenant comes into view or leaves it on the way to where the view is."""
        return any(self._turns(move) for commit in commits for move in moves(commit))

    def _turns(self, move: Move) -> bool:
        if not self.selection.takes_owner(move.tenant) or move.tenant == PLATFORM:
            return False
        shows = self._residency.shows
        return shows(move.before, self.region) is not shows(move.after, self.region)
