"""Goes through the policies that have to be compared, and through no others.

A policy is held against those of its scope, and of wider ones, whose conditions are among its own:
they match whenever it does. An index by scope has them, and in each of its buckets they are found
by their conditions.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from placet_engine.compiled_items import CompiledItems
from placet_engine.findings.comparing import (
    Kind,
    Scopes,
    compare,
    never_matches,
    takes_part,
)
from placet_engine.items import ItemKey, ItemKind
from placet_engine.policy_index import Bucket, PolicyIndex
from placet_engine.precedence import EffectivePolicy
from placet_engine.scopes import wider_keys


@dataclass(frozen=True, slots=True)
class Finding:
    """One policy that could as well not be there."""

    kind: Kind
    key: ItemKey
    """Of the policy, template or link."""
    by: EffectivePolicy | None = None
    """The policy that makes it so, if it is not so by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Which items somebody writes, and which of them come out different."""

    written: Collection[ItemKey]
    edited: Collection[ItemKey]

    @property
    def concerns_all(self) -> bool:
        """Whether it may have changed what any policy comes to."""
        return any(key.kind in (ItemKind.SCHEMA, ItemKind.SETTINGS) for key in self.edited)

    def is_about(self, id_: str) -> bool:
        """Whether a policy or link is among what is written."""
        return any(ItemKey(kind, id_) in self.written for kind in _KINDS)


_KINDS = (ItemKind.POLICY, ItemKind.TEMPLATE_LINK)


def find(
    own: CompiledItems, platform: CompiledItems | None = None, change: Change | None = None
) -> Iterator[Finding]:
    """Look for policies of an owner that have no part in decisions: one finding for each.

    Args:
        own: the owner's items, compiled without errors.
        platform: what applies beside them, if the owner is a tenant.
        change: what was changed. What is told are then findings about what was written, and those
            about others that something edited makes so. What else there is was told before.
    """
    search = _Search(own, platform)
    if change is None or change.concerns_all:
        yield from search.about(own.items.items)
        return
    about = dict.fromkeys(search.with_links((*change.written, *change.edited)))
    yield from search.about(about)
    yield from search.due_to(search.with_links(change.edited), apart_from=about)


class _Search:
    def __init__(self, own: CompiledItems, platform: CompiledItems | None) -> None:
        self._own = own
        self._platform = platform
        self._scopes = Scopes(own.schema.action_parents if own.schema is not None else {})
        self._by_conditions: dict[int, _ByConditions] = {}

    def with_links(self, keys: Collection[ItemKey]) -> Iterator[ItemKey]:
        """Go through items, and the links of those that are templates."""
        yield from keys
        parsed = self._own.parsed
        templates = {key.id for key in keys if key in parsed and parsed[key].is_template}
        if templates:
            for key, policy in self._own.effective.items():
                if policy.template_id in templates:
                    yield key

    def about(self, keys: Iterable[ItemKey]) -> Iterator[Finding]:
        """Go through what there is to say of some items."""
        found = map(self._finding, keys)
        return (finding for finding in found if finding is not None)

    def due_to(
        self, keys: Iterable[ItemKey], *, apart_from: Collection[ItemKey]
    ) -> Iterator[Finding]:
        """Go through what some items make of others."""
        effective = self._own.effective
        makers = {id(effective[key]): effective[key] for key in keys if key in effective}
        told = set(apart_from)
        for maker in makers.values():
            for policy in self._covered_by(maker):
                key = _key(policy)
                if key in told or compare(policy, maker, self._scopes) is None:
                    continue
                told.add(key)
                finding = self._finding(key)
                if finding is not None and id(finding.by) in makers:
                    yield finding

    def _finding(self, key: ItemKey) -> Finding | None:
        parsed = self._own.parsed.get(key)
        if parsed is not None and parsed.is_template:
            return Finding(Kind.NEVER_MATCHES, key) if never_matches(parsed) else None
        policy = self._own.effective.get(key)
        if policy is None:
            return None
        if never_matches(policy.parsed):
            template = self._own.parsed.get(ItemKey(ItemKind.POLICY, policy.template_id))
            is_told = template is not None and never_matches(template)
            return None if is_told else Finding(Kind.NEVER_MATCHES, key)
        if not takes_part(policy):
            return None
        found = [
            (_GRAVITY[kind], other.layer, other.id, kind, other)
            for other in self._covering(policy)
            if (kind := compare(policy, other, self._scopes)) is not None
        ]
        if not found:
            return None
        *_, kind, other = min(found, key=lambda each: each[:3])
        return Finding(kind, key, other)

    def _covering(self, policy: EffectivePolicy) -> Iterator[EffectivePolicy]:
        """Go through the other policies that match whenever a policy does."""
        scope, conjuncts = policy.parsed.scope, frozenset(policy.parsed.conditions.conjuncts)
        first, *further = scope.actions
        keys = wider_keys(scope.principal), self._scopes.wider_actions(first)
        for index in self._beside(policy):
            for bucket in index.select(*keys, wider_keys(scope.resource)):
                for other in self._sorted(bucket).among(conjuncts):
                    if other is not policy and self._scopes.has_actions(
                        other.parsed.scope, further
                    ):
                        yield other

    def _covered_by(self, maker: EffectivePolicy) -> Iterator[EffectivePolicy]:
        """Go through the owner's other policies that match only when one does.

        Those are left out that it cannot make anything of.
        """
        if not takes_part(maker):
            return
        scope, needed = maker.parsed.scope, maker.parsed.conditions.conjuncts
        # Beside a permit that asks for an approval only others that ask can be redundant. That is
        # seen at once, which counts where it is about everything.
        asks = "approval" in maker.parsed.annotations
        for index, action in itertools.product(self._own.indexes.values(), scope.actions):
            for bucket in index.within(scope.principal, action, scope.resource):
                for policy in bucket:
                    if asks and "approval" not in policy.parsed.annotations:
                        continue
                    has = policy.parsed.conditions.conjuncts
                    if (
                        policy is not maker
                        and all(conjunct in has for conjunct in needed)
                        and self._scopes.is_wider(scope, policy.parsed.scope)
                    ):
                        yield policy

    def _beside(self, policy: EffectivePolicy) -> Iterator[PolicyIndex]:
        """Go through the policies that apply wherever one of the owner's does."""
        if self._platform is None:
            places, sources = {"", policy.jurisdiction}, [self._own]
        else:
            places = {"", *self._own.settings.jurisdictions}
            sources = [self._own, self._platform]
        for source, place in itertools.product(sources, places):
            if place in source.indexes:
                yield source.indexes[place]

    def _sorted(self, bucket: Bucket) -> _ByConditions:
        known = self._by_conditions.get(id(bucket))
        if known is None:
            # The indexes hold on to their buckets, so that no other can have their identity.
            known = self._by_conditions[id(bucket)] = _ByConditions(bucket)
        return known


