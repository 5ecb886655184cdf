"""What of a request a policy's conditions look at.

Two requests that differ only in what no policy looks at get the same verdict, so that one of them
can be answered with what was said about the other. Analysis errs on the side of "is looked at".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

from placet_engine.model import EntityUid


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The parts of a request, and the names of attributes, that conditions mention."""

    variables: frozenset[str] = frozenset()
    """``principal``, ``action``, ``resource``; and ``context`` where it is used as a whole."""
    context: frozenset[str] = frozenset()
    """Entries of the context."""
    attributes: frozenset[str] = frozenset()
    """Attributes of entities and records of any kind."""
    tags: bool = False
    """Whether tags are looked at. Their names can be computed, so that all count."""
    goes_on: bool = False
    """Whether an attribute or a tag is followed further: what it refers to may be looked at."""

    def __or__(self, other: Reads) -> Reads:
        """Return what either looks at."""
        if other in (self, NOTHING):
            return self
        return Reads(
            variables=self.variables | other.variables,
            context=self.context | other.context,
            attributes=self.attributes | other.attributes,
            tags=self.tags or other.tags,
            goes_on=self.goes_on or other.goes_on,
        )


NOTHING = Reads()


def union(reads: Iterable[Reads]) -> Reads:
    """Return what any of several looks at."""
    return reduce(Reads.__or__, reads, NOTHING)


def reads_of(conditions: list[Any]) -> Reads:
    """Analyse the conditions of a policy in Cedar's JSON policy format."""
    variables: set[str] = set()
    context: set[str] = set()
    attributes: set[str] = set()
    tags = goes_on = False
    stack: list[Any] = list(conditions)
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
            continue
        if not isinstance(node, dict):
            continue
        for operator, operand in node.items():
            if operator in _LOOKS_INTO and isinstance(operand, dict):
                goes_on = goes_on or not _is_start(operand.get("left"))
            if operator == "Record":
                # Its keys are the author's, and may look like operators.
                stack.extend(operand.values())
            elif operator == "Var":
                variables.add(operand)
            elif operator in _ACCESSES and isinstance(operand, dict):
                is_of_context = operand.get("left") == _CONTEXT
                (context if is_of_context else attributes).add(operand["attr"])
                if not is_of_context:
                    stack.append(operand["left"])
            elif operator != "Value":
                tags = tags or operator in _TAG_ACCESSES
                stack.append(operand)
    return _shared(
        Reads(
            variables=frozenset(variables),
            context=frozenset(context),
            attributes=frozenset(attributes),
            tags=tags,
            goes_on=goes_on,
        )
    )


@lru_cache(maxsize=4096)
def _shared(reads: Reads) -> Reads:
    """Return one object for all that are equal: policies look at few different things."""
    return reads


def forget() -> None:
    """Keep no object for those to come that are equal to it."""
    _shared.cache_clear()


_ACCESSES = frozenset({".", "has"})
_TAG_ACCESSES = frozenset({"getTag", "hasTag"})
_CONTEXT = {"Var": "context"}
# What can look into the entity on its left: its attributes, its tags, what it is in.
_LOOKS_INTO = frozenset({".", "has", "in", "is", "getTag", "hasTag"})


def _is_start(node: Any) -> bool:
    """Whether a node is a variable or an entity that is named: those are reached anyway."""
    return isinstance(node, dict) and len(node) == 1 and ("Var" in node or "Value" in node)


def entity_literals(document: Any) -> Iterator[EntityUid]:
    """Walk a JSON policy's conditions for ``Value``s that are entities."""
    stack = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            entity = node.get("__entity")
            if isinstance(entity, dict) and entity.keys() == {"type", "id"}:
                yield EntityUid(entity["type"], entity["id"])
            stack.extend(node.values())
