"""Finds the policies that could be about a request, without looking at the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from placet_engine.model import EntityUid
from placet_engine.precedence import EffectivePolicy
from placet_engine.scopes import Key

Bucket: TypeAlias = tuple[EffectivePolicy, ...]
"""Policies of one scope. Never changed, so that its identity stands for what is in it."""

_Path: TypeAlias = "tuple[Key, Key, Key]"
_Resources: TypeAlias = "dict[Key, Bucket]"
_Actions: TypeAlias = "dict[Key, _Resources]"
Tree: TypeAlias = "dict[Key, _Actions]"


class PolicyIndex:
    """Policies by the keys of their scopes: principal, then action, then resource. Immutable."""

    def __init__(self, policies: Iterable[EffectivePolicy] = ()) -> None:
        self.tree: Tree = {}
        """To look at only."""
        """To look at only."""
        self._insert(_by_path(policies), own={})

    def changing(
        self, removed: Iterable[EffectivePolicy], added: Iterable[EffectivePolicy]
    ) -> PolicyIndex:
        """Return the index without some policies and with others. It shares what stays."""
        gone, come = _by_path(removed), _by_path(added)
        if not gone and not come:
            return self
        changed = PolicyIndex()
        changed.tree = dict(self.tree)
        own: Tree = {}
        changed._remove(gone, own=own)
        changed._insert(come, own=own)
        return changed

    def select(
        self, principals: Sequence[Key], actions: Sequence[Key], resources: Sequence[Key]
    ) -> list[Bucket]:
        """Return the buckets a request with these keys falls into, in order of the keys."""
        found = []
        for principal in principals:
            by_action = self.tree.get(principal)
            if by_action is None:
                continue
            for action in actions:
                by_resource = by_action.get(action)
                if by_resource is None:
                    continue
                for resource in resources:
                    bucket = by_resource.get(resource)
                    if bucket is not None:
                        found.append(bucket)
        return found

    def within(self, principal: Key, action: Key, resource: Key) -> Iterator[Bucket]:
        """Go through buckets: all whose scopes these keys are at least as wide as, and others."""
        for by_action in _under(self.tree, principal):
            for by_resource in _under(by_action, action):
                yield from _under(by_resource, resource)

    def __iter__(self) -> Iterator[EffectivePolicy]:
        """Go through the policies, each once, in no particular order."""
        seen: set[int] = set()
        for by_action in self.tree.values():
            for by_resource in by_action.values():
                for bucket in by_resource.values():
                    for policy in bucket:
                        if id(policy) not in seen:
                            seen.add(id(policy))
                            yield policy

    def _insert(self, added: Mapping[_Path, Sequence[EffectivePolicy]], *, own: Tree) -> None:
        for (principal, action, resource), policies in added.items():
            by_resource = self._owned(principal, own).setdefault(action, {})
            by_resource[resource] = (*by_resource.get(resource, ()), *policies)

    def _remove(self, removed: Mapping[_Path, Sequence[EffectivePolicy]], *, own: Tree) -> None:
        for (principal, action, resource), policies in removed.items():
            gone = {id(policy) for policy in policies}
            by_action = self._owned(principal, own)
            by_resource = by_action[action]
            left = tuple(policy for policy in by_resource[resource] if id(policy) not in gone)
            if left:
                by_resource[resource] = left
                continue
            del by_resource[resource]
            if not by_resource:
                del by_action[action]
            if not by_action:
                del self.tree[principal], own[principal]

    def _owned(self, principal: Key, own: Tree) -> _Actions:
        """Return what is under a principal, free to be changed: others may share what was there."""
        by_action = own.get(principal)
        if by_action is None:
            shared = self.tree.get(principal, {})
            by_action = {action: dict(resources) for action, resources in shared.items()}
            self.tree[principal] = own[principal] = by_action
        return by_action


_Below = TypeVar("_Below")


def _under(level: Mapping[Key, _Below], key: Key) -> Iterable[_Below]:
    """Return what is in one level of the tree under keys that may be as narrow as one key."""
    if isinstance(key, EntityUid):
        return [level[key]] if key in level else []
    return level.values()


def _by_path(policies: Iterable[EffectivePolicy]) -> Mapping[_Path, list[EffectivePolicy]]:
    paths: defaultdict[_Path, list[EffectivePolicy]] = defaultdict(list)
    for policy in policies:
        scope = policy.parsed.scope
        for action in scope.actions:
            paths[scope.principal, action, scope.resource].append(policy)
    return paths
