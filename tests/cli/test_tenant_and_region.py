"""`placet tenant` and `placet region`: where tenants may be, and where their callers go."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from placet import ChangeSet, Client, Entity, EntityRef, Policy
from tests.cli.shell import Shell, serving

ALLOW = Policy(id="p", cedar="permit (principal, action, resource);")


@pytest.fixture(name="address", scope="module")
def address_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in Ireland."""
    folder = tmp_path_factory.mktemp("regions")
    with serving(folder, "--store", "memory", "--region", "eu-west") as (address, _):
        yield address


@pytest.fixture(name="at")
def at_fixture(address: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs commands that talk to that server."""
    monkeypatch.setenv("PLACET_ADDRESS", address)
    return shell


def _rows(text: str) -> list[list[str]]:
    """Return the cells of a table."""
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


# ----------------------------------------------------------------------------------- tenants


def test_a_tenant_is_placed_and_shown(at: Shell, tenant: str) -> None:
    put = at("tenant", "put", tenant, "--rule", "eu-only", "--home", "eu-west")
    again = at(
        *["tenant", "put", tenant, "--rule", "NO_US", "--affinity", "eu-central"],
        *["--affinity", "eu-west", "--json"],
    )
    got = at("tenant", "get", tenant)

    assert (0, "") == (put.code, put.err)
    shown = dict(row for row in _rows(put.out) if len(row) == 2)
    assert ("EU_ONLY", "eu-west", "-") == (shown["rule"], shown["home"], shown["affinity"])
    document = json.loads(again.out)
    assert ("NO_US", "", ["eu-central", "eu-west"]) == (
        document["residency"],
        document["home_region"],
        document["affinity_regions"],
    )
    assert f"etag      {document['etag']}" in got.out


def test_tenants_are_listed_placed_or_not(at: Shell, address: str, tenant: str) -> None:
    with Client(address, tenant=f"{tenant}-never") as client:
        client.publish(ChangeSet(policies=[ALLOW]))
    at("tenant", "put", tenant, "--rule", "EU_ONLY", "--affinity", "eu-central")
    listed = at("tenant", "list")
    first = at("tenant", "list", "--limit", "1")
    documents = json.loads(at("tenant", "list", "--json").out)

    by_name = {row[0]: row[1:] for row in _rows(listed.out)}
    assert ["EU_ONLY", "-", "eu-central"] == by_name[tenant][:3]
    assert ["ANY", "-", "-", "never"] == by_name[f"{tenant}-never"]
    assert 2 == len(first.out.splitlines())
    assert "--limit 10 shows more" in first.err
    assert {tenant, f"{tenant}-never"} <= {document["tenant"] for document in documents}


def test_an_etag_is_compared(at: Shell, tenant: str) -> None:
    new = at("tenant", "put", tenant, "--rule", "EU_ONLY", "--etag", "", "--json")
    lost = at("tenant", "put", tenant, "--rule", "ANY", "--etag", "")
    etag = json.loads(new.out)["etag"]
    kept = at("tenant", "put", tenant, "--rule", "ANY", "--etag", etag)

    assert (0, 1, 0) == (new.code, lost.code, kept.code)
    assert (
        "is not placed as it was when it was read; read it and try again: `placet tenant get "
        in (lost.err)
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rule", "EU_ONYL"], 2, "`--rule` is `EU_ONYL`, which is none; did you mean `EU_ONLY`"),
        (["--rule", "EU_ONLY", "--home", "us-east"], 1, "does not allow `us-east`; name one of"),
        (["--rule", "EU_ONLY", "--affinity", "mars"], 1, "there is no region `mars`; there are"),
        ([], 2, "--rule"),
    ],
)
def test_a_bad_placement_is_told(
    at: Shell, tenant: str, arguments: list[str], code: int, said: str
) -> None:
    result = at("tenant", "put", tenant, *arguments)

    assert code == result.code
    assert said in result.err
    assert at("tenant", "get", tenant).code == 1, "nothing was placed"


def test_a_tenant_is_moved_out_and_then_forbidden(
    at: Shell, address: str, tenant: str, tmp_path: Path
) -> None:
    with Client(address, tenant=tenant) as client:
        client.publish(ChangeSet(policies=[ALLOW], entities=[Entity(EntityRef("User", "ann"))]))
    held = at("tenant", "put", tenant, "--rule", "US_ONLY")
    nobody = at("tenant", "clear", tenant)
    exported = at("bundle", "export", "-t", tenant, "-o", tmp_path / "it.bundle")
    cleared = at("tenant", "clear", tenant, "--yes")
    again = at("tenant", "clear", tenant, "--yes", "--json")
    placed = at("tenant", "put", tenant, "--rule", "US_ONLY")
    refused = at("policy", "list", "-t", tenant)

    assert (1, 2) == (held.code, nobody.code)
    assert "`placet tenant clear`" in held.err
    assert "there is nobody to ask" in nobody.err
    assert (0, 0, 0) == (exported.code, cleared.code, placed.code), cleared.err
    assert f"2 items of {tenant} deleted at revision" in cleared.out
    assert 0 == json.loads(again.out)["deleted"]
    assert 1 == refused.code
    assert "may not be in region `eu-west`" in refused.err
    assert "go to `us-east`, `us-west`" in refused.err


# ----------------------------------------------------------------------------------- regions


def test_regions_are_listed(at: Shell) -> None:
    rows = _rows(at("region", "list").out)
    documents = json.loads(at("region", "list", "--json").out)

    assert ["eu-west", "Ireland", "EU", "GDPR", "53.35, -6.26", "1 of 1 serve"] in rows
    assert ["us-east", "Virginia", "US", "CCPA", "39.04, -77.49", "no nodes"] in rows
    assert {"serving": 1, "draining": 0, "not_serving": 0, "lost": 0} == documents[3]["nodes"]
    assert [row[0] for row in rows[1:]] == [document["name"] for document in documents]
    assert {"latitude": 53.35, "longitude": -6.26} == documents[3]["location"]


def test_a_route_says_where_and_why(at: Shell, tenant: str) -> None:
    at("tenant", "put", tenant, "--rule", "NO_US", "--home", "eu-west", "--affinity", "eu-central")
    by_country = at("region", "route", "-t", tenant, "--country", "AU")
    by_place = at("region", "route", "-t", tenant, "--at=-33.9,151.2", "--json")
    by_region = at("region", "route", "-t", tenant, "--from-region", "us-east", "--json")
    nowhere = at("region", "route", "-t", tenant, "--json")

    assert f"{tenant} is under NO_US" == by_country.out.splitlines()[0]
    rows = _rows(by_country.out)[2:]
    assert [
        ["eu-central", "EU", "affinity"],
        ["apac-southeast", "APAC", "nearest"],
        ["apac-northeast", "APAC", "fallback"],
        ["eu-west", "EU", "fallback"],
    ] == [row[:3] for row in rows]
    assert rows[1][3] == "6,307 km"

    def order(text: str) -> list[str]:
        return [one["region"] for one in json.loads(text)["regions"]]

    assert order(by_place.out) == [row[0] for row in rows]
    assert ["eu-central", "eu-west", "apac-northeast", "apac-southeast"] == order(by_region.out)
    assert ["eu-central", "eu-west"] == order(nowhere.out)[:2]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--country", "UK"], 2, "did you mean `GB`"),
        (["--at", "north"], 2, "`--at` is `north`; write latitude and longitude"),
        (["--at", "91,0"], 2, "`latitude` is 91; use degrees from -90 to 90"),
        (["--from-region", "mars"], 1, "there is no region `mars`; there are"),
        (["--country", "IE", "--from-region", "eu-west"], 2, "exclude each other"),
    ],
)
def test_a_place_that_is_none_is_told(
    at: Shell, tenant: str, arguments: list[str], code: int, said: str
) -> None:
    at("tenant", "put", tenant, "--rule", "ANY")
    result = at("region", "route", "-t", tenant, *arguments)

    assert code == result.code
    assert said in result.err


def test_who_is_not_known_has_no_route(at: Shell, tenant: str) -> None:
    result = at("region", "route", "-t", tenant)

    assert 1 == result.code
    assert f"tenant `{tenant}` is not known" in result.err


def test_a_tenant_under_a_rule_is_watched_from_where_it_may_be(
    at: Shell, address: str, tenant: str
) -> None:
    with Client(address, tenant=tenant) as client:
        client.publish(ChangeSet(policies=[ALLOW]))
    at("tenant", "put", tenant, "--rule", "EU_ONLY")
    nowhere = at("watch", "-t", tenant)
    elsewhere = at("watch", "-t", tenant, "--region", "us-east")

    assert (1, 1) == (nowhere.code, elsewhere.code)
    assert "say your region" in nowhere.err
    assert "may not go to region `us-east`" in elsewhere.err