_GRAVITY = {kind: place for place, kind in enumerate(Kind)}


def _key(policy: EffectivePolicy) -> ItemKey:
    kind = ItemKind.TEMPLATE_LINK if policy.template_id else ItemKind.POLICY
    return ItemKey(kind, policy.id)


class _ByConditions:
    """The policies of one bucket, by what has to hold for them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._is_first = True
        self._groups: Mapping[frozenset[str], list[EffectivePolicy]] = {}
        self._standing: dict[frozenset[str], list[EffectivePolicy]] = {}

    def among(self, conjuncts: frozenset[str]) -> Iterator[EffectivePolicy]:
        """Go through policies whose conditions are among some, as far as they are looked for."""
        if self._is_first:
            # To sort all costs more than to look through all once.
            self._is_first = False
            has = conjuncts.issuperset
            groups = _grouped(p for p in self._bucket if has(p.parsed.conditions.conjuncts))
            sizes = _sizes(conjuncts)
            for needed, policies in groups.items():
                if len(needed) in sizes:
                    yield from _standing_for(policies)
            return
        self._groups = self._groups or _grouped(self._bucket)
        for needed in self._subsets(conjuncts):
            standing = self._standing.get(needed)
            if standing is None:
                standing = self._standing[needed] = _standing_for(self._groups[needed])
            yield from standing

    def _subsets(self, conjuncts: frozenset[str]) -> Iterator[frozenset[str]]:
        sizes = _sizes(conjuncts)
        if len(self._groups) <= 2**_MOST_COMBINED:
            known = filter(conjuncts.issuperset, self._groups)
            return (needed for needed in known if len(needed) in sizes)
        subsets = (map(frozenset, itertools.combinations(conjuncts, size)) for size in sizes)
        return filter(self._groups.__contains__, itertools.chain.from_iterable(subsets))


# The two bounds keep what a hostile set costs within reason. What is missed for them is told
# nowhere, neither after a change nor when all is looked at.
_MOST_COMBINED = 6
_MOST_ALIKE = 32


def _sizes(conjuncts: frozenset[str]) -> Collection[int]:
    """Return the sizes of the subsets to look for: of many conditions there are too many."""
    size = len(conjuncts)
    return range(size + 1) if size <= _MOST_COMBINED else {0, 1, size - 1, size}


def _grouped(policies: Iterable[EffectivePolicy]) -> Mapping[frozenset[str], list[EffectivePolicy]]:
    groups: defaultdict[frozenset[str], list[EffectivePolicy]] = defaultdict(list)
    for policy in policies:
        groups[frozenset(policy.parsed.conditions.conjuncts)].append(policy)
    return groups


def _standing_for(policies: Iterable[EffectivePolicy]) -> list[EffectivePolicy]:
    """Choose from policies with the same conditions a few that it suffices to compare with.

    Of those that say the same, the one with the smallest id stands for all.
    """
    alike: dict[object, EffectivePolicy] = {}
    for policy in filter(takes_part, policies):
        parsed = policy.parsed
        asks, obliges = map(parsed.annotations.get, ("approval", "obligation"))
        conjuncts, actions = parsed.conditions.conjuncts, parsed.scope.actions
        meaning = policy.layer, parsed.effect, asks, obliges, conjuncts, actions
        known = alike.get(meaning)
        if known is None or policy.id < known.id:
            alike[meaning] = policy
    return heapq.nsmallest(_MOST_ALIKE, alike.values(), key=lambda policy: policy.id)
