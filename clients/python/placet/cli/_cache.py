"""``placet cache``: how a server's decision cache does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from placet import CacheReport, CacheStatistics, Client
from placet.cli import terminal
from placet.cli.as_json import to_json
from placet.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    Address,
    Json,
    Timeout,
    connected,
)

# Not from the environment: whose policies one works on says nothing about which part of a
# server's cache one wants to see.
_Tenant = Annotated[
    str, typer.Option("--tenant", "-t", help="List only this tenant.", metavar="NAME")
]


def cache(
    tenant: _Tenant = "",
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=0, max=1000, help="How many tenants to list.", metavar="N"
        ),
    ] = 20,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it, until Ctrl-C.")
    ] = False,
    interval_s: Annotated[
        float,
        typer.Option(
            "--interval", min=0.1, help="With --watch: how often, in seconds.", metavar="S"
        ),
    ] = 2.0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show how the decision cache of a server does: in all, and the tenants with the most in it.

    Counts are since the server started. With --json and --watch, one document a line.
    """
    with connected(address, timeout_s=timeout_s) as client:
        if not watch:
            _print(_report(client, tenant, limit), as_json=as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):
            _watch(_reports(client, tenant, limit, interval_s), as_json=as_json)


def _report(client: Client, tenant: str, limit: int) -> CacheReport:
    return client.cache_statistics(tenant=tenant, max_tenants=limit)


def _reports(client: Client, tenant: str, limit: int, interval_s: float) -> Iterator[CacheReport]:
    while True:
        yield _report(client, tenant, limit)
        time.sleep(interval_s)


def _watch(reports: Iterator[CacheReport], *, as_json: bool) -> None:
    console = terminal.out()
    if as_json or not console.is_terminal:
        for report in reports:
            _print(report, as_json=as_json)
        return
    with Live(console=console, auto_refresh=False) as live:
        for report in reports:
            live.update(_view(report), refresh=True)


def _print(report: CacheReport, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(_document(report))
    else:
        terminal.out().print(_view(report))


def _document(report: CacheReport) -> dict[str, Any]:
    """Return a report for programs, with the ratios that are worked out of it."""
    document: dict[str, Any] = to_json(report)
    document["total"]["hit_ratio"] = report.total.hit_ratio
    for tenant, statistics in report.tenants.items():
        document["tenants"][tenant]["hit_ratio"] = statistics.hit_ratio
    return document


# ---------------------------------------------------------------------------- for people


def _view(report: CacheReport) -> RenderableType:
    parts: list[RenderableType] = [_overview(report)]
    if report.tenants:
        parts += [Text(), _tenants(report)]
    unlisted = report.tenant_count - len(report.tenants)
    if unlisted > 0:
        others = terminal.counted(unlisted, "other tenant", "other tenants")
        parts.append(Text(f"{others} not listed", "dim"))
    return Group(*parts)


def _overview(report: CacheReport) -> Table:
    total = report.total
    since = report.start_time.astimezone().isoformat(sep=" ", timespec="seconds")
    return terminal.pairs(
        [
            ("node", f"{report.node} in {report.region}, since {since}"),
            ("requests", f"{total.requests:,}"),
            ("hit ratio", Text(_ratio(total), "bold")),
            ("hits", f"{total.hits:,}, of these {total.exact_hits:,} by the whole request"),
            ("misses", f"{total.misses:,}"),
            ("memory", _memory(report)),
            ("entries", f"{total.entries:,}, kept for {report.ttl.total_seconds():g} s at most"),
            ("evictions", f"{total.evictions:,} for want of room"),
        ]
    )


def _tenants(report: CacheReport) -> Table:
    numbers = ("requests", "hit ratio", "exact", "hits", "misses", "memory", "entries", "evictions")
    table = terminal.table("tenant", *numbers)
    for column in table.columns[1:]:
        column.justify = "right"
    for tenant, statistics in report.tenants.items():
        table.add_row(
            terminal.safe(tenant),
            f"{statistics.requests:,}",
            _ratio(statistics),
            f"{statistics.exact_hits:,}",
            f"{statistics.hits:,}",
            f"{statistics.misses:,}",
            _mebibytes(statistics.bytes),
            f"{statistics.entries:,}",
            f"{statistics.evictions:,}",
        )
    return table


def _ratio(statistics: CacheStatistics) -> str:
    """Write a hit ratio; there is none without requests."""
    return f"{statistics.hit_ratio:.1%}" if statistics.requests else "-"


def _memory(report: CacheReport) -> str:
    used, most = report.total.bytes, report.max_bytes
    share = f" ({used / most:.1%})" if most else ""
    return f"{_mebibytes(used)} of {_mebibytes(most)}{share}"


def _mebibytes(bytes_: int) -> str:
    return f"{bytes_ / 1024**2:,.2f} MiB"
