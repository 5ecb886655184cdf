"""Reads decision logs as a stream: rotated files, compressed ones, standard input.

What cannot be used is counted, by why; the lines that are no records are named, the first of them.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import IO

from placet.cli.failures import ExitCode, Failure
from placet_server.telemetry.decision_log.records import (
    DecisionRecord,
    RecordsUnreadable,
    decompressed,
    parts,
    record_of,
)

STANDARD_INPUT = "-"
MAX_LINE_BYTES = 64 * 1024 * 1024
"""No record is longer: a request has 4 MiB at most, and JSON writes a byte with up to six."""

_NAMED_LINES = 5
_PROGRESS_LINES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records to use."""

    tenant: str
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None
    """How many."""

    def covers(self, moment: datetime) -> bool:
        """Whether a time is within the bounds."""
        return (self.since is None or moment >= self.since) and (
            self.until is None or moment < self.until
        )


@dataclass(slots=True)
class PassedOver:
    """Lines that were not used, by why."""

    broken: int = 0
    broken_named: list[str] = field(default_factory=list)
    """The first of them: file, line, and what is wrong."""
    other_tenants: int = 0
    other_times: int = 0

    def note_broken(self, where: str, why: object) -> None:
        """Count a line that is no record."""
        self.broken += 1
        if len(self.broken_named) < _NAMED_LINES:
            self.broken_named.append(f"{where}: {why}")


class Recordings:
    """The records of some decision logs, each log from its oldest file on."""

    def __init__(self, names: Sequence[str], wanted: Wanted) -> None:
        """Find the files.

        Raises:
            Failure: there are none by one of the names.
        """
        self._wanted = wanted
        self._files = [file for name in names for file in _files(name)]
        self.passed_over = PassedOver()
        self.total_bytes = None if STANDARD_INPUT in self._files else sum(map(_size, self._files))
        """None when it cannot be known."""

    def read(
        self, on_progress: Callable[[int], None] = lambda bytes_: None
    ) -> Iterator[DecisionRecord]:
        """Go through the records; ``on_progress`` is told how many bytes more were read."""
        left = self._wanted.limit
        with ExitStack() as stack:
            # All at once: a log that is rotated meanwhile must not be read twice.
            opened = [(name, _open(name, stack)) for name in self._files]
            for name, file in opened:
                for record in self._records(name, file, on_progress):
                    if left is not None:
                        left -= 1
                        if left < 0:
                            return
                    yield record

    def _records(
        self, name: str, file: BufferedReader, on_progress: Callable[[int], None]
    ) -> Iterator[DecisionRecord]:
        is_piped = name == STANDARD_INPUT
        shown = "standard input" if is_piped else name
        done = number = 0
        try:
            for number, line in enumerate(_lines(decompressed(file)), 1):
                if not is_piped and number % _PROGRESS_LINES == 0:
                    at = file.tell()
                    on_progress(at - done)
                    done = at
                record = self._record(line, f"{shown}:{number}")
                if record is not None:
                    yield record
        except (EOFError, OSError, zlib.error) as error:
            # Such as a compressed file that was cut off.
            why = f"cannot be read from there on: {error}"
            self.passed_over.note_broken(f"{shown}:{number + 1}", why)
        if not is_piped:
            on_progress(file.tell() - done)

    def _record(self, line: bytes | None, where: str) -> DecisionRecord | None:
        passed, wanted = self.passed_over, self._wanted
        if line is None:
            passed.note_broken(where, f"is longer than {MAX_LINE_BYTES:,} bytes")
            return None
        if not line.endswith(b"\n"):
            passed.note_broken(where, "has no end, as a crash leaves it")
            return None
        try:
            record = record_of(line)
            is_wanted_time = wanted.covers(record.time)
        except (RecordsUnreadable, TypeError) as error:
            passed.note_broken(where, error)
            return None
        if record.tenant != wanted.tenant:
            passed.other_tenants += 1
            return None
        if not is_wanted_time:
            passed.other_times += 1
            return None
        return record


def _files(name: str) -> list[str]:
    if name == STANDARD_INPUT:
        return [name]
    found = [str(part) for part in parts(Path(name))]
    if not found:
        raise Failure(
            f"there is no decision log at `{name}`; a server writes one with "
            'telemetry.decision_log = "file"',
            ExitCode.USAGE,
        )
    return found


def _size(name: str) -> int:
    try:
        return Path(name).stat().st_size
    except OSError:
        # Opening it will say what is wrong.
        return 0


def _open(name: str, stack: ExitStack) -> BufferedReader:
    if name == STANDARD_INPUT:
        # It is one, though typed as less: only so can be seen whether it is compressed.
        assert isinstance(sys.stdin.buffer, BufferedReader)
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(name).open("rb"))
    except OSError as error:
        raise Failure(f"`{name}` cannot be read: {error.strerror}", ExitCode.USAGE) from error


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """Go through the lines; None stands for one that is too long to be kept."""
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None
