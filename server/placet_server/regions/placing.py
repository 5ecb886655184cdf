"""Places tenants: an item of the topology's for each, kept in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from placet_engine.changes import Edit
from placet_engine.items import TOPOLOGY, Item, ItemKind, Placement, Revision, is_same_body
from placet_server.clock import Clock
from placet_server.errors import PlacementRefused, RegionUnknown, TenantChanged, TenantHeld
from placet_server.policies.active import ActivePolicies
from placet_server.policies.residency import Residency
from placet_server.store.contract import CommitInfo, RevisionConflict, Store

_ATTEMPTS = 10


class Placer:
    """Writes placements.

    Args:
        store: where they are kept, with all that tenants have.
        residency: the regions there are.
        active: what this node has got to.
        clock: dates what is written.
    """

    def __init__(
        self, *, store: Store, residency: Residency, active: ActivePolicies, clock: Clock
    ) -> None:
        self._store = store
        self._residency = residency
        self._active = active
        self._clock = clock

    async def place(
        self, placement: Placement, *, etag: str, author: str, timeout_s: float
    ) -> Item:
        """Say where a tenant's data may be; return when this node goes by it.

        Args:
            placement: where.
            etag: of the placement as the caller read it. Empty: there was none.
            author: who says so.
            timeout_s: how long it may take this node to get there.

        Raises:
            RegionUnknown: a region that was named is none.
            PlacementRefused: the rule does not allow a region that was named.
            TenantHeld: the rule forbids this control plane what its store holds.
            TenantChanged: the placement is not at ``etag``.
            RevisionConflict: others write all the time.
            RevisionNotReached: it was written, but this node did not get there in time.
        """
        self._check_regions(placement)
        written = replace(placement, update_time=self._clock.now())
        for attempt in range(1, _ATTEMPTS + 1):
            topology = await self._store.read(TOPOLOGY)
            known = topology.items.get(placement.key)
            if known is not None and _says(known, placement):
                # Others may have written it, and this node not know it yet.
                await self._active.wait_for(known.revision, timeout_s)
                return known
            if etag != etag_of(known):
                raise TenantChanged(placement.tenant)
            await self._refuse_held(placement)
            try:
                item = await self._write(written, topology.revision, author)
            except RevisionConflict:
                # Another tenant was placed, or a node was set.
                if attempt == _ATTEMPTS:
                    raise
                continue
            # From then on this node stores nothing of the tenant. What it stored before is seen.
            await self._active.wait_for(item.revision, timeout_s)
            await self._undo_if_held(item, known, author)
            return item
        raise AssertionError("the loop above returns or raises")

    def _check_regions(self, placement: Placement) -> None:
        regions = self._residency.regions
        named = [*filter(None, (placement.home_region,)), *placement.affinity_regions]
        for region in named:
            if region not in regions:
                raise RegionUnknown(region, [one.name for one in regions])
        forbidden = [
            region for region in named if not self._residency.is_allowed(placement.rule, region)
        ]
        if forbidden:
            raise PlacementRefused(
                placement.tenant, placement.rule, forbidden, self._allowed(placement)
            )

    def _allowed(self, placement: Placement) -> Sequence[str]:
        return [
            region.name
            for region in self._residency.regions
            if self._residency.is_allowed(placement.rule, region.name)
        ]

    async def _refuse_held(self, placement: Placement) -> None:
        """See that the store does not hold what the rule forbids this control plane."""
        here = self._residency.regions.here
        if self._residency.is_allowed(placement.rule, here):
            return
        keys = (await self._store.read(placement.tenant)).items.keys()
        # The record of a rollout that ended has nothing of what was rolled out.
        held = sum(key.kind is not ItemKind.ROLLOUT for key in keys)
        if held:
            raise TenantHeld(placement.tenant, placement.rule, here, held)

    async def _write(self, body: Placement, expected: Revision, author: str) -> Item:
        commit = await self._store.append(
            TOPOLOGY,
            [Edit(body.key, body)],
            expected=expected,
            info=CommitInfo(time=self._clock.now(), author=author),
        )
        (change,) = commit.changes
        assert change.after is not None
        return change.after

    async def _undo_if_held(self, item: Item, known: Item | None, author: str) -> None:
        """Look once more: somebody may have published while the placement was written."""
        placement = _placement(item)
        try:
            await self._refuse_held(placement)
        except TenantHeld:
            topology = await self._store.read(TOPOLOGY)
            if topology.items.get(item.key) == item:
                await self._store.append(
                    TOPOLOGY,
                    [Edit(item.key, known.body if known is not None else None)],
                    expected=topology.revision,
                    info=CommitInfo(
                        time=self._clock.now(), author=author, message="was published meanwhile"
                    ),
                )
            raise


def etag_of(item: Item | None) -> str:
    """Return what a placement is compared by; empty for a tenant that has none."""
    return str(item.revision) if item is not None else ""


def _placement(item: Item) -> Placement:
    assert isinstance(item.body, Placement)
    return item.body


def _says(item: Item, placement: Placement) -> bool:
    """Whether an item says the same as a placement, whenever it said so."""
    return is_same_body(replace(_placement(item), update_time=None), placement)
