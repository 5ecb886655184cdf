"""Names of resources lead back to whom they are for, and nothing else does."""

from __future__ import annotations

import pytest

from placet_engine.placement.residency import ResidencyRule
from placet_server.xds.names import DEFAULT, Part, Scope, cluster_name, scope_of, scope_of_cluster

_SCOPES = [
    Scope(),
    Scope(tenant="acme"),
    Scope(tenant="a.b-c_D.9"),
    *(Scope(rule=rule) for rule in ResidencyRule),
]


@pytest.mark.parametrize("scope", _SCOPES)
def test_a_name_leads_back(scope: Scope) -> None:
    assert scope == scope_of(scope.name)
    for part in Part:
        assert scope == scope_of_cluster(cluster_name(scope, part))


def test_what_targets_are_called() -> None:
    assert "placet" == DEFAULT == Scope().name
    assert "acme.tenant.placet" == Scope(tenant="acme").name
    assert "EU_ONLY.residency.placet" == Scope(rule=ResidencyRule.EU_ONLY).name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "other",
        ".tenant.placet",
        "tenant.placet",
        "-a.tenant.placet",
        "a b.tenant.placet",
        f"{'a' * 65}.tenant.placet",
        "EU.residency.placet",
        ".residency.placet",
        "placet/nodes",
        "placet.",
    ],
)
def test_other_names_are_nobodys(name: str) -> None:
    assert scope_of(name) is None


@pytest.mark.parametrize("name", ["placet", "placet/", "placet/other", "/nodes", "other/nodes"])
def test_other_names_are_nobodys_cluster(name: str) -> None:
    assert scope_of_cluster(name) is None
