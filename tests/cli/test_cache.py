"""`placet cache`: what it shows is what the server counted."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from placet import ChangeSet, Client, Policy
from tests.cli.shell import Shell, environment, running, serving

POLICY = Policy(id="p", cedar="permit (principal, action, resource) when { context.mfa };")

Ask = Callable[..., None]


def _publish(client: Client, tenant: str) -> None:
    client.publish(ChangeSet(policies=[POLICY]), tenant=tenant)


def _ask(client: Client, tenant: str, *traces: str) -> None:
    """Ask what differs in nothing that the policy reads."""
    for trace in traces:
        decision = client.evaluate(
            ("User", "a"),
            "view",
            ("Doc", "d"),
            {"mfa": True, "trace": trace},
            tenant=tenant,
            timeout_s=10,
        )
        assert decision.allowed


@pytest.fixture(name="address", scope="module")
def address_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server two tenants have asked, and nobody else does."""
    folder = tmp_path_factory.mktemp("cache")
    with serving(folder, "--store", "memory", "--node", "cached") as (address, _):
        with Client(address) as client:
            for tenant, traces in (("acme", ("one", "two", "two", "two")), ("beta", ("one",))):
                _publish(client, tenant)
                _ask(client, tenant, *traces)
        yield address


@pytest.fixture(name="at")
def at_fixture(address: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs commands that talk to that server."""
    monkeypatch.setenv("PLACET_ADDRESS", address)
    return shell


@pytest.fixture(name="ask")
def ask_fixture(server: str, tenant: str) -> Iterator[Ask]:
    """Asks the server of all tests, for a tenant of this one."""
    with Client(server) as client:
        _publish(client, tenant)
        yield lambda *traces: _ask(client, tenant, *traces)


def test_totals_and_tenants_are_shown(at: Shell) -> None:
    result = at("cache")

    assert (0, "") == (result.code, result.err)
    lines = [line.rstrip() for line in result.out.splitlines()]
    blank = lines.index("")
    overview = dict(re.split(r"  +", line, maxsplit=1) for line in lines[:blank])
    assert overview["node"].startswith("cached in local, since 20")
    assert ("5", "60.0%", "2") == tuple(overview[k] for k in ("requests", "hit ratio", "misses"))
    assert "3, of these 2 by the whole request" == overview["hits"]
    assert "0.00 MiB of 64.00 MiB (0.0%)" == overview["memory"]
    assert "3, kept for 300 s at most" == overview["entries"]
    assert [
        ["tenant", "requests", "hit ratio", "exact", "hits", "misses"],
        ["acme", "4", "75.0%", "2", "3", "1"],
        ["beta", "1", "0.0%", "0", "0", "1"],
    ] == [re.split(r"  +", line)[:6] for line in lines[blank + 1 :]]
    assert ["0.00 MiB", "2", "0"] == re.split(r"  +", lines[blank + 2])[6:]


def test_json_is_the_report_with_ratios(at: Shell) -> None:
    report = at("cache", "--json").json

    assert ("cached", "local", 300.0) == (report["node"], report["region"], report["ttl_s"])
    assert (64 * 1024**2, 2) == (report["max_bytes"], report["tenant_count"])
    assert report["start_time"].endswith("+00:00")
    assert ["acme", "beta"] == list(report["tenants"])
    acme, total = report["tenants"]["acme"], report["total"]
    assert total["bytes"] == acme.pop("bytes") + report["tenants"]["beta"]["bytes"]
    assert {
        "exact_hits": 2,
        "hits": 3,
        "misses": 1,
        "evictions": 0,
        "entries": 2,
        "hit_ratio": 0.75,
    } == acme
    assert (3, 2, 0.6) == (total["hits"], total["misses"], total["hit_ratio"])


def test_one_tenant_or_a_few_can_be_listed(at: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whose policies one works on is another matter.
    monkeypatch.setenv("PLACET_TENANT", "beta")

    everybody = at("cache", "--json").json
    beta = at("cache", "-t", "beta", "--json").json
    first = at("cache", "-n", "1").out

    assert ["acme", "beta"] == list(everybody["tenants"])
    assert (["beta"], everybody["total"]) == (list(beta["tenants"]), beta["total"])
    assert ("acme" in first, "beta" in first) == (True, False)
    assert "1 other tenant not listed" in first
    assert "not listed" not in at("cache").out


@pytest.mark.usefixtures("ask")
def test_a_tenant_nobody_asked_about_has_no_ratio(at_server: Shell, tenant: str) -> None:
    result = at_server("cache", "-t", tenant)

    assert 0 == result.code
    row = next(line for line in result.out.splitlines() if line.startswith(tenant))
    assert [tenant, "0", "-"] == row.split()[:3]


def test_a_tenant_that_is_not_there_is_told(at: Shell) -> None:
    result = at("cache", "-t", "nobody")

    assert (1, "") == (result.code, result.out)
    assert "error: tenant `nobody` is not known; publish its policies first\n" == result.err


def test_a_name_no_tenant_can_have_is_wrong_usage(at: Shell) -> None:
    result = at("cache", "-t", "a!")

    assert (2, "") == (result.code, result.out)
    assert "`a!`; use 1 to 64 letters" in result.err


def test_a_live_view_goes_on_until_it_is_interrupted(
    tmp_path: Path, server: str, tenant: str, ask: Ask
) -> None:
    arguments = ["cache", "-t", tenant, "--watch", "--interval", "0.1", "--address", server]
    with running(*arguments, cwd=tmp_path) as process:
        process.wait_for(f"{tenant}  {0:8}  {'-':>9}")
        ask("one", "two")
        process.wait_for(f"{tenant}  {2:8}  {'50.0%':>9}")
        result = process.end(signal.SIGINT)

    assert (0, "") == (result.code, result.err)


def test_a_live_view_for_programs_is_a_document_a_line(
    tmp_path: Path, server: str, tenant: str, ask: Ask
) -> None:
    watching = ["cache", "-t", tenant, "--watch", "--json", "--interval", "0.1"]
    with running(*watching, "--address", server, cwd=tmp_path) as process:
        before = json.loads(process.wait_for('"total"'))
        ask("one", "two")
        after = json.loads(process.wait_for(f'"{tenant}": {{"exact_hits": 0, "hits": 1'))
        result = process.end(signal.SIGINT)

    assert [0, 1] == [report["tenants"][tenant]["hits"] for report in (before, after)]
    assert (0, "") == (result.code, result.err)
    assert len(result.lines) >= 2


def test_a_terminal_gets_one_view_that_changes(tmp_path: Path, server: str) -> None:
    arguments = ["cache", "--watch", "--interval", "0.1", "--address", server]
    forced = environment(FORCE_COLOR="1", TERM="xterm")
    with running(*arguments, cwd=tmp_path, env=forced) as process:
        # The cursor goes up again, and the view is written over.
        process.wait_for("\x1b[1A")
        result = process.end(signal.SIGINT)

    assert (0, "") == (result.code, result.err)
    assert "\x1b[?25h" in result.out, "the cursor is hidden"


def test_a_live_view_of_a_server_that_goes_ends_without_an_answer(tmp_path: Path) -> None:
    with serving(tmp_path, "--store", "memory") as (address, server):
        arguments = ["cache", "--watch", "--interval", "0.1", "--address", address]
        with running(*arguments, cwd=tmp_path) as process:
            process.wait_for("hit ratio")
            server.end()
            result = process.end(None)

    assert 5 == result.code
    assert f"no server answers at `{address}`" in result.err
