"""The types of the extension, which is written in Rust: see ``src/lib.rs``.

None always means "not mine": the Python path is to do it.
"""

from __future__ import annotations

from collections.abc import Mapping

from placet_engine.model import Entity, EntityUid, Request
from placet_engine.policy_index import Bucket, Tree
from placet_engine.reads import Reads

INTERFACE: int

class Asked:
    """A request that was read."""

    def choose(self, trees: tuple[Tree, ...], stored: Stored) -> list[Bucket] | None:
        """Return the buckets of policies whose scope the request matches."""

    def projection(self, policies: Policies) -> bytes:
        """Return what the verdict by some policies can depend on."""

    def judge(self, policies: Policies, stored: Stored) -> tuple[str, ...] | None:
        """Return the ids of the policies that determine Cedar's answer, none of which failed."""

class Policies:
    """The policies of a slice that count, whose ids are their places, as Cedar takes them."""

    def __init__(
        self,
        text: str,
        count: int,
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

def read_model(request: Request) -> Asked | None:
    """Read a request."""
