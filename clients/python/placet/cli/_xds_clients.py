"""``placet xds clients``: who balances by what a node tells them, and whether they took it over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from placet import XdsClient, XdsLibrary
from placet.cli import terminal
from placet.cli.amounts import duration_text
from placet.cli.as_json import to_json
from placet.cli.live import Interval, Watch, asked_again, show, show_on
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Json,
    Timeout,
    connected,
)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The clients at one moment."""

    clients: tuple[XdsClient, ...]
    time: datetime


def clients(
    watch: Watch = False,
    interval_s: Interval = 2.0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List the stock clients of gRPC, and the Envoys, that are connected to a node by xDS: what
    they ask for, and whether they took over what they were sent.

    A client that refuses something goes on with what it had; the reason is its own. Each node knows
    its own clients: ask every one that is named in bootstraps.
    """
    with connected(address, timeout_s=timeout_s) as client:

        def ask() -> _Listed:
            return _Listed(tuple(client.xds_clients()), datetime.now(UTC))

        if not watch:
            show(ask(), view=_view, document=_document, as_json=as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):
            listed = asked_again(ask, interval_s)
            show_on(listed, view=_view, document=_document, as_json=as_json)


def _document(listed: _Listed) -> Mapping[str, Any]:
    return {
        "time": to_json(listed.time),
        "clients": [_client_document(client) for client in listed.clients],
    }


def _client_document(client: XdsClient) -> dict[str, Any]:
    document: dict[str, Any] = {**to_json(client), "targets": list(client.targets)}
    for one, subscription in zip(document["subscriptions"], client.subscriptions, strict=True):
        one["is_current"] = subscription.is_current
    return document


# ---------------------------------------------------------------------------- for people


def _view(listed: _Listed) -> RenderableType:
    if not listed.clients:
        return Text("no xDS clients are connected to this node", "yellow")
    table = terminal.table("client", "library", "region", "target", "for", "since", "state")
    for client in listed.clients:
        table.add_row(
            terminal.safe(client.id),
            _library(client),
            terminal.safe(client.region),
            terminal.safe(", ".join(client.targets)),
            terminal.safe(_whose(client)),
            duration_text(max(listed.time - client.connect_time, timedelta())),
            _state(client),
        )
    return Group(table, *_refusals(listed))


_LIBRARIES: Mapping[XdsLibrary, str] = {
    XdsLibrary.C_CORE: "C-core",
    XdsLibrary.GO: "Go",
    XdsLibrary.JAVA: "Java",
    XdsLibrary.NODE: "Node",
    XdsLibrary.ENVOY: "Envoy",
}


def _library(client: XdsClient) -> str:
    name = _LIBRARIES.get(client.library, client.user_agent)
    version = client.version.removeprefix(name).strip()
    return terminal.safe(f"{name} {version}".strip())


def _whose(client: XdsClient) -> str:
    rule = client.residency.name if client.residency is not None else ""
    return ", ".join(filter(None, (client.tenant, rule))) or "everybody"


def _state(client: XdsClient) -> Text:
    if any(one.refusal is not None for one in client.subscriptions):
        return Text("refuses", "bold red")
    if all(one.is_current for one in client.subscriptions):
        return Text("up to date", "green")
    return Text("catching up", "yellow")


def _refusals(listed: _Listed) -> Iterator[Text]:
    for client in listed.clients:
        for one in client.subscriptions:
            if one.refusal is not None:
                ago = duration_text(max(listed.time - one.refusal.time, timedelta()))
                yield Text(
                    f"{terminal.safe(client.id)} refuses {one.type.name.lower()} "
                    f"{one.refusal.version}, {ago} ago: {terminal.safe(one.refusal.message)}",
                    "red",
                )
