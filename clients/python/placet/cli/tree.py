"""YAML and JSON as trees in which every part knows its place in the file.

Of YAML, what two readers could take differently is refused: ``yes``, ``010``, tags, merge keys.
Everything else reads as in YAML 1.2. What the trees mean is for others to say.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import yaml

from placet import Position

Scalar: TypeAlias = "bool | int | float | str | None"


@dataclass(frozen=True, slots=True)
class Node:
    """One value and where it stands."""

    value: Scalar | list[Node] | dict[str, Node]
    position: Position
    keys: Mapping[str, Position] = field(default_factory=dict)
    """For a mapping, where each key stands."""
    indent: int = 0
    """How far a text of several lines is indented in the file, which is not part of the text."""

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        return self.value


class TreeError(ValueError):
    """A text that cannot be read, and where."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


# What a file may come to. YAML's aliases can make a small file into a huge tree.
_MAX_NODES = 1_000_000
_MAX_DEPTH = 200

# ---------------------------------------------------------------------------------- YAML


def read_yaml(text: str, *, file: str = "") -> Node:
    """Read one YAML document. An empty one is a node of ``None``.

    Raises:
        TreeError: it is not one, or says something that could mean two things.
    """
    try:
        # Composes a graph of tagged text only: nothing is constructed.
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = _within(_at(mark, file), text)
        raise TreeError(_yaml_problem(error, text), position) from error
    except yaml.YAMLError as error:
        problem = str(error).partition("\n")[0]
        raise TreeError(f"is not YAML: {problem}", Position(file=file, line=1, column=1)) from error
    if root is None:
        return Node(None, Position(file=file, line=1, column=1))
    return _YamlReader(text, file).node(root, 1)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves it to us what a plain word stands for."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # declared so by yaml


def _yaml_problem(error: yaml.MarkedYAMLError, text: str) -> str:
    what = error.problem or error.context or "it cannot be read"
    mark = error.problem_mark
    if "cannot start any token" in what and mark is not None and text[mark.index :][:1] == "\t":
        what = "there is a tab; indent with spaces"
    if "single document" in (error.context or ""):
        what = "it holds several documents; make each of them a file"
    return f"is not YAML: {what}"


def _at(mark: yaml.Mark | None, file: str) -> Position:
    if mark is None:
        return Position(file=file, line=1, column=1)
    return Position(file=file, line=mark.line + 1, column=mark.column + 1)


def _within(position: Position, text: str) -> Position:
    """Take a place behind the end of a text back to its end."""
    lines = text.removesuffix("\n").split("\n")
    if position.line <= len(lines):
        return position
    return Position(file=position.file, line=len(lines), column=len(lines[-1]) + 1)


class _YamlReader:
    """Turns yaml's nodes into ours. What aliases repeat is read once and counted each time."""

    def __init__(self, text: str, file: str) -> None:
        self._lines = text.split("\n")
        self._file = file
        self._read: dict[int, tuple[Node, int]] = {}
        self._count = 0

    def node(self, node: yaml.Node, depth: int) -> Node:
        position = _at(node.start_mark, self._file)
        before = self._count
        known = self._read.get(id(node))
        self._count += known[1] if known else 1
        if depth > _MAX_DEPTH or self._count > _MAX_NODES:
            raise TreeError("is nested too deep, or repeats itself too often", position)
        if known:
            return known[0]
        read = self._read_node(node, position, depth)
        self._read[id(node)] = read, self._count - before
        return read

    def _read_node(self, node: yaml.Node, position: Position, depth: int) -> Node:
        match node:
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node, position, depth)
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return Node([self.node(child, depth + 1) for child in node.value], position)
            case yaml.ScalarNode(tag="tag:yaml.org,2002:str"):
                return self._scalar(node, position)
        raise TreeError(f"the tag `{node.tag}` means nothing here; leave it out", position)

    def _mapping(self, node: yaml.MappingNode, position: Position, depth: int) -> Node:
        fields: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        for key_node, value_node in node.value:
            place = _at(key_node.start_mark, self._file)
            if not isinstance(key_node, yaml.ScalarNode):
                raise TreeError("a key has to be text", place)
            key = str(key_node.value)
            if key == "<<" and not key_node.style:
                raise TreeError("merge keys (`<<`) are not read; write it out", place)
            if key in keys:
                raise _repeated(key, keys[key], place)
            keys[key] = place
            fields[key] = self.node(value_node, depth + 1)
        return Node(fields, position, keys)

    def _scalar(self, node: yaml.ScalarNode, position: Position) -> Node:
        text = str(node.value)
        # None to one of yaml's parsers, empty to the other.
        if not node.style:
            return Node(_plain_scalar(text, position), position)
        if node.style in "|>":
            return self._block(text, position)
        # Within the quotes.
        inside = Position(file=position.file, line=position.line, column=position.column + 1)
        return Node(text, inside)

    def _block(self, text: str, position: Position) -> Node:
        """Place a block's text where it begins: below the line with the `|`."""
        for number in range(position.line, len(self._lines)):
            line = self._lines[number]
            if line.strip():
                indent = len(line) - len(line.lstrip(" "))
                start = Position(file=position.file, line=position.line + 1, column=indent + 1)
                return Node(text, start, indent=indent)
        return Node(text, position)


