"""What resources are called: by names alone it is clear whose callers they are for.

A target `xds:///acme.tenant.placet` is the listener of that name, which leads by a route of the
same name to two clusters: of all nodes, and of those that take changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from placet_engine.placement.residency import ResidencyRule

DEFAULT: Final = "placet"
"""The target of callers who are, by their bootstrap, of a tenant or under a rule."""

_TENANT_SUFFIX = ".tenant.placet"
_RULE_SUFFIX = ".residency.placet"
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose callers something is for. At most one of the two; none: whoever the client is."""

    tenant: str = ""
    rule: ResidencyRule | None = None

    @property
    def name(self) -> str:
        """Its target, listener and routes."""
        if self.tenant:
            return f"{self.tenant}{_TENANT_SUFFIX}"
        return f"{self.rule.name}{_RULE_SUFFIX}" if self.rule is not None else DEFAULT


class Part(Enum):
    """Which nodes a cluster has."""

    NODES = "nodes"
    """All that decide."""
    CONTROL = "control"
    """Those that take changes."""


def scope_of(name: str) -> Scope | None:
    """Return whose listener or routes are called so; None: nobody's."""
    if name == DEFAULT:
        return Scope()
    if name.endswith(_RULE_SUFFIX):
        rule = name.removesuffix(_RULE_SUFFIX)
        return Scope(rule=ResidencyRule[rule]) if rule in ResidencyRule.__members__ else None
    tenant = name.removesuffix(_TENANT_SUFFIX)
    return Scope(tenant=tenant) if tenant != name and _TENANT.fullmatch(tenant) else None


def cluster_name(scope: Scope, part: Part) -> str:
    """Return what a cluster is called."""
    return f"{scope.name}/{part.value}"


def scope_of_cluster(name: str) -> Scope | None:
    """Return whose cluster is called so; None: nobody's."""
    scope, _, part = name.rpartition("/")
    return scope_of(scope) if part in {one.value for one in Part} else None
