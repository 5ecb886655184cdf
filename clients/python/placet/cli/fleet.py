"""Nodes in words: what is the matter with each, and how regions fare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from rich.table import Table
from rich.text import Text

from placet import Node, NodeHealth
from placet.cli import terminal
from placet.cli.amounts import duration_text


class NodeState(Enum):
    """What is the matter with a node, in one word."""

    SERVING = "serving"
    DRAINING = "draining"
    NOT_SERVING = "not serving"
    LOST = "lost"


STYLES: Mapping[NodeState, str] = {
    NodeState.SERVING: "green",
    NodeState.DRAINING: "yellow",
    NodeState.NOT_SERVING: "bold red",
    NodeState.LOST: "red",
}


def state_of(node: Node) -> NodeState:
    """Return what is the matter with a node."""
    if node.health is NodeHealth.LOST:
        return NodeState.LOST
    if node.draining:
        return NodeState.DRAINING
    return NodeState.SERVING if node.health is NodeHealth.SERVING else NodeState.NOT_SERVING


def state_text(node: Node, now: datetime | None = None) -> Text:
    """Return the same with the reason; with the time, also for how long it has been lost."""
    state = state_of(node)
    text = Text(state.value, STYLES[state])
    if state is NodeState.LOST and now is not None:
        text.append(f" for {duration_text(max(now - node.lease_expire_time, timedelta()))}")
    # That it was silent for too long is what `lost` means.
    reason = node.health_reason if state is NodeState.NOT_SERVING else ""
    if state is NodeState.SERVING and not node.address:
        reason = "no address to send callers to"
    return text.append(f": {terminal.safe(reason)}", "default") if reason else text


@dataclass(frozen=True, slots=True)
class Tally:
    """What is the matter with the nodes of one region."""

    counts: Mapping[NodeState, int]
    """How many are what."""
    utilization: float = 0.0
    """Of those that serve, their mean: 0 idle to 1 saturated."""
    requests_per_second: float = 0.0
    """Of all of them together."""

    @property
    def total(self) -> int:
        """All of them, those that are lost too."""
        return sum(self.counts.values())

    @property
    def serving(self) -> int:
        """Those that calls are sent to."""
        return self.counts.get(NodeState.SERVING, 0)

    @property
    def state(self) -> NodeState | None:
        """How the region fares. None: it has no nodes.

        Where some nodes serve and others do not, as one that drains.
        """
        if not self.total:
            return None
        if not self.serving:
            return next(state for state in _BY_TROUBLE if self.counts.get(state))
        return NodeState.SERVING if self.serving == self.total else NodeState.DRAINING

    def words(self) -> str:
        """Return it in words: ``3 of 4 serve``, and what is the matter with the others."""
        if not self.total:
            return "no nodes"
        others = [
            f"{count} {state.value}"
            for state in NodeState
            if state is not NodeState.SERVING and (count := self.counts.get(state))
        ]
        return ", ".join((f"{self.serving} of {self.total} serve", *others))

    def to_json(self) -> dict[str, int]:
        """Return how many are what, each under its name."""
        return {state.name.lower(): self.counts.get(state, 0) for state in NodeState}


_BY_TROUBLE = (NodeState.NOT_SERVING, NodeState.LOST, NodeState.DRAINING)


def tallies(nodes: Iterable[Node]) -> Mapping[str, Tally]:
    """Count the nodes of each region."""
    by_region: dict[str, list[Node]] = {}
    for node in nodes:
        by_region.setdefault(node.region, []).append(node)
    return {region: _tally(listed) for region, listed in by_region.items()}


def _tally(nodes: Sequence[Node]) -> Tally:
    serving = [node.load for node in nodes if state_of(node) is NodeState.SERVING]
    there = [node.load for node in nodes if state_of(node) is not NodeState.LOST]
    return Tally(
        Counter(map(state_of, nodes)),
        utilization=sum(load.utilization for load in serving) / max(len(serving), 1),
        requests_per_second=sum(load.requests_per_second for load in there),
    )


NO_NODES = Tally({})


_COLUMNS = (
    *("region", "node", "role", "state", "weight", "load", "calls/s", "revision", "stale"),
    "address",
)
_NUMBERS = frozenset({"weight", "load", "calls/s", "revision"})


def nodes_table(nodes: Sequence[Node], now: datetime) -> Table:
    """Return nodes as a table.

    Args:
        nodes: which, in the order they are to have.
        now: the server's time, by which it is told how long ago things were.
    """
    table = terminal.table(*_COLUMNS)
    for name, column in zip(_COLUMNS, table.columns, strict=True):
        column.justify = "right" if name in _NUMBERS else "left"
        # What somebody wants to copy is in one piece.
        column.no_wrap = name != "state"
    region = ""
    for node in nodes:
        is_lost = state_of(node) is NodeState.LOST
        table.add_row(
            # Once for all of its nodes.
            "" if node.region == region else terminal.safe(node.region),
            terminal.safe(node.id),
            node.role.name.lower(),
            state_text(node, now),
            str(node.weight),
            "-" if is_lost else load_text(node.load.utilization),
            "-" if is_lost else f"{node.load.requests_per_second:,.0f}",
            str(node.revision),
            "-" if is_lost else duration_text(node.staleness),
            terminal.safe(node.address) or "-",
        )
        region = node.region
    return table


_BUSY, _FULL = 0.7, 0.9


def load_text(utilization: float) -> Text:
    """Return how busy something is, in colour from where that is worth a look."""
    style = "bold red" if utilization >= _FULL else "yellow" if utilization >= _BUSY else ""
    return Text(f"{utilization:.0%}", style)
