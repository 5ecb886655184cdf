"""The answer path: program, cache, verdict. No I/O, and no word about how answers travel.

A request is first looked up unread, as the bytes it came in. One that was not seen before is read,
and looked up by what of it the policies can depend on; only then it is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cachetools import LRUCache

from placet_engine.cache import CacheStatistics, DecisionCache
from placet_engine.editions import Edition, Role, Variant
from placet_engine.items import Revision
from placet_engine.model import EntityUid, Request, Undecidable, Verdict
from placet_engine.native import Unread
from placet_engine.program import Question
from placet_server.errors import NodeStale
from placet_server.policies.active import ActivePolicies


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """An answer to a request. The same object answers all requests with that answer."""

    verdict: Verdict
    cached: bool
    lasting: bytes
    """The part of a decision that is the same whenever it is given, encoded."""
    revision: Revision
    """The revision that decided."""
    variant: Variant = Variant.ONLY
    """Which of two programs decided, while a rollout is under way."""


class Answer(NamedTuple):
    """What a verdict comes to: as long as it is new, and when it is remembered."""

    fresh: Decided
    remembered: Decided


Encode = Callable[[Verdict, Revision, Variant], bytes]
"""Encodes the part of a decision that lasts, except whether it was cached."""

_REMEMBERED_ANSWERS = 4096


class Decider:
    """Decides requests by the node's active policies.

    Args:
        active: the policies.
        cache: remembers answers.
        encode: writes the lasting part of a decision.
        encoded_cached: what says that it was cached.
    """

    def __init__(
        self,
        active: ActivePolicies,
        cache: DecisionCache[Decided],
        encode: Encode,
        encoded_cached: bytes,
    ) -> None:
        self._active = active
        self._cache = cache
        self._encode = encode
        self._encoded_cached = encoded_cached
        # Programs hand out the same verdict object again and again; it is encoded once. An entry
        # holds its verdict, so that no other can have its identity.
        self._answers: LRUCache[tuple[int, Revision, Variant], Answer] = LRUCache(
            _REMEMBERED_ANSWERS
        )

    def pin(self, tenant: str) -> PinnedDecider:
        """Hold on to what decides a tenant's requests now, for one or many of them.

        Raises:
            TenantUnknown: nobody published anything for the tenant.
            NodeStale: the node knows less than the tenant's bound allows.
        """
        edition = self._active.edition(tenant)
        staleness_s = self._active.staleness_s(tenant)
        bound_s = edition.stable.program.settings.max_staleness_s
        if bound_s is not None and staleness_s > bound_s:
            raise NodeStale(tenant, staleness_s, bound_s)
        return PinnedDecider(self, tenant, edition, staleness_s, self._cache)

    def answer(self, verdict: Verdict, role: Role) -> Answer:
        """Make an answer of a verdict."""
        revision, variant = role.key
        key = (id(verdict), revision, variant)
        answer = self._answers.get(key)
        if answer is None:
            lasting = self._encode(verdict, revision, variant)
            answer = self._answers[key] = Answer(
                Decided(verdict, False, lasting, revision, variant),
                Decided(verdict, True, lasting + self._encoded_cached, revision, variant),
            )
        return answer

    def forget(self, tenant: str) -> None:
        """Let go of all that was remembered of a tenant."""
        self._cache.forget(tenant)
        # They do not say whose they are. All others are made again as they are given.
        self._answers.clear()

    def statistics(self, tenant: str | None = None) -> CacheStatistics:
        """Return how the cache does, for all tenants together or for one."""
        return self._cache.statistics(tenant)

    def statistics_by_tenant(self) -> dict[str, CacheStatistics]:
        """Return how the cache does for each tenant."""
        return self._cache.tenants()


class PinnedDecider:
    """Decides by what decided when it was made, whatever is published meanwhile."""

    __slots__ = ("_cache", "_decider", "edition", "staleness_s", "tenant")

    def __init__(
        self,
        decider: Decider,
        tenant: str,
        edition: Edition,
        staleness_s: float,
        cache: DecisionCache[Decided],
    ) -> None:
        self._decider = decider
        self.tenant = tenant
        self.edition = edition
        self.staleness_s = staleness_s
        self._cache = cache.of(tenant)

    @property
    def revision(self) -> Revision:
        """The newest revision that decides anything."""
        edition = self.edition
        if edition.candidate is None or edition.for_everybody is edition.stable:
            return edition.stable.program.revision
        return edition.candidate.program.revision

    def recall(self, exact: Hashable) -> Decided | None:
        """Return the answer to a request that came before.

        Args:
            exact: what came, unread: equal only for requests that ask the same.
        """
        known = self._cache.get((self.edition.key, exact))
        if known is not None:
            self._cache.hits += 1
            self._cache.exact_hits += 1
        return known

    def decide(
        self, requests: Sequence[Request | Unread], exact: Sequence[Hashable | None]
    ) -> list[Decided | Undecidable]:
        """Decide requests that :meth:`recall` knew nothing about.

        Args:
            requests: what is asked.
            exact: for each, what it was recalled by; None for what never is.
        """
        role = self.edition.for_everybody
        if role is not None:
            return self._decide_by(role, requests, exact)
        results: list[Decided | Undecidable | None] = [None] * len(requests)
        roles = [self.edition.role_for(request.subject) for request in requests]
        for role in (self.edition.stable, self.edition.candidate):
            places = [place for place, chosen in enumerate(roles) if chosen is role]
            if role is None or not places:
                continue
            decided = self._decide_by(
                role, [requests[place] for place in places], [exact[place] for place in places]
            )
            for place, result in zip(places, decided, strict=True):
                results[place] = result
        return results  # type: ignore[return-value]  # each has one of the two roles

    def _decide_by(
        self, role: Role, requests: Sequence[Request | Unread], exact: Sequence[Hashable | None]
    ) -> list[Decided | Undecidable]:
        program = role.program
        results: list[Decided | Undecidable | None] = []
        open_: list[tuple[int, bytes, Question]] = []
        for place, request in enumerate(requests):
            question = program.question(request)
            if isinstance(question, Undecidable):
                results.append(question)
                continue
            read = program.projection(question)
            known = self._cache.get((role.key, read))
            if known is None:
                self._cache.misses += 1
                results.append(None)
                open_.append((place, read, question))
            else:
                self._cache.hits += 1
                # It came twice, and so may come a third time: then it need not be read.
                if (key := exact[place]) is not None:
                    self._cache.put((self.edition.key, key), known, _size(key))
                results.append(known)
        verdicts = program.answer([question for _, _, question in open_])
        for (place, read, _), verdict in zip(open_, verdicts, strict=True):
            if isinstance(verdict, Undecidable):
                results[place] = verdict
            else:
                answer = self._decider.answer(verdict, role)
                self._cache.put((role.key, read), answer.remembered, len(read))
                results[place] = answer.fresh
        return results  # type: ignore[return-value]  # each is known, or was judged

    def role_for(self, subject: EntityUid) -> Role:
        """Return what decides for a subject."""
        return self.edition.role_for(subject)

    def judge(self, request: Request) -> Verdict | Undecidable:
        """Judge a request past the cache."""
        return self.role_for(request.subject).program.judge(request)

    def judged(self, verdict: Verdict, role: Role) -> Decided:
        """Make a decision of a verdict that was come by in another way."""
        return self._decider.answer(verdict, role).fresh


def _size(key: Hashable) -> int:
    """Return the bytes of a key. Answers are shared by entries, and small."""
    if isinstance(key, bytes | str):
        return len(key)
    return sum(map(_size, key)) if isinstance(key, tuple) else 0
