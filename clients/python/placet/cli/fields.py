"""Takes mappings apart key by key; what is missing, unknown or of a wrong kind is a finding."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from placet import Position
from placet.cli.findings import Findings, did_you_mean
from placet.cli.tree import Node

T = TypeVar("T")


class Fields:
    """The keys of one mapping."""

    def __init__(self, node: Node, findings: Findings) -> None:
        assert isinstance(node.value, dict)
        self._nodes: Mapping[str, Node] = node.value
        self._findings = findings
        self.position = node.position

    @classmethod
    def of(
        cls, node: Node, findings: Findings, *, what: str, known: Collection[str]
    ) -> Fields | None:
        """Return the fields of a mapping. None, and a finding, if it is none."""
        if not isinstance(node.value, dict):
            keys = ", ".join(f"`{name}`" for name in known)
            findings.refuse(f"{what} is {kind(node)}; write a mapping with {keys}", node.position)
            return None
        for name in node.value:
            if name not in known:
                findings.refuse(
                    f"unknown key `{name}` in {what}; {did_you_mean(name, known)}", node.keys[name]
                )
        return cls(node, findings)

    def node(self, *names: str) -> Node | None:
        """Return the value of the first of these keys that is given."""
        return next((self._nodes[name] for name in names if name in self._nodes), None)

    def text(self, *names: str) -> str | None:
        """Return a text. None if it is not given."""
        node = self.node(*names)
        if node is None:
            return None
        if not isinstance(node.value, str):
            self._findings.refuse(
                f"`{names[0]}` is {kind(node)}; write text, in quotes if need be", node.position
            )
            return None
        return node.value

    def required_text(self, *names: str, what: str) -> str | None:
        """Return a text that has to be there. None, and a finding, if it is not."""
        if self.node(*names) is None:
            self._findings.refuse(f"{what} needs `{names[0]}`", self.position)
            return None
        text = self.text(*names)
        if text is not None and not text.strip():
            node = self.node(*names)
            assert node is not None
            self._findings.refuse(f"`{names[0]}` is empty", node.position)
            return None
        return text

    def truth(self, name: str) -> bool:
        """Return a truth, false if it is not given."""
        node = self.node(name)
        if node is None:
            return False
        if not isinstance(node.value, bool):
            self._findings.refuse(f"`{name}` is {kind(node)}; write true or false", node.position)
            return False
        return node.value

    def elements(self, name: str) -> list[Node]:
        """Return the elements of a list, none if it is not given."""
        node = self.node(name)
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            self._findings.refuse(f"`{name}` is {kind(node)}; write a list", node.position)
            return []
        return node.value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; a single one may stand for itself."""
        node = self.node(name)
        if node is not None and isinstance(node.value, str):
            return (node.value,)
        texts = []
        for element in self.elements(name):
            if isinstance(element.value, str):
                texts.append(element.value)
            else:
                self._findings.refuse(f"`{name}` has {kind(element)}; write text", element.position)
        return tuple(texts)

    def choice(self, name: str, choices: Mapping[str, T], default: T) -> T:
        """Return what a word stands for."""
        node = self.node(name)
        if node is None:
            return default
        if isinstance(node.value, str) and node.value.lower() in choices:
            return choices[node.value.lower()]
        given = f"`{node.value}`" if isinstance(node.value, str) else kind(node)
        hint = did_you_mean(str(node.value).lower(), choices)
        self._findings.refuse(f"`{name}` is {given}; {hint}", node.position)
        return default

    def read(self, name: str, read: Callable[[Node], T]) -> T | None:
        """Return what ``read`` makes of a value. None if it is not given."""
        node = self.node(name)
        return None if node is None else read(node)

    def at(self, name: str) -> Position:
        """Return where a value stands, or else the mapping it is missing from."""
        node = self.node(name)
        return self.position if node is None else node.position


def kind(node: Node) -> str:
    """Say what kind of value a node is."""
    match node.value:
        case None:
            return "empty"
        case bool():
            return f"the truth value {str(node.value).lower()}"
        case int() | float():
            return f"the number {node.value}"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "a mapping"
