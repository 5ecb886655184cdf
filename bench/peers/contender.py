"""What a system has to be able to do to be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bench.links import Connection
from bench.measure import Context
from bench.peers.corpus import Case


@dataclass(frozen=True, slots=True)
class Calls:
    """One way to ask a running system: for one case a call, or for several."""

    connect: Callable[[int], Connection]
    """Makes a connection that keeps every so many answers."""
    body: Callable[[Sequence[Case]], bytes]
    """Cases as they go onto the wire."""
    allowed: Callable[[bytes], list[bool]]
    """An answer's decisions, in the order of the cases.

    Raises:
        WrongAnswer: the answer is not one.
    """
    connections: int = 4


@dataclass(frozen=True, slots=True)
class Contestant:
    """A system that runs with the corpus's policies."""

    name: str
    address: str
    pid: int
    single: Calls
    batch: Calls | None = None


class Contender(Protocol):
    """A system that can be started."""

    name: str

    def running(self, context: Context) -> AbstractContextManager[Contestant]:
        """Run it with the corpus's policies for the length of the block.

        Raises:
            CannotStart: it is not here, and why.
        """
