"""The nodes as everybody reads them, whoever found out about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from placet_engine.placement.nodes import Node, NodeRole
from placet_server.errors import NodeUnknown
from placet_server.regions.moves import Moves


class NodeView:
    """Every node there is, and every node that was lost in the last day.

    Lives on one event loop. Written by whoever judges nodes, or follows one who does.

    Args:
        membership: moves along with what has a number of that name here.
        loads: the same.
    """

    def __init__(self, *, membership: Sequence[Moves] = (), loads: Sequence[Moves] = ()) -> None:
        self._nodes: dict[str, Node] = {}
        self._has_news = False
        self.membership = Moves(*membership)
        """Nodes that came, went, or changed in more than load and progress."""
        self.loads = Moves(*loads)
        """Nodes that changed in load and progress; moved by :meth:`beat`, which is in no hurry."""

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by id. Not to be kept while others run."""
        return self._nodes

    def node(self, id_: str) -> Node:
        """Return a node.

        Raises:
            NodeUnknown: there is none of that id.
        """
        node = self._nodes.get(id_)
        if node is None:
            raise NodeUnknown(id_)
        return node

    def listed(self, regions: Iterable[str] = ()) -> list[Node]:
        """Return the nodes, of these regions if any are given, in order of region and id."""
        wanted = frozenset(regions)
        found = [n for n in self._nodes.values() if not wanted or n.registration.region in wanted]
        return sorted(found, key=lambda node: (node.registration.region, node.id))

    def control_addresses(self) -> list[str]:
        """Return where changes are taken, in order of region and id."""
        return [
            node.registration.address
            for node in self.listed()
            if node.registration.role is NodeRole.CONTROL and node.takes_calls
        ]

    def put(self, node: Node) -> None:
        """Have a node be as given, whether it was there or not."""
        former = self._nodes.get(node.id)
        self._nodes[node.id] = node
        if former is None or former.standing != node.standing:
            self.membership.move()
        elif former != node:
            self._has_news = True

    def drop(self, id_: str) -> None:
        """Have a node not be there."""
        if self._nodes.pop(id_, None) is not None:
            self.membership.move()

    def beat(self) -> None:
        """Let those see loads and progress who have waited for news of them."""
        if self._has_news:
            self._has_news = False
            self.loads.move()