_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TRUTHS_OF_OLD = frozenset({"yes", "no", "on", "off"})


def _plain_scalar(text: str, position: Position) -> Scalar:
    """Return what a word without quotes stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if text.lower() in _TRUTHS_OF_OLD:
        raise TreeError(
            f'`{text}` is text to some readers of YAML and a truth to others; write "{text}" in '
            "quotes, or true or false",
            position,
        )
    if _LEADING_ZERO.fullmatch(text):
        raise TreeError(
            f'`{text}` begins with a zero; write "{text}" in quotes if it is text', position
        )
    if _INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _repeated(key: str, first: Position, second: Position) -> TreeError:
    return TreeError(f"`{key}` is given already, in line {first.line}; keep one", second)


# ---------------------------------------------------------------------------------- JSON


def read_json(text: str, *, file: str = "") -> Node:
    """Read a JSON document.

    Raises:
        TreeError: it is not one.
    """
    places = _Places(text, file)
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        message = error.msg[0].lower() + error.msg[1:]
        raise TreeError(f"is not JSON: {message}", places.at(error.pos)) from error
    except (ValueError, RecursionError) as error:
        raise TreeError(f"is not JSON: {error}", places.at(0)) from error
    return _JsonReader(text, places).value(1)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


class _Places:
    """Turns offsets into lines and columns."""

    def __init__(self, text: str, file: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._file = file

    def at(self, offset: int) -> Position:
        line = bisect_right(self._starts, offset)
        column = offset - self._starts[line - 1] + 1
        return Position(file=self._file, line=line, column=column)


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.\w]+|[{}\[\]]')


class _JsonReader:
    """Goes through the tokens of a text that is known to be JSON."""

    def __init__(self, text: str, places: _Places) -> None:
        self._tokens: Iterator[re.Match[str]] = _JSON_TOKEN.finditer(text)
        self._places = places

    def value(self, depth: int) -> Node:
        return self._value_of(next(self._tokens), depth)

    def _value_of(self, token: re.Match[str], depth: int) -> Node:
        word, position = token.group(), self._places.at(token.start())
        if depth > _MAX_DEPTH:
            raise TreeError("is nested too deep", position)
        if word == "{":
            return self._object(position, depth)
        if word == "[":
            elements = []
            while (token := next(self._tokens)).group() != "]":
                elements.append(self._value_of(token, depth + 1))
            return Node(elements, position)
        return Node(json.loads(word), position)

    def _object(self, position: Position, depth: int) -> Node:
        fields: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        while (token := next(self._tokens)).group() != "}":
            key, place = json.loads(token.group()), self._places.at(token.start())
            if key in keys:
                raise _repeated(key, keys[key], place)
            keys[key] = place
            fields[key] = self.value(depth + 1)
        return Node(fields, position, keys)
