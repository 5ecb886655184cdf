from __future__ import annotations

from placet_engine.cache import ENTRY_BYTES, CacheStatistics, DecisionCache
from placet_server.testing import ManualClock

TTL_S = 60.0
SIZE = 100
"""What one entry of these tests takes beside what every entry takes."""


def cache(clock: ManualClock | None = None, *, entries: int = 1000) -> DecisionCache[str]:
    """Make a cache with room for so many entries of these tests."""
    monotonic = (clock or ManualClock()).monotonic
    return DecisionCache(max_bytes=entries * (SIZE + ENTRY_BYTES), ttl_s=TTL_S, monotonic=monotonic)


def put(decisions: DecisionCache[str], tenant: str, *keys: object) -> None:
    for key in keys:
        decisions.of(tenant).put(key, f"{tenant} {key}", SIZE)


def kept(decisions: DecisionCache[str], tenant: str) -> int:
    return decisions.of(tenant).statistics().entries


def test_an_answer_is_found_for_its_tenant_and_key_only() -> None:
    decisions = cache()
    put(decisions, "acme", "key")

    assert decisions.of("acme").get("key") == "acme key"
    assert decisions.of("other").get("key") is None
    assert decisions.of("acme").get("another") is None


def test_an_answer_is_forgotten_after_its_time() -> None:
    clock = ManualClock()
    decisions = cache(clock)
    put(decisions, "acme", "key")
    clock.advance(TTL_S - 1)
    assert decisions.of("acme").get("key") == "acme key"
    clock.advance(2)

    assert decisions.of("acme").get("key") is None
    put(decisions, "acme", "another")
    assert decisions.statistics().entries == 1


def test_the_least_recently_used_goes_first() -> None:
    decisions = cache(entries=100)
    put(decisions, "acme", *range(100))
    decisions.of("acme").get(0)
    put(decisions, "acme", 100)

    assert decisions.of("acme").get(0) == "acme 0"
    assert decisions.of("acme").get(1) is None
    assert decisions.statistics().evictions == 1


def test_bytes_are_bounded() -> None:
    decisions = cache(entries=100)
    for number in range(1000):
        put(decisions, f"tenant {number % 7}", number)
        statistics = decisions.statistics()
        assert statistics.bytes == statistics.entries * (SIZE + ENTRY_BYTES)
        assert statistics.bytes <= decisions.max_bytes


def test_a_key_written_again_counts_once() -> None:
    decisions = cache()
    put(decisions, "acme", "key", "key", "key")

    assert decisions.statistics().entries == 1
    assert decisions.statistics().bytes == SIZE + ENTRY_BYTES


def test_what_would_take_too_much_of_the_whole_is_not_kept() -> None:
    decisions = cache(entries=100)
    put(decisions, "acme", "small")
    decisions.of("acme").put("large", "answer", decisions.max_bytes // 50)

    assert decisions.of("acme").get("large") is None
    assert decisions.of("acme").get("small") == "acme small"


def test_a_tenant_that_floods_evicts_itself() -> None:
    decisions = cache(entries=1000)
    put(decisions, "quiet", *range(100))
    put(decisions, "flood", *range(10_000))

    assert kept(decisions, "quiet") == 100
    assert kept(decisions, "flood") == 900


def test_room_for_a_small_tenant_is_made_by_the_largest() -> None:
    decisions = cache(entries=1000)
    put(decisions, "large", *range(700))
    put(decisions, "middle", *range(300))
    put(decisions, "new", *range(50))

    assert kept(decisions, "new") == 50
    assert kept(decisions, "middle") == 300
    assert kept(decisions, "large") <= 650


def test_tenants_that_flood_together_get_equal_parts() -> None:
    decisions = cache(entries=1000)
    for key in range(5000):
        put(decisions, "one", key)
        put(decisions, "two", key, -key)

    assert abs(kept(decisions, "one") - 500) <= 50
    assert abs(kept(decisions, "two") - 500) <= 50


def test_entries_of_a_tenant_gone_quiet_make_room_by_age() -> None:
    clock = ManualClock()
    decisions = cache(clock, entries=100)
    put(decisions, "gone", *range(100))
    clock.advance(TTL_S + 1)
    put(decisions, "acme", *range(100))

    assert kept(decisions, "acme") == 100
    assert decisions.statistics().evictions == 0


def test_statistics_are_the_tenants_together() -> None:
    decisions = cache()
    put(decisions, "one", "a")
    put(decisions, "two", "a", "b")
    decisions.of("one").hits, decisions.of("one").exact_hits = 3, 2
    decisions.of("two").misses = 1

    statistics = decisions.statistics()

    assert (statistics.hits, statistics.exact_hits, statistics.misses) == (3, 2, 1)
    assert (statistics.entries, statistics.hit_ratio) == (3, 0.75)
    assert decisions.statistics("one").hits == 3
    assert decisions.statistics("nobody") == CacheStatistics()
    assert set(decisions.tenants()) == set(decisions.names()) == {"one", "two"}


def test_age_counts_from_when_an_answer_was_written_last_and_not_used() -> None:
    clock = ManualClock()
    decisions = cache(clock)
    put(decisions, "acme", "used", "written again")
    clock.advance(TTL_S - 1)
    decisions.of("acme").get("used")
    put(decisions, "acme", "written again")
    clock.advance(2)
    decisions.of("acme").expire()

    assert decisions.of("acme").get("used") is None
    assert decisions.of("acme").get("written again") == "acme written again"
    assert (kept(decisions, "acme"), decisions.bytes) == (1, SIZE + ENTRY_BYTES)


def test_a_tenant_that_is_forgotten_leaves_nothing_and_adds_nothing() -> None:
    """Whoever decides for it at this moment still holds its part."""
    decisions = cache()
    held = decisions.of("acme")
    put(decisions, "acme", "k")
    put(decisions, "other", "k")

    decisions.forget("acme")
    decisions.forget("nobody")
    held.put("l", "late", SIZE)

    assert held.get("k") is None
    assert held.get("l") is None
    assert decisions.names() == ("other",)
    assert decisions.bytes == decisions.of("other").bytes > 0
    put(decisions, "acme", "k")
    assert decisions.of("acme").get("k") == "acme k"
