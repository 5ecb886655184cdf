"""Which of several endpoints gets the next call: four strategies behind one Protocol.

Pure but for the random numbers they are given. One suite, ``tests/conformance/test_pickers.py``,
is run against all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, TypeVar

Strategy: TypeAlias = Literal["round_robin", "random", "least_request", "weighted"]


class Candidate(Protocol):
    """What a picker may know of an endpoint."""

    def __hash__(self) -> int: ...

    @property
    def weight(self) -> float:
        """Its configured share relative to others. More than 0."""
        ...

    @property
    def ramp(self) -> float:
        """How much of that it is to get now, more than 0 and up to 1."""
        ...

    @property
    def in_flight(self) -> int:
        """Calls under way there, of this client."""
        ...


CandidateT = TypeVar("CandidateT", bound=Candidate)


class Picker(Protocol):
    """A strategy, with what it has to remember between calls. Not thread-safe.

    ``pick`` returns one of the candidates, of which there is at least one and none twice. They are
    those that can serve; whoever cannot, or was tried already, is left out before, so that a
    picker judges nobody's health. They may be others each time. In the long run each is picked in
    proportion to its ramp (and its weight, where the strategy knows weights), also when others
    come and go: who was away neither makes up for it nor is owed anything.
    """

    def pick(self, candidates: Sequence[CandidateT]) -> CandidateT:
        """Return the one that gets the next call."""
        ...


class Rotation:
    """In turn: each comes up again after a time that is the inverse of its share.

    Earliest deadline first, which interleaves evenly. With equal shares it is round robin.
    """

    def __init__(self, rng: random.Random, *, weighted: bool) -> None:
        self._rng = rng
        self._weighted = weighted
        self._now = 0.0
        self._due: dict[Hashable, float] = {}

    def pick(self, candidates: Sequence[CandidateT]) -> CandidateT:
        """Return the one that is due first."""
        best, best_due = candidates[0], float("inf")
        for candidate in candidates:
            due = self._due.get(candidate)
            if due is None:
                # Somewhere within its first turn, so that many clients that start together
                # do not all begin with the first of the list.
                due = self._now + self._rng.random() / self._share(candidate)
                self._due[candidate] = due
            # Who was away while the others had theirs is due now, and not for all it missed.
            due = max(due, self._now)
            if due < best_due:
                best, best_due = candidate, due
        self._now = best_due
        self._due[best] = best_due + 1.0 / self._share(best)
        if len(self._due) > _MOST_REMEMBERED * len(candidates):
            self._due = {candidate: self._due[candidate] for candidate in candidates}
        return best

    def _share(self, candidate: Candidate) -> float:
        return candidate.ramp * (candidate.weight if self._weighted else 1.0)


# Of candidates that are there no longer, before they are forgotten.
_MOST_REMEMBERED = 8


class Uniform:
    """Any one, each as likely as the others."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def pick(self, candidates: Sequence[CandidateT]) -> CandidateT:
        """Return any one."""
        return candidates[_draw(self._rng, [candidate.ramp for candidate in candidates])]


class LeastRequest:
    """Of two drawn by weight the one with fewer calls under way for its weight.

    The power of two choices (M. Mitzenmacher, IEEE TPDS 12(10), 2001): nearly as even as looking
    at all of them, without all clients running to the same one.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def pick(self, candidates: Sequence[CandidateT]) -> CandidateT:
        """Return the better of two. When both are as busy it is the first drawn."""
        count = len(candidates)
        if count == 1:
            return candidates[0]
        shares = [candidate.weight * candidate.ramp for candidate in candidates]
        if shares.count(shares[0]) == count:
            # What is almost always so, in a tenth of the time.
            place = int(self._rng.random() * count)
            step = 1 + int(self._rng.random() * (count - 1))
            one, other = candidates[place], candidates[(place + step) % count]
            return other if one.in_flight > other.in_flight else one
        first = _draw(self._rng, shares)
        first_share, shares[first] = shares[first], 0.0
        second = _draw(self._rng, shares)
        one, other = candidates[first], candidates[second]
        is_busier = one.in_flight * shares[second] > other.in_flight * first_share
        return other if is_busier else one


def _draw(rng: random.Random, shares: Sequence[float]) -> int:
    """Return a place, each as likely as its share says."""
    left = rng.random() * sum(shares)
    place = 0
    for place, share in enumerate(shares):
        left -= share
        if left < 0:
            return place
    # Rounding: the last that has a share.
    while not shares[place]:
        place -= 1
    return place


PickerFactory: TypeAlias = Callable[[random.Random], Picker]

PICKERS: Mapping[Strategy, PickerFactory] = {
    "round_robin": lambda rng: Rotation(rng, weighted=False),
    "random": Uniform,
    "least_request": LeastRequest,
    "weighted": lambda rng: Rotation(rng, weighted=True),
}
