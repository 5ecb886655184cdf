"""How current a subscription is, and what its owner gets to see of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from placet._errors import PlacetError


class State(Enum):
    """Where a subscription stands."""

    CONNECTING = "connecting"
    """Nothing is known yet: the first snapshot is still to come."""
    READY = "ready"
    """The stream is alive and the node behind it is current."""
    STALE = "stale"
    """What is held may be old: the stream is down, or the node behind it is behind itself."""
    ERROR = "error"
    """Trying again is not likely to help; see ``last_error``. What is held stays, unless it may
    not be held here any more: then nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A subscription at one moment. Times are those of a monotonic clock, in seconds."""

    state: State = State.CONNECTING
    revision: int = 0
    last_error: PlacetError | None = None
    """Why it is not ready, or was not the last time it was not."""
    confirmed_at_s: float | None = None
    """When what is held was last known to be what the node has."""
    node_staleness_s: float = 0.0
    """How stale the node said it was then."""

    def staleness_s(self, now_s: float) -> float | None:
        """Return the time since what is held was known to be the newest; None before that."""
        if self.confirmed_at_s is None:
            return None
        return max(0.0, now_s - self.confirmed_at_s) + self.node_staleness_s

    def confirmed(
        self, now_s: float, *, node_staleness_s: float = 0.0, stale_after_s: float
    ) -> Status:
        """Note that the node has nothing that is not held: a snapshot ended, or a heartbeat."""
        is_current = node_staleness_s <= stale_after_s
        return replace(
            self,
            state=State.READY if is_current else State.STALE,
            confirmed_at_s=now_s,
            node_staleness_s=node_staleness_s,
        )

    def moved(self, revision: int) -> Status:
        """Note the revision that is held now."""
        return replace(self, revision=revision)

    def lost(self, error: PlacetError) -> Status:
        """Note that the stream ended, and that another try may help."""
        state = State.CONNECTING if self.confirmed_at_s is None else State.STALE
        return replace(self, state=state, last_error=error)

    def forgotten(self, error: PlacetError) -> Status:
        """Note that nothing is held any more, and why."""
        return Status(state=State.ERROR, last_error=error)

    def failed(self, error: PlacetError) -> Status:
        """Note that something is wrong which another try will hardly change."""
        return replace(self, state=State.ERROR, last_error=error)


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of a subscription's state."""

    before: State
    after: State
    revision: int
    error: PlacetError | None
    """Why, when it is for the worse."""
