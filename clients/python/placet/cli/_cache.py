"""``placet cache``: how a server's decision cache does."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from placet import CacheReport, CacheStatistics
from placet.cli import terminal
from placet.cli.as_json import to_json
from placet.cli.live import Interval, Watch, asked_again, show, show_on
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
    watch: Watch = False,
    interval_s: Interval = 2.0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show how the decision cache of a server does: in all, and the tenants with the most in it.

    Counts are since the server started. With --json and --watch, one document a line.
    """
    with connected(address, timeout_s=timeout_s) as client:
        ask = partial(client.cache_statistics, tenant=tenant, max_tenants=limit)
        if not watch:
            show(ask(), view=_view, document=_document, as_json=as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):
            reports = asked_again(ask, interval_s)
            show_on(reports, view=_view, document=_document, as_json=as_json)


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
