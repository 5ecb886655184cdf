"""What happens when a key is pressed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from placet.cli.demo_regions.choosing import Choice
from placet.cli.demo_regions.demo import Demo
from placet.cli.demo_regions.world import NodeState

Start = Callable[[Coroutine[Any, Any, object]], object]
"""Runs what takes its time."""


class Acting:
    """Keeps what is chosen, and does what is asked for.

    Args:
        demo: what it is done to.
        start: runs what takes its time.
        quit_: ends it.
    """

    def __init__(self, demo: Demo, start: Start, quit_: Callable[[], None]) -> None:
        self._demo = demo
        self._start = start
        self.choice = Choice()
        self.shows_help = False
        self._quit = quit_
        self._actions: Mapping[str, Callable[[], None]] = {
            "k": self._kill,
            "h": self._hang,
            "b": self._bring_back,
            "B": self._bring_all_back,
            "d": self._drain,
            "c": self._kill_control,
            "p": self._publish,
        }

    def press(self, key: str) -> None:
        """Do what a key is for. Keys that are for nothing do nothing."""
        if self.shows_help:
            self.shows_help = False
            if key != "q":
                return
        choosing = self._chosen(key)
        if choosing is not None:
            self.choice = choosing
        elif key == "?":
            self.shows_help = True
        elif key == "q":
            self._quit()
        elif (action := self._actions.get(key)) is not None:
            if self._demo.world.is_started:
                action()
            else:
                # Who follows a node needs it to start.
                self._demo.news.add("not yet: the regions are still starting")

    def _chosen(self, key: str) -> Choice | None:
        scene = self._demo.scene
        if key.isdecimal():
            return self.choice.of_region(int(key), scene)
        if key in ("tab", "right", "enter"):
            return self.choice.deeper(scene)
        if key in ("shift-tab", "left"):
            return self.choice.deeper(scene, -1)
        if key in ("up", "down"):
            return self.choice.along(scene, 1 if key == "down" else -1)
        return None

    def _kill(self) -> None:
        target = self.choice.target(self._demo.scene)
        self._demo.world.kill(target.nodes, target.name)

    def _kill_control(self) -> None:
        target = self.choice.control(self._demo.scene)
        self._demo.world.kill(target.nodes, target.name)

    def _hang(self) -> None:
        world, target = self._demo.world, self.choice.target(self._demo.scene)
        hung = [node for node in target.nodes if world.state(node) is NodeState.HUNG]
        if hung:
            self._start(world.bring_back(hung, target.name))
        else:
            world.hang(target.nodes, target.name)

    def _bring_back(self) -> None:
        target = self.choice.target(self._demo.scene)
        self._start(self._demo.world.bring_back(target.nodes, target.name))

    def _bring_all_back(self) -> None:
        self._start(self._demo.world.bring_back(self._demo.scene.nodes, "the world"))

    def _drain(self) -> None:
        world, target = self._demo.world, self.choice.target(self._demo.scene)
        drained = [node for node in target.nodes if world.seen(node).is_draining]
        all_do = len(drained) == len(target.nodes)
        self._start(self._demo.operator.drain(target.nodes, draining=not all_do))

    def _publish(self) -> None:
        self._start(self._demo.operator.publish())
