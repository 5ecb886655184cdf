"""The types of the extension, which is written in Rust: see ``src/lib.rs``.

None always means "not mine": the Python path is to do it.
"""

from __future__ import annotations

from collections.abc import Mapping

from placet_engine.model import Entity, EntityUid, Request
from placet_engine.policy_index import Bucket, Tree
from placet_engine.reads import Reads

INTERFACE: int
LIMITS: Mapping[str, int]

class Asked:
    """A request that was read."""

    def choose(self, trees: tuple[Tree, ...], stored: Stored) -> list[Bucket] | None:
        """Return the buckets of policies whose scope the request matches."""

    def projection(self, policies: Policies) -> bytes:
        """Return what the verdict by some policies can depend on."""

    def judge(self, policies: Policies, stored: Stored) -> tuple[str, ...] | None:
        """Return the ids of the policies that are satisfied, none of which failed."""

class Policies:
    """The policies of a slice that count, whose ids are their places, as Cedar takes them."""

    def __init__(
        self,
        text: str,
        serial: int,
        literals: tuple[EntityUid, ...],
        reads: Reads,
    ) -> None:
        """Parse policies in Cedar's JSON form.

        Raises:
            ValueError: they are not mine.
        """

class Stored:
    """The entities of a program. They must not change."""

    def __init__(self, entities: Mapping[EntityUid, Entity]) -> None: ...

class Batch:
    """An ``EvaluateBatchRequest`` that was read, its items excepted."""

    @property
    def tenant(self) -> str: ...
    @property
    def min_revision(self) -> int: ...
    @property
    def semantics(self) -> int: ...
    def keys(self) -> list[tuple[bytes, bytes]]:
        """Return for each item bytes that are equal only for requests that ask the same."""

    def request(self, index: int) -> Asked | None:
        """Read an item."""

def read_request(data: bytes) -> tuple[str, int, Asked] | None:
    """Read an ``EvaluateRequest``: its tenant, its ``min_revision`` and what it asks."""

def read_batch(data: bytes) -> Batch | None:
    """Read an ``EvaluateBatchRequest``."""

def read_model(request: Request) -> Asked | None:
    """Read a request."""
