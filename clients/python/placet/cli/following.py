"""Brings a tenant to what a source has, and keeps it there.

What goes wrong is told and waited out: a source or a server that is away, and a state that cannot
be published, which the next one heals. What was published stays what it is until then.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from placet import Client, InvalidRequest, PlacetError, Unavailable
from placet._backoff import Backoff
from placet.cli.compiling import findings_of, to_engine
from placet.cli.failures import Failure
from placet.cli.findings import FilesRefused
from placet.cli.options import unanswered
from placet.cli.publishing import head, publish_missing, published_changes
from placet.cli.sources import Source, SourceAway, State
from placet.cli.stopping import pause
from placet.cli.sync_reports import Brought, Reporter

# What was refused may be good on another server, or beside other policies of the platform.
_REFUSED_AGAIN_S = 300.0
# How long pauses grow while something is away.
_MAX_PAUSES = 6
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """Whose policies they become, and where."""

    client: Client
    address: str
    owner: str
    why: str = ""
    """Said in the history before what is synced."""

    def bring(self, source: Source) -> Brought:
        """Publish what the source has and the owner has not."""
        folder = source.read()
        state = source.state
        with folder.quoting():
            to_engine(folder.documents, self.owner)
            publication = publish_missing(
                self.client,
                folder.documents.change_set(replace_all=True),
                folder,
                self.owner,
                message=state.message(source.shown, self.why),
                origin=state.origin,
            )
        return Brought(
            state=state,
            publication=publication,
            changes=published_changes(self.client, publication),
            warnings=findings_of(publication.warnings, folder.documents),
            folder=folder,
        )


class Following:
    """Follows a source with one owner's policies."""

    def __init__(
        self,
        source: Source,
        target: Target,
        reporter: Reporter,
        *,
        interval_s: float,
        heals: bool,
        rng: random.Random,
    ) -> None:
        """Prepare to follow.

        Args:
            source: what is followed.
            target: what follows it.
            reporter: is told of everything that happens.
            interval_s: pause between two looks.
            heals: whether what others publish is undone.
            rng: keeps several of these apart.
        """
        self._source = source
        self._target = target
        self._reporter = reporter
        self._interval_s = interval_s
        self._heals = heals
        self._rng = rng
        self._backoff = Backoff(first_s=interval_s, most_s=interval_s * _MAX_PAUSES)
        self._failures = 0
        # Mark and revision of what was brought last, and what became of what could not be.
        self._done: tuple[str, int] | None = None
        self._drifted_to: int | None = None
        self._refusal: _Refusal | None = None

    def run(self) -> None:
        """Follow until interrupted."""
        while True:
            pause(self.step())

    def step(self) -> float:
        """Look once, do what is to be done, and return how long to pause, in seconds.

        Raises:
            InvalidRequest: the owner's name is none.
        """
        try:
            self._follow(self._source.look())
        except SourceAway as error:
            self._failed(str(error))
        except Unavailable as error:
            self._failed(unanswered(self._target.address, error))
        except InvalidRequest:
            # Not what is synced, which has been dealt with, but how: waiting does not help.
            raise
        except PlacetError as error:
            self._failed(error.message)
        else:
            self._failures = 0
        spread = self._rng.uniform(1.0 - _JITTER, 1.0 + _JITTER)
        return self._interval_s * spread + self._backoff.delay_s(self._failures, self._rng)

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._reporter.away(why)

    def _follow(self, state: State) -> None:
        if state.remark:
            self._reporter.remarked(state)
        revision = head(self._target.client)
        self._reporter.reached()
        if self._refusal is not None and self._refusal.holds(state):
            self._reporter.still_refused()
        elif self._done == (state.mark, revision):
            self._refusal = self._drifted_to = None
            self._reporter.current(state, revision)
        elif self._done is None or self._done[0] != state.mark:
            self._bring()
        elif self._drifted_to != revision:
            # Not undone at once: another follower may have seen a newer state than this one has,
            # which the next look shows.
            self._drifted_to = revision
            self._reporter.drifted(state, revision, heals=self._heals)
        elif self._heals:
            self._bring()
        else:
            self._reporter.still_drifted()

    def _bring(self) -> None:
        try:
            brought = self._target.bring(self._source)
        except (FilesRefused, Failure, InvalidRequest) as error:
            refusal = _Refusal(self._source.state.mark, str(error), time.monotonic())
            if self._refusal is not None and self._refusal.is_same(refusal):
                self._reporter.still_refused()
            else:
                self._reporter.refused(self._source.state, error)
            self._refusal = refusal
            return
        self._refusal = self._drifted_to = None
        self._done = (brought.state.mark, brought.publication.revision)
        self._reporter.brought(brought)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A state that could not be published, and why."""

    mark: str
    why: str
    at: float

    def holds(self, state: State) -> bool:
        """Whether there is no point in trying yet."""
        return self.mark == state.mark and time.monotonic() - self.at < _REFUSED_AGAIN_S

    def is_same(self, other: _Refusal) -> bool:
        """Whether nothing new is to be told."""
        return (self.mark, self.why) == (other.mark, other.why)
