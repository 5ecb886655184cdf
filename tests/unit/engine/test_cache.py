from __future__ import annotations

from placet_engine.cache import VerdictCache
from placet_engine.items import Revision
from placet_engine.model import Cause, Outcome, Verdict
from placet_server.testing import ManualClock

ALLOW = Verdict(outcome=Outcome.ALLOW, cause=Cause.PERMITTED)
ONE, TWO = Revision(1), Revision(2)


def cache(clock: ManualClock, *, max_entries: int = 10) -> VerdictCache:
    return VerdictCache(max_entries=max_entries, ttl_s=60, monotonic=clock.monotonic)


def test_a_verdict_is_found_for_its_tenant_revision_and_request_only() -> None:
    verdicts = cache(ManualClock())
    verdicts.put("acme", ONE, b"request", ALLOW)

    assert verdicts.get("acme", ONE, b"request") == ALLOW
    assert verdicts.get("acme", TWO, b"request") is None
    assert verdicts.get("other", ONE, b"request") is None
    assert verdicts.get("acme", ONE, b"another") is None


def test_a_verdict_is_forgotten_after_its_time() -> None:
    clock = ManualClock()
    verdicts = cache(clock)
    verdicts.put("acme", ONE, b"request", ALLOW)
    clock.advance(59)
    assert verdicts.get("acme", ONE, b"request") == ALLOW
    clock.advance(2)

    assert verdicts.get("acme", ONE, b"request") is None


def test_the_least_recently_used_goes_first() -> None:
    verdicts = cache(ManualClock(), max_entries=2)
    for request in (b"a", b"b"):
        verdicts.put("acme", ONE, request, ALLOW)
    verdicts.get("acme", ONE, b"a")
    verdicts.put("acme", ONE, b"c", ALLOW)

    kept = [request for request in (b"a", b"b", b"c") if verdicts.get("acme", ONE, request)]
    assert kept == [b"a", b"c"]


def test_statistics_count_hits_misses_and_entries() -> None:
    verdicts = cache(ManualClock())
    assert verdicts.statistics().hit_ratio == 0
    verdicts.put("acme", ONE, b"a", ALLOW)
    for request in (b"a", b"a", b"a", b"b"):
        verdicts.get("acme", ONE, request)

    statistics = verdicts.statistics()
    assert (statistics.hits, statistics.misses, statistics.hit_ratio) == (3, 1, 0.75)
    assert (statistics.entries, statistics.max_entries) == (1, 10)
