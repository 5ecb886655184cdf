"""How large a schema's types become once each name stands for what it means.

Cedar's schema parser puts the definition of a common type wherever its name is. Fifty types that
each name the next one twice come to 2**50 parts, and to a thread that never comes back. So it is
counted first.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from placet_engine.nesting import TooDeep, lexemes

MAX_PARTS = 200_000
"""Parts of all types together."""

_References = Mapping[str, Counter[str]]
"""How often each common type's definition names each other one; under ``""``, all else."""


def check_growth(text: str) -> None:
    """Check a schema in either syntax before Cedar parses it.

    Names are taken without their namespaces: that counts too much, if anything.

    Raises:
        TooDeep: its types come to more than can be taken.
    """
    references = _of_json(text) if text.lstrip().startswith("{") else _of_text(text)
    if len(references) == 1:
        return
    sizes: dict[str, int] = {}
    for name in _inner_first(references):
        named = references[name].items()
        sizes[name] = 1 + sum(count * sizes.get(other, 1) for other, count in named)
        if sizes[name] > MAX_PARTS:
            raise TooDeep(
                f"has types that come to more than {MAX_PARTS} parts, since a type names others "
                "that name others several times; make entities of some"
            )


def _inner_first(references: _References) -> Iterator[str]:
    """Yield each name after those its definition names. Cycles, which Cedar refuses, end there."""
    done: set[str] = set()
    for start in references:
        stack = [(start, iter(references[start]))]
        entered = {start}
        while stack:
            name, rest = stack[-1]
            following = next(
                (other for other in rest if other in references and other not in done | entered),
                None,
            )
            if following is not None:
                entered.add(following)
                stack.append((following, iter(references[following])))
            else:
                stack.pop()
                if name not in done:
                    done.add(name)
                    yield name


def _of_text(text: str) -> _References:
    """Read `type Name = …;` out of Cedar's own syntax."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    owner = ""
    found[owner] = Counter()
    before: tuple[str, str] = ("", "")
    for lexeme in lexemes(text):
        if lexeme == "=" and before[0] == "type":
            owner = before[1]
            # It was counted as it came: as a name, and not yet as one that is defined.
            found[""][owner] -= 1
        elif lexeme == ";":
            owner = ""
        elif lexeme[0].isalpha() or lexeme[0] == "_":
            found[owner][lexeme] += 1
        before = (before[1], lexeme)
    return found


def _of_json(text: str) -> _References:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    found[""] = Counter()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # Cedar says what is wrong with it.
        return found
    for namespace in _objects(document):
        for name, definition in _items(namespace.get("commonTypes")):
            found[name].update(_names(definition))
        for part, rest in namespace.items():
            if part != "commonTypes":
                found[""].update(_names(rest))
    return found


def _names(node: Any) -> Iterator[str]:
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack += node.values()
        elif isinstance(node, list):
            stack += node
        elif isinstance(node, str):
            yield node.rpartition("::")[2]


def _objects(node: Any) -> Iterable[Mapping[str, Any]]:
    if not isinstance(node, dict):
        return []
    return [value for value in node.values() if isinstance(value, dict)]


def _items(node: Any) -> Iterable[tuple[str, Any]]:
    return node.items() if isinstance(node, dict) else []
