"""``placet node``: who the nodes are, and what operators set of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from placet import Client, Node, TopologyKind, TopologyState
from placet.cli import fleet, terminal
from placet.cli.amounts import moment_text
from placet.cli.as_json import to_json
from placet.cli.completing import node_ids, region_names
from placet.cli.live import Watch, show
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Actor,
    Address,
    Json,
    Timeout,
    connected,
)

_Regions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        help="Only nodes of this region. Repeatable.",
        metavar="REGION",
        autocompletion=region_names,
    ),
]
_NodeId: TypeAlias = Annotated[
    str,
    typer.Argument(help="The node, by its id.", metavar="ID", autocompletion=node_ids),
]

# ---------------------------------------------------------------------------------- list


@dataclass(frozen=True, slots=True)
class _Listed:
    """The nodes at one moment."""

    nodes: tuple[Node, ...]
    time: datetime


def list_(
    regions: _Regions = None,
    watch: Watch = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List the nodes, how they fare, and whether calls are sent to them; those lost in the last day
    as well.

    A node is lost when it let its lease lapse, and not serving when it says so or does not answer
    when it is asked. With --watch the view is live; without a terminal it is a line for each change
    of a node's state, and with --json one document a line.
    """
    with connected(address, timeout_s=timeout_s) as client:
        if not watch:
            nodes = tuple(client.nodes(regions=regions or ()))
            listed = _Listed(nodes, datetime.now(UTC))
            show(listed, view=_view, document=_document, as_json=as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):
            _watch(client, frozenset(regions or ()), as_json=as_json)


def _watch(client: Client, regions: frozenset[str], *, as_json: bool) -> None:
    with closing(client.watch_topology(kinds=[TopologyKind.NODE])) as states:
        listed = (_of_state(state, regions) for state in states)
        if as_json:
            for each in listed:
                terminal.print_json(_document(each))
        elif terminal.out().is_terminal:
            _draw(listed)
        else:
            for line in _news(listed):
                terminal.line(line)


def _of_state(state: TopologyState, regions: frozenset[str]) -> _Listed:
    wanted = (node for node in state.nodes.values() if not regions or node.region in regions)
    return _Listed(tuple(sorted(wanted, key=lambda n: (n.region, n.id))), state.server_time)


def _draw(listed: Iterator[_Listed]) -> None:
    with Live(console=terminal.out(), auto_refresh=False) as live:
        for each in listed:
            live.update(_view(each), refresh=True)


def _news(listed: Iterator[_Listed]) -> Iterator[Text]:
    """Yield a line for each node at first, and then for each that is not as it was."""
    known: dict[str, str] = {}
    for each in listed:
        now = {node.id: fleet.state_text(node).plain for node in each.nodes}
        gone = {id_: "gone" for id_ in known if id_ not in now}
        regions = {node.id: node.region for node in each.nodes}
        for id_, state in {**now, **gone}.items():
            former = known.get(id_)
            if state != former:
                where = f" ({terminal.safe(regions[id_])})" if id_ in regions else ""
                what = f"{former} → {state}" if former else state
                yield Text(f"{moment_text(each.time)}  {terminal.safe(id_)}{where}: {what}")
        known = now


def _view(listed: _Listed) -> RenderableType:
    if not listed.nodes:
        return Text("no nodes", "yellow")
    counts = fleet.tallies(listed.nodes).values()
    head = Text(f"{sum(c.serving for c in counts)} of {len(listed.nodes)} nodes serve", "dim")
    return Group(head, fleet.nodes_table(listed.nodes, listed.time))


def _document(listed: _Listed) -> Mapping[str, Any]:
    return {"time": to_json(listed.time), "nodes": [_node_document(n) for n in listed.nodes]}


def _node_document(node: Node) -> dict[str, Any]:
    return {**to_json(node), "takes_calls": node.takes_calls}


# ------------------------------------------------------------------------------ settings


def drain(
    node: _NodeId,
    actor: Actor = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Send callers elsewhere: routes leave the node out, and its health says it does not serve.

    It goes on answering those who come all the same, and holds until `placet node undrain`, also
    when the node is started anew.
    """
    changed = _update(node, actor, address, timeout_s, draining=True)
    _tell(changed, "drains: callers are sent elsewhere", as_json=as_json)


def undrain(
    node: _NodeId,
    actor: Actor = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Have calls sent to a node again that was drained."""
    changed = _update(node, actor, address, timeout_s, draining=False)
    what = "is on its way out by itself" if changed.draining else "gets calls again"
    _tell(changed, what, as_json=as_json)


def weight(
    node: _NodeId,
    share: Annotated[
        int,
        typer.Argument(
            min=1, max=1000, help="Relative to other nodes of its region.", metavar="WEIGHT"
        ),
    ],
    actor: Actor = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Set how many of its region's calls a node gets. It counts more than what the node says."""
    changed = _update(node, actor, address, timeout_s, weight=share)
    _tell(changed, f"has weight {changed.weight}", as_json=as_json)


def _update(id_: str, actor: str, address: str, timeout_s: float, **settings: Any) -> Node:
    with connected(address, timeout_s=timeout_s, actor=actor) as client:
        return client.update_node(id_, **settings)


def _tell(node: Node, what: str, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(_node_document(node))
    else:
        terminal.line(f"{node.id} in {node.region} {what}")
