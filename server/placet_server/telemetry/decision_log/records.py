"""One decision as it is written down, and the reader of what was written.

The form is JSON, one object a line, in UTF-8. Fields of version 1:

=================  ===============================================================================
``version``        1. A reader refuses versions it does not know.
``run``            random, anew at each start of a node
``sequence``       1, 2, 3, ... within a run: a gap is a record that was lost or left out
``time``           when it was decided, RFC 3339 in UTC
``decision_id``    what the caller got as `decision_id`
``tenant``
``subject``        ``{"type", "id", "properties"}``, as the caller sent it
``action``         ``{"type", "name", "properties"}``
``resource``       ``{"type", "id", "properties"}``
``context``        object
``entities``       entities the caller sent: ``{"uid", "attributes", "parents", "tags"}`` each
``outcome``        ``ALLOW``, ``DENY`` or ``REQUIRES_APPROVAL``
``cause``          the rule of precedence that led to it, such as ``NO_PERMIT``
``reasons``        ``{"policy_id", "layer", "message"}`` each
``obligations``    texts
``errors``         policies that failed: ``{"policy_id", "layer", "message"}`` each
``log_only``       ``{"outcome", "reasons"}``: the answer if log-only policies counted, and which of
                   them are why; null when they would have changed nothing. Not there in records
                   of releases that did not write it
``revision``       the revision that decided
``rollout_variant``  ``stable`` or ``candidate`` while a rollout was under way, otherwise empty
``cached``         whether the verdict was remembered
``region, node``   where
``duration_s``     how long the node worked on it, in seconds
``trace_id``       of the call, 32 hexadecimal digits; empty without a trace
``span_id``        of the call, 16 hexadecimal digits; empty without a trace
``kept_one_in``    n: stands for n decisions, the others were left out because the sink was slow
``masked``         paths of what was masked in this record
=================  ===============================================================================

Attribute values are in Cedar's JSON form, so that ``placet.wire`` makes the request of them again.
A permit is a credential and is not recorded.
"""

from __future__ import annotations

import datetime
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeAlias

VERSION = 1

Document: TypeAlias = dict[str, Any]
"""A JSON object."""


class RecordsUnreadable(ValueError):
    """A file that is no decision log, or one of a version not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRequest:
    """The request part of a record, each in its JSON form."""

    subject: Document
    action: Document
    resource: Document
    context: Document
    entities: list[Document]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision, with all it takes to ask again."""

    run: str
    sequence: int
    time: datetime.datetime
    decision_id: str
    tenant: str
    subject: Document
    action: Document
    resource: Document
    context: Document
    entities: list[Document]
    outcome: str
    cause: str
    reasons: list[Document]
    obligations: list[str]
    errors: list[Document]
    log_only: Document | None = None
    revision: int
    rollout_variant: str = ""
    cached: bool
    region: str
    node: str
    duration_s: float
    trace_id: str = ""
    span_id: str = ""
    kept_one_in: int = 1
    masked: list[str]

    def to_json(self) -> Document:
        """Return the form that is written."""
        return {"version": VERSION, **asdict(self), "time": self.time.isoformat()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> DecisionRecord:
        """Read what :meth:`to_json` returned. Fields not known here are passed over.

        Those that came to the version later may be missing.

        Raises:
            RecordsUnreadable: it is something else, or of another version.
        """
        version = document.get("version")
        if version != VERSION:
            raise RecordsUnreadable(
                f"is of version `{version}`, and this reader knows {VERSION}; read it with the "
                "release that wrote it"
            )
        try:
            # What was masked as a whole may have been left out.
            document = {**_left_out(document["masked"]), **document}
            known = {name: document[name] for name in _REQUIRED}
            known.update((name, document[name]) for name in _OPTIONAL if name in document)
            known["time"] = datetime.datetime.fromisoformat(known["time"])
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordsUnreadable(f"is no decision record: {error!r}") from error


def _left_out(masked: list[str]) -> Document:
    """Return what stands for the parts of a request that masks took away as a whole."""
    if not all(isinstance(rule, str) for rule in masked):
        raise TypeError("`masked` is no list of paths")
    return {rule: [] if rule == "entities" else {} for rule in masked if "." not in rule}


_OPTIONAL = tuple(spec.name for spec in fields(DecisionRecord) if spec.default is not MISSING)
_REQUIRED = tuple(spec.name for spec in fields(DecisionRecord) if spec.name not in _OPTIONAL)


def to_line(document: Document) -> bytes:
    """Write a record's document as one line."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def parts(path: Path) -> list[Path]:
    """Return the files of a rotated log, the oldest first, those that were compressed as well."""
    numbered = []
    for found in path.parent.glob(f"{path.name}.*"):
        number = found.name.removeprefix(f"{path.name}.").removesuffix(_COMPRESSED)
        if number.isdigit():
            numbered.append((int(number), found))
    rotated = [found for _, found in sorted(numbered, reverse=True)]
    return [*rotated, path] if path.exists() else rotated


_COMPRESSED = ".gz"


def decompressed(file: BufferedReader) -> IO[bytes]:
    """Return what to read of a file that may have been compressed with gzip.

    Closing ``file`` stays the caller's.
    """
    is_compressed = file.peek(2)[:2] == _GZIP_MAGIC
    return gzip.GzipFile(fileobj=file) if is_compressed else file  # type: ignore[return-value]


_GZIP_MAGIC = b"\x1f\x8b"


def record_of(line: bytes) -> DecisionRecord:
    """Read one line.

    Raises:
        RecordsUnreadable: it is no record, or one of another version.
    """
    try:
        document = json.loads(line)
    except (RecursionError, ValueError) as error:
        raise RecordsUnreadable(f"is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise RecordsUnreadable("is no JSON object")
    return DecisionRecord.from_json(document)


def read_records(path: Path) -> Iterator[DecisionRecord]:
    """Yield the records of a decision log, from the oldest rotated file to ``path`` itself.

    A last line without its end, as a crash leaves it, is passed over.

    Raises:
        RecordsUnreadable: there is no such log, or a line is no record; the message says which.
    """
    files = parts(path)
    if not files:
        raise RecordsUnreadable(f"there is no decision log at `{path}`")
    for part in files:
        with part.open("rb") as file:
            for number, line in enumerate(decompressed(file), 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    yield record_of(line)
                except RecordsUnreadable as error:
                    raise RecordsUnreadable(f"`{part}` line {number} {error}") from error
