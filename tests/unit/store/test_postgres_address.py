"""What a URL says, what is shown of it, and what the driver's errors come to."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from placet_server.store.postgres.address import Address, AddressRefused, Host
from placet_server.store.postgres.troubles import diagnose


@pytest.mark.parametrize(
    ("url", "hosts", "shown"),
    [
        ("postgresql://u@h/d", [("h", None)], "postgresql://u@h/d"),
        ("postgres://u:p@h:1,i:2/d", [("h", 1), ("i", 2)], "postgres://u@h:1,i:2/d"),
        ("postgresql://u:p@[::1]:5,[::2]/d", [("::1", 5), ("::2", None)], None),
        ("postgresql:///d?host=/run/pg&password=p", [("/run/pg", None)], None),
        ("postgresql:///d?host=h:1,i:2", [("h", 1), ("i", 2)], None),
        ("postgresql://u:a@b%3A@h/d?sslmode=require", [("h", None)], "postgresql://u@h/d"),
        ("postgresql:///d", [], "postgresql:///d"),
    ],
)
def test_hosts_are_read_and_secrets_are_not_shown(
    url: str, hosts: list[tuple[str, int | None]], shown: str | None
) -> None:
    address = Address.parse(url)

    assert address.hosts == tuple(Host(*host) for host in hosts)
    assert shown is None or address.shown == shown
    assert "p@" not in address.shown
    assert "password" not in address.shown + repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "placet.db",
        "mysql://u:geheim@h/d",
        "postgresql://u:geheim@h:x/d",
        "postgresql://u:geheim@h/d?x",
        "postgresql://u:geheim@h/d?synchronous_commit=off",
    ],
)
def test_what_is_no_url_of_a_database_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as raised:
        Address.parse(url)

    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("40001", "passing"),
        ("40P01", "passing"),
        ("55P03", "passing"),
        ("25006", "passing"),
        ("08006", "lost"),
        ("57P01", "lost"),
        ("57014", "unavailable"),
        ("53100", "unavailable"),
        ("42501", "unavailable"),
        ("28P01", "unavailable"),
        ("42P01", "damage"),
        ("23505", "damage"),
        ("XX001", "damage"),
        ("22012", None),
    ],
)
def test_each_state_is_understood(state: str, kind: str | None) -> None:
    reason = asyncpg.PostgresError.new({"C": state, "M": "what was wrong", "S": "ERROR"})
    trouble = diagnose(DBAPIError("SELECT", {}, reason))

    found = trouble and (
        "passing"
        if trouble.is_passing
        else "lost"
        if trouble.is_lost
        else "damage"
        if trouble.is_damage
        else "unavailable"
    )
    assert found == kind
    assert trouble is None or trouble.text.startswith("what was wrong; ")


def test_our_own_mistakes_are_no_trouble() -> None:
    assert diagnose(ValueError("no")) is None
