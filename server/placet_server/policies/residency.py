"""Which tenants may be where, by their placements, as of the revision the node has got to.

The feed is the one writer. Everybody else asks: whether a tenant may be on this node, or go to
another region.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from placet_engine.changes import Commit, ItemSet
from placet_engine.items import TOPOLOGY, Item, ItemKey, Placement, Revision
from placet_engine.placement.regions import Regions
from placet_engine.placement.residency import ResidencyRule, allows


@dataclass(frozen=True, slots=True)
class Move:
    """A tenant whose rule a commit changed."""

    tenant: str
    before: ResidencyRule
    after: ResidencyRule


@dataclass(frozen=True, slots=True)
class Moved:
    """A tenant that moved, and what it consists of, by name alone."""

    move: Move
    digests: Mapping[ItemKey, bytes]
    """Of the items that this node held of the tenant, or has read because it now may."""


@dataclass(frozen=True, slots=True)
class Step:
    """What subscribers are told: a commit, and the tenants that it moved."""

    commit: Commit
    moved: tuple[Moved, ...] = ()

    @property
    def revision(self) -> Revision:
        """The commit's revision."""
        return self.commit.revision


class Residency:
    """Where tenants may be.

    Args:
        regions: the regions there are, and this node's own.
    """

    def __init__(self, regions: Regions) -> None:
        self.regions = regions
        self._placements: dict[str, Item] = {}

    @property
    def placements(self) -> Mapping[str, Item]:
        """The item of each tenant that was placed, by the tenant's name."""
        return self._placements

    def take(self, topology: ItemSet) -> None:
        """Go by these placements from now on, and by no others."""
        self._placements = dict(_placed(topology.items.values()))

    def apply(self, commit: Commit) -> None:
        """Go by what a commit of the topology changes."""
        for change in commit.changes:
            for tenant, _ in _placed(filter(None, (change.before,))):
                self._placements.pop(tenant, None)
            self._placements.update(_placed(filter(None, (change.after,))))

    def rule(self, tenant: str) -> ResidencyRule:
        """Return a tenant's rule: ``ANY`` for one that was never placed."""
        return _rule(self._placements.get(tenant))

    def placement(self, tenant: str) -> Placement:
        """Return where a tenant is placed: anywhere, if it never was."""
        item = self._placements.get(tenant)
        return _placement(item) if item is not None else Placement(tenant=tenant)

    def is_here(self, tenant: str) -> bool:
        """Whether a tenant's data may be on this node."""
        return self.is_allowed(self.rule(tenant), self.regions.here)

    def may_go(self, tenant: str, region: str) -> bool:
        """Whether a tenant's data may go to a region; empty where nobody says which."""
        return self.is_allowed(self.rule(tenant), region)

    def is_allowed(self, rule: ResidencyRule, region: str) -> bool:
        """Whether a rule lets data be in a region."""
        return allows(rule, self.regions.jurisdiction(region))

    def hidden(self, region: str) -> set[str]:
        """Return the tenants that a subscriber in a region gets nothing of, from this node."""
        return {tenant for tenant in self._placements if not self.shows(self.rule(tenant), region)}

    def shows(self, rule: ResidencyRule, region: str) -> bool:
        """Whether a subscriber in a region gets tenants under a rule, from this node."""
        return self.is_allowed(rule, self.regions.here) and self.is_allowed(rule, region)


def moves(commit: Commit) -> Iterator[Move]:
    """Yield the tenants whose rule a commit changes."""
    if commit.owner != TOPOLOGY:
        return
    for change in commit.changes:
        before, after = _rule(change.before), _rule(change.after)
        if before is not after:
            yield Move(change.key.id, before, after)


def without_content(commit: Commit) -> Commit:
    """Return a commit that says no more than that there was one."""
    return Commit(revision=commit.revision, owner=commit.owner, time=commit.time, changes=())


def _placed(items: Iterable[Item]) -> Iterator[tuple[str, Item]]:
    for item in items:
        if isinstance(item.body, Placement):
            yield item.body.tenant, item


def _placement(item: Item) -> Placement:
    assert isinstance(item.body, Placement)
    return item.body


def _rule(item: Item | None) -> ResidencyRule:
    """Return the rule that an item of the topology is about; one of a node is about no tenant."""
    if item is None or not isinstance(item.body, Placement):
        return ResidencyRule.ANY
    return item.body.rule
