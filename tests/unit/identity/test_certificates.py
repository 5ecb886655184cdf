"""Whom certificates name."""

from __future__ import annotations

import pytest

from placet_server.identity.certificates import principal_of
from placet_server.identity.refusals import CredentialsRefused
from tests.identities import authority, issued


@pytest.mark.parametrize(
    ("common", "names", "name"),
    [
        ("ann", [], "ann"),
        ("ann", ["ann.example.test"], "ann.example.test"),
        ("ann", ["ann.example.test", "spiffe://example.test/ann"], "spiffe://example.test/ann"),
        ("ann", ["https://example.test/ann"], "ann"),
        ("ann", ["127.0.0.1"], "ann"),
        ("", [], ""),
    ],
)
def test_the_best_name_counts(common: str, names: list[str], name: str) -> None:
    principal = principal_of(issued(authority(), common, *names).certificate)
    assert principal.name == name


@pytest.mark.parametrize(
    "names",
    [
        ["spiffe://example.test/a", "spiffe://example.test/b"],
        ["spiffe://example.test/a", "https://example.test"],
    ],
)
def test_several_identities_are_none(names: list[str]) -> None:
    with pytest.raises(CredentialsRefused):
        principal_of(issued(authority(), "ann", *names).certificate)


def test_what_is_no_certificate_names_nobody() -> None:
    with pytest.raises(CredentialsRefused):
        principal_of(b"-----BEGIN CERTIFICATE-----")
