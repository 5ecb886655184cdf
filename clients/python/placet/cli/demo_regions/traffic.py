"""What callers were told: where calls go, how long they take, which failed. Pure."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from placet.cli.demo_regions.callers import Told
from placet.cli.demo_regions.scene import Scene, TenantSpec

WINDOW_S = 1.0
_MOST = 0.75
_KEPT_S = 1.5
"""The window, and what it takes for the last part of it to be told."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one tenant's calls at one place came to, in a quarter of a second."""

    at_s: float
    tenant: str
    country: str
    node: str
    region: str
    calls: int
    latencies_ms: Sequence[float]


@dataclass(frozen=True, slots=True)
class Pace:
    """Calls within the window."""

    per_second: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Calls go somewhere else than before."""

    source: str
    target: str
    """Regions."""
    tenants: Sequence[str]
    countries: Sequence[str]


@dataclass(slots=True)
class Totals:
    """Since the callers began."""

    calls: int = 0
    failed: int = 0
    """That should not have: some node could have answered."""
    nowhere: int = 0
    """That failed while no node was there that the tenant may be on."""
    misplaced: int = 0
    """That were answered where the tenant may not be."""
    errors: Counter[str] = field(default_factory=Counter)
    longest_ms: float = 0.0


class Traffic:
    """Counts.

    Args:
        scene: what there is.
        was_nowhere: tells whether a tenant had no node it could have been answered by, lately.
    """

    def __init__(self, scene: Scene, was_nowhere: Callable[[TenantSpec], bool]) -> None:
        self._scene = scene
        self._was_nowhere = was_nowhere
        self._tenants = {tenant.name: tenant for tenant in scene.tenants}
        self._pieces: deque[_Piece] = deque()
        self._at: dict[tuple[str, str], str] = {}
        self.total = Totals()
        self.by_tenant: Mapping[str, Totals] = {name: Totals() for name in self._tenants}
        self._phase = Totals()

    def take(self, now_s: float, country: str, tenant: str, told: Told) -> None:
        """Take what callers at a place were told for a tenant."""
        spec = self._tenants[tenant]
        mine = self.by_tenant[tenant]
        for name, answered in told.nodes.items():
            region, _, node = name.partition(" ")
            piece = _Piece(
                now_s, tenant, country, node, region, answered.calls, answered.latencies_ms
            )
            self._pieces.append(piece)
            is_misplaced = not self._scene.may_serve(spec, region)
            for totals in (self.total, self._phase, mine):
                totals.calls += answered.calls
                totals.misplaced += answered.calls if is_misplaced else 0
                totals.longest_ms = max((totals.longest_ms, *answered.latencies_ms))
        if told.failed:
            excused = self._was_nowhere(spec)
            for totals in (self.total, self._phase, mine):
                totals.nowhere += told.failed if excused else 0
                totals.failed += 0 if excused else told.failed
                if not excused:
                    totals.errors[told.error] += told.failed
        while self._pieces and self._pieces[0].at_s < now_s - _KEPT_S:
            self._pieces.popleft()

    def end_phase(self) -> Totals:
        """Return what was counted since this was asked last."""
        ended, self._phase = self._phase, Totals()
        return ended

    def pace(self, now_s: float, *, tenant: str = "", country: str = "", node: str = "") -> Pace:
        """Return what calls within the window came to, of all or of some."""
        pieces = [
            piece
            for piece in self._recent(now_s)
            if (not tenant or piece.tenant == tenant)
            and (not country or piece.country == country)
            and (not node or piece.node == node)
        ]
        latencies = sorted(ms for piece in pieces for ms in piece.latencies_ms)
        return Pace(
            sum(piece.calls for piece in pieces) / WINDOW_S,
            percentile(latencies, 50),
            percentile(latencies, 99),
        )

    def nodes(self, now_s: float, tenant: str, country: str) -> Sequence[str]:
        """Return the nodes that answered within the window, those with the most calls first."""
        counts: Counter[str] = Counter()
        for piece in self._recent(now_s):
            if piece.tenant == tenant and piece.country == country:
                counts[piece.node] += piece.calls
        return [node for node, _ in counts.most_common()]

    def moves(self, now_s: float) -> Sequence[Move]:
        """Return which calls go to another region than they did when this was asked last."""
        moved: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
        for (tenant, country), region in self._regions(now_s).items():
            before = self._at.get((tenant, country), region)
            self._at[tenant, country] = region
            if region != before:
                tenants, countries = moved.setdefault((before, region), ({}, {}))
                tenants[tenant] = None
                countries[country] = None
        return [
            Move(source, target, tuple(tenants), tuple(countries))
            for (source, target), (tenants, countries) in moved.items()
        ]

    def _regions(self, now_s: float) -> Mapping[tuple[str, str], str]:
        """Return where calls go, by tenant and country, as far as most of them go to one region."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        for piece in self._recent(now_s):
            at = counts.setdefault((piece.tenant, piece.country), Counter())
            at[piece.region] += piece.calls
        # A region that comes back gets calls bit by bit; that it has a half of them is no news.
        return {
            key: region
            for key, regions in counts.items()
            for region, calls in regions.most_common(1)
            if calls >= _MOST * regions.total()
        }

    def _recent(self, now_s: float) -> Iterator[_Piece]:
        return (piece for piece in self._pieces if piece.at_s > now_s - WINDOW_S)


def percentile(ascending: Sequence[float], percent: int) -> float | None:
    """Return a percentile by nearest rank; None of nothing."""
    if not ascending:
        return None
    return ascending[math.ceil(len(ascending) * percent / 100) - 1]
