"""What one policy is beside another that matches whenever it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from placet_engine.entities import MergedEntities
from placet_engine.model import Effect, EntityUid
from placet_engine.parsing import ParsedPolicy
from placet_engine.precedence import EffectivePolicy
from placet_engine.scopes import Key, Scope, Within, wider_keys


class Kind(Enum):
    """What can be found, the gravest first. Values are the reasons of problems."""

    NEVER_MATCHES = "POLICY_NEVER_MATCHES"
    CONFLICT = "POLICY_CONFLICT"
    SHADOWED = "PERMIT_SHADOWED"
    APPROVAL_NEVER_ASKED = "APPROVAL_NEVER_ASKED"
    DUPLICATE = "POLICY_DUPLICATE"
    REDUNDANT = "PERMIT_REDUNDANT"


def never_matches(parsed: ParsedPolicy) -> bool:
    """Whether a policy has no part in any decision by what it says itself."""
    if not parsed.scope.actions:
        return True
    conditions = parsed.conditions
    # A forbid that cannot be evaluated denies, even one that could never match.
    is_harmless = parsed.effect is Effect.PERMIT or not conditions.can_fail
    return not conditions.can_hold and is_harmless


def takes_part(policy: EffectivePolicy) -> bool:
    """Whether a policy can match, and can have a part in the outcome when it does."""
    parsed = policy.parsed
    return policy.counts and parsed.conditions.can_hold and bool(parsed.scope.actions)


def demands(parsed: ParsedPolicy) -> tuple[frozenset[str], frozenset[str]]:
    """Return who has to approve, and what the caller is obliged to."""
    return frozenset(parsed.approval_groups), frozenset(parsed.obligations)


class Scopes:
    """Compares scopes, knowing which groups a schema puts actions into."""

    def __init__(self, action_parents: Mapping[EntityUid, Sequence[EntityUid]]) -> None:
        self._action_parents = action_parents
        self._no_entities = MergedEntities({}, ())

    def wider_actions(self, key: Key) -> tuple[Key, ...]:
        """Return the keys that every action has that has this key."""
        match key:
            case EntityUid():
                return wider_keys(key, self._groups(key))
            case Within():
                return wider_keys(key, self._groups(EntityUid(key.group_type, key.group_id)))
        return wider_keys(key)

    def is_wider(self, scope: Scope, other: Scope) -> bool:
        """Whether a scope matches whenever another does."""
        return (
            _is_wider(scope.principal, other.principal)
            and _is_wider(scope.resource, other.resource)
            and self.has_actions(scope, other.actions)
        )

    def has_actions(self, scope: Scope, actions: Sequence[Key]) -> bool:
        """Whether a scope is about all actions that have one of some keys."""
        return None in scope.actions or all(
            not _are_disjoint(scope.actions, self.wider_actions(action)) for action in actions
        )

    def _groups(self, action: EntityUid) -> Sequence[EntityUid]:
        if not self._action_parents:
            return ()
        return self._no_entities.ancestors(action, self._action_parents)


def _is_wider(key: Key, other: Key) -> bool:
    return key is None or key == other or key in wider_keys(other)


def _are_disjoint(one: Sequence[Key], other: Collection[Key]) -> bool:
    return all(key not in other for key in one)


def compare(policy: EffectivePolicy, other: EffectivePolicy, scopes: Scopes) -> Kind | None:
    """Say what a policy is beside another that matches whenever it does.

    Of two that say the same, the one with the smaller id is the one to keep.
    """
    if policy.parsed.effect is Effect.FORBID:
        return _of_forbids(policy, other, scopes)
    if other.parsed.effect is Effect.PERMIT:
        return _of_permits(policy, other, scopes)
    if other.layer > policy.layer:
        # What a lower layer takes away, it takes away on purpose.
        return None
    return Kind.CONFLICT if _match_alike(policy, other, scopes) else Kind.SHADOWED


def _of_forbids(policy: EffectivePolicy, other: EffectivePolicy, scopes: Scopes) -> Kind | None:
    """Look for the same forbid; a narrower one may have a reason of its own to tell."""
    if other.parsed.effect is Effect.PERMIT or not _is_from_where(policy, other):
        return None
    # In another order, conditions could fail in other cases: and a forbid that fails denies.
    if policy.id < other.id or policy.parsed.conditions != other.parsed.conditions:
        return None
    return Kind.DUPLICATE if _match_alike(policy, other, scopes) else None


def _of_permits(policy: EffectivePolicy, other: EffectivePolicy, scopes: Scopes) -> Kind | None:
    if bool(policy.parsed.approval_groups) is not bool(other.parsed.approval_groups):
        return Kind.APPROVAL_NEVER_ASKED if policy.parsed.approval_groups else None
    if not _is_from_where(policy, other):
        return None
    (asks, obliges), (others_ask, others_oblige) = demands(policy.parsed), demands(other.parsed)
    if not (asks <= others_ask and obliges <= others_oblige):
        return None
    if (asks, obliges) == (others_ask, others_oblige) and _match_alike(policy, other, scopes):
        return Kind.DUPLICATE if other.id < policy.id else None
    return Kind.REDUNDANT


def _is_from_where(policy: EffectivePolicy, other: EffectivePolicy) -> bool:
    """Whether two are of one layer and place: to rely on what another layer has is no mistake."""
    return (policy.layer, policy.jurisdiction) == (other.layer, other.jurisdiction)


def _match_alike(policy: EffectivePolicy, other: EffectivePolicy, scopes: Scopes) -> bool:
    """Whether the other matches, also, only when the first does."""
    conjuncts = frozenset(policy.parsed.conditions.conjuncts)
    return conjuncts == frozenset(other.parsed.conditions.conjuncts) and scopes.is_wider(
        policy.parsed.scope, other.parsed.scope
    )
