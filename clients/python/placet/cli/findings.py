"""What is wrong with files, each finding with its place, gathered so that all are told at once."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from placet import Position


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or doubtful."""

    message: str
    position: Position
    is_warning: bool = False
    reason: str = ""
    """Stable upper-case identifier, where there is one."""


class FilesRefused(Exception):
    """Files that cannot be used, with everything that is wrong with them."""

    def __init__(
        self, findings: Iterable[Finding], texts: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        self.findings = tuple(in_order(findings))
        self.texts = texts or {}
        """For each file as a finding names it: its path as people open it, and its text."""
        super().__init__(
            "; ".join(f"{place(found.position)}: {found.message}" for found in self.findings)
        )


class Findings:
    """Gathers findings while files are read."""

    def __init__(self) -> None:
        self._found: list[Finding] = []

    def refuse(self, message: str, position: Position) -> None:
        """Note something that is wrong."""
        self._found.append(Finding(message, position))

    def finish(self, texts: Mapping[str, tuple[str, str]] | None = None) -> None:
        """Raise :class:`FilesRefused` if anything is wrong."""
        if self._found:
            raise FilesRefused(self._found, texts)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Order findings by their places."""

    def order(finding: Finding) -> tuple[str, int, int]:
        at = finding.position
        return at.file, at.line, at.column

    return sorted(findings, key=order)


def place(position: Position) -> str:
    """Write a place as compilers do: ``file:line:column``."""
    numbers = [str(number) for number in (position.line, position.column) if number]
    return ":".join([position.file, *numbers] if position.file else numbers)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Say what may have been meant, or else everything that could have been."""
    close = difflib.get_close_matches(word, known, 1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"use one of {', '.join(f'`{name}`' for name in known)}"
