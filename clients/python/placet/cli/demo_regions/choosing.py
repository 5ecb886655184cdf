"""What the keys are about: a region, or one of its nodes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from placet.cli.demo_regions.scene import NodeSpec, Scene, Target


@dataclass(frozen=True, slots=True)
class Choice:
    """A region, by its place in the list from 0, and one of its nodes from 1; 0 is all of it."""

    region: int = 0
    node: int = 0

    def target(self, scene: Scene) -> Target:
        """Return what is chosen."""
        site = scene.sites[self.region]
        nodes = scene.nodes_in(region=site.name)
        if not self.node:
            return Target(site.name, nodes)
        return Target(nodes[self.node - 1].name, (nodes[self.node - 1],))

    def control(self, scene: Scene) -> Target:
        """Return the control node of the law that the chosen region is under."""
        law = scene.sites[self.region].jurisdiction
        node = scene.control_of(law)
        return Target(node.name, (node,))

    def of_region(self, number: int, scene: Scene) -> Choice:
        """Return the choice once somebody pressed a region's number, from 1.

        The same number again walks through its nodes.
        """
        if not 1 <= number <= len(scene.sites):
            return self
        return self.deeper(scene) if number - 1 == self.region else Choice(number - 1)

    def deeper(self, scene: Scene, step: int = 1) -> Choice:
        """Return the next within the region: all of it, and then its nodes, around."""
        count = len(self._nodes(scene)) + 1
        return replace(self, node=(self.node + step) % count)

    def along(self, scene: Scene, step: int) -> Choice:
        """Return the next region, around; the same node of it."""
        return replace(self, region=(self.region + step) % len(scene.sites))

    def _nodes(self, scene: Scene) -> Sequence[NodeSpec]:
        return scene.nodes_in(region=scene.sites[self.region].name)
