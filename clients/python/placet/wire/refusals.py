"""What is said of a message that cannot be worked on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is not as it has to be."""

    field: str
    message: str


class Malformed(ValueError):
    """A message that cannot be worked on, with everything that is wrong with it."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"`{bad.field}` {bad.message}" for bad in self.violations))


class ValueRefused(Exception):
    """One value that is not as it has to be; ``path`` leads to it from where it was caught."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message
