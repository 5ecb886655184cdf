"""Which masks keep a recorded request from being asked again.

A mask hides part of a request. As long as no policy that could be about the request reads that
part, the answer is the same without it; otherwise nobody can say what the answer would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from placet_engine.reads import Reads
from placet_server.telemetry.decision_log.records import DecisionRecord

Part = Enum("Part", ["IDENTITY", "CONTEXT", "ATTRIBUTES", "TAGS"])
"""What of a request is hidden. Identity is who, what and what to, and what belongs to what: every
policy's scope looks at that."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What one mask hides of one request."""

    rule: str
    """The path, as the server's configuration has it."""
    part: Part
    names: frozenset[str] | None = None
    """Which entries, attributes or tags; None: it cannot be told which."""

    @property
    def hides_who(self) -> bool:
        """Whether it hides what every policy looks at."""
        return self.part is Part.IDENTITY

    def is_read(self, reads: Reads) -> bool:
        """Whether policies that read so much read any of it."""
        match self.part:
            case Part.IDENTITY:
                return True
            case Part.CONTEXT:
                return "context" in reads.variables or self._meets(reads.context)
            case Part.ATTRIBUTES:
                return self._meets(reads.attributes)
            case Part.TAGS:
                return reads.tags

    def _meets(self, read: frozenset[str]) -> bool:
        return bool(read if self.names is None else read & self.names)


def hidden_in(record: DecisionRecord) -> list[Hidden]:
    """Return what masks hide of a record's request, a mask each."""
    return [_hidden(rule, record) for rule in record.masked]


def _hidden(rule: str, record: DecisionRecord) -> Hidden:
    root, *path = rule.split(".")
    if root == "context":
        return Hidden(rule, Part.CONTEXT, _names(path, [record.context]))
    if root == "entities":
        # The first segment says which of them.
        path, holders = path[1:], _listed(record.entities)
        if path[:1] == ["attributes"]:
            return Hidden(rule, Part.ATTRIBUTES, _names(path[1:], _inside(holders, "attributes")))
        if path[:1] == ["tags"]:
            return Hidden(rule, Part.TAGS)
    elif path[:1] == ["properties"]:
        holder = getattr(record, root)
        return Hidden(rule, Part.ATTRIBUTES, _names(path[1:], _inside([holder], "properties")))
    return Hidden(rule, Part.IDENTITY)


def _listed(entities: object) -> list[Any]:
    # A mask may have replaced them all.
    return entities if isinstance(entities, list) else []


def _inside(holders: Iterable[Any], name: str) -> Iterator[Any]:
    return (holder.get(name) for holder in holders if isinstance(holder, Mapping))


def _names(path: list[str], holders: Iterable[Any]) -> frozenset[str] | None:
    """Return what the first segment of a path names; None where the names are gone as well."""
    if not path:
        return None
    if path[0] != "*":
        return frozenset(path[:1])
    left = [holder for holder in holders if isinstance(holder, Mapping) and holder]
    return frozenset(name for holder in left for name in holder) if left else None
