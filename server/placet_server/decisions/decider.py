"""The answer path: program, cache, verdict, decision. No I/O.

It takes requests unread, as canonical bytes and a function that reads them,
so that a cached answer costs neither reading nor judging.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from placet_engine.cache import VerdictCache
from placet_engine.items import Revision
from placet_engine.model import Request, Undecidable, Verdict
from placet_engine.program import Program
from placet_server.errors import NodeStale
from placet_server.policies.active import ActivePolicies


@dataclass(frozen=True, slots=True)
class Decision:
    """What a caller gets and the audit keeps."""

    verdict: Verdict
    decision_id: str
    revision: Revision
    staleness_s: float
    cached: bool


class Decider:
    """Decides requests by the node's active policies."""

    def __init__(self, active: ActivePolicies, cache: VerdictCache) -> None:
        self._active = active
        self._cache = cache
        self._ids = _decision_ids()

    def pin(self, tenant: str) -> PinnedDecider:
        """Hold on to one revision of a tenant's policies, for one or many requests.

        Raises:
            TenantUnknown: nobody published anything for the tenant.
            NodeStale: the node knows less than the tenant's bound allows.
        """
        program = self._active.program(tenant)
        staleness_s = self._active.staleness_s(tenant)
        bound_s = program.settings.max_staleness_s
        if bound_s is not None and staleness_s > bound_s:
            raise NodeStale(tenant, staleness_s, bound_s)
        return PinnedDecider(program, staleness_s, self._cache, self._ids)


class PinnedDecider:
    """Decides by one program, whatever is published meanwhile."""

    def __init__(
        self, program: Program, staleness_s: float, cache: VerdictCache, ids: Iterator[str]
    ) -> None:
        self.program = program
        self._staleness_s = staleness_s
        self._cache = cache
        self._ids = ids

    @property
    def revision(self) -> Revision:
        """The revision that decides."""
        return self.program.revision

    def decide(self, key: bytes, read: Callable[[], Request]) -> Decision | Undecidable:
        """Decide one request.

        Args:
            key: equal for equal requests, and different for different ones.
            read: reads the request; called only when it was not seen before.
        """
        tenant, revision = self.program.tenant, self.program.revision
        verdict = self._cache.get(tenant, revision, key)
        if verdict is not None:
            return self.name(verdict, cached=True)
        judged = self.program.judge(read())
        if isinstance(judged, Undecidable):
            return judged
        self._cache.put(tenant, revision, key, judged)
        return self.name(judged)

    def name(self, verdict: Verdict, *, cached: bool = False) -> Decision:
        """Make a decision of a verdict: give it an id and say how current it is."""
        return Decision(verdict, next(self._ids), self.revision, self._staleness_s, cached)


def _decision_ids() -> Iterator[str]:
    """Yield ids that no other process or run yields: random once, then counted."""
    origin = os.urandom(9).hex()
    return (f"{origin}-{number:x}" for number in itertools.count(1))
