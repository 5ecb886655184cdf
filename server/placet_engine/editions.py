"""What decides a tenant's requests: one program, or two while a rollout is under way."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum

from placet_engine.changes import ItemSet
from placet_engine.compiled_items import CompiledItems
from placet_engine.compiling import Compilation, Compiler
from placet_engine.items import Revision
from placet_engine.model import EntityUid
from placet_engine.program import Program
from placet_engine.rollouts.choosing import is_chosen, subject_key
from placet_engine.rollouts.plan import CanaryUnit
from placet_engine.rollouts.record import Rollout


class Variant(StrEnum):
    """Which of two programs decided, as decisions say it."""

    ONLY = ""
    """There is no other."""
    STABLE = "stable"
    CANDIDATE = "candidate"


class Role:
    """A program, and what it is at this time. Immutable."""

    __slots__ = ("key", "program", "variant")

    def __init__(self, program: Program, variant: Variant) -> None:
        self.program = program
        self.variant = variant
        self.key: tuple[Revision, Variant] = (program.revision, variant)
        """Equal only for roles whose decisions are the same, word for word."""


class Edition:
    """What decides a tenant's requests until something changes. Immutable.

    Args:
        stable: decides for those whom the candidate does not reach.
        candidate: the other program of a rollout, if one is under way and its candidate compiled.
        rollout: that rollout.
        node: the name of who decides, for rollouts that go by node.
    """

    __slots__ = ("_everybody", "candidate", "key", "rollout", "stable")

    def __init__(
        self,
        stable: Program,
        candidate: Program | None = None,
        rollout: Rollout | None = None,
        *,
        node: str = "",
    ) -> None:
        self.rollout = rollout
        is_split = candidate is not None and rollout is not None and rollout.state.is_deciding
        self.stable = Role(stable, Variant.STABLE if is_split else Variant.ONLY)
        self.candidate = None if candidate is None else Role(candidate, Variant.CANDIDATE)
        self.key: Hashable = stable.revision
        """What exact requests are remembered by: the same request finds the same role."""
        self._everybody: Role | None = self.stable
        if is_split:
            assert rollout is not None
            self.key = (
                stable.revision,
                rollout.candidate_revision,
                rollout.share_percent,
                rollout.seed,
            )
            self._everybody = self._for_all(rollout, node)

    def _for_all(self, rollout: Rollout, node: str) -> Role | None:
        """Return the role that decides for every subject; None where it depends on them."""
        share = rollout.share_percent
        if rollout.plan.unit is CanaryUnit.NODE:
            share = 100 if is_chosen(rollout.seed, node, share) else 0
        return {0: self.stable, 100: self.candidate}.get(share)

    def role_for(self, subject: EntityUid) -> Role:
        """Return what decides for a subject."""
        if self._everybody is not None:
            return self._everybody
        rollout = self.rollout
        assert rollout is not None
        assert self.candidate is not None
        chosen = is_chosen(rollout.seed, subject_key(subject), rollout.share_percent)
        return self.candidate if chosen else self.stable

    @property
    def for_everybody(self) -> Role | None:
        """What decides, if it is the same for every subject."""
        return self._everybody


@dataclass(frozen=True, slots=True)
class Sides:
    """An owner's items as they are, and as a rollout under way would have them."""

    stable: ItemSet
    candidate: ItemSet | None = None
    rollout: Rollout | None = None

    @classmethod
    def of(cls, items: ItemSet) -> Sides:
        """Take an owner's items apart."""
        return cls(items, items.candidate(), items.rollout_under_way)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledEdition:
    """What compiling both sides came to."""

    stable: Compilation
    candidate: Compilation | None = None
    rollout: Rollout | None = None
    rollout_owner: str = field(default="")

    def edition(self, *, node: str) -> Edition | None:
        """Return what decides now; None when the stable side does not compile."""
        if self.stable.program is None:
            return None
        program = self.candidate.program if self.candidate is not None else None
        return Edition(self.stable.program, program, self.rollout, node=node)


def compile_edition(
    compiler: Compiler, platform: Sides, own: Sides, base: CompiledItems | None = None
) -> CompiledEdition:
    """Compile what applies to one tenant, with the candidate of a rollout that is under way.

    A rollout of the tenant's own goes first: while one is under way, a rollout of the platform's
    reaches the tenant when it is completed, not before. So there are never more than two programs.

    Args:
        compiler: does it.
        platform: what applies to all tenants.
        own: the tenant's.
        base: the tenant's items as compiled before, to save work.
    """
    stable = compiler.compile(platform.stable, own.stable, base)
    if own.candidate is not None:
        candidate = compiler.compile(platform.stable, own.candidate, stable.own)
        rollout, owner = own.rollout, own.stable.owner
    elif platform.candidate is not None:
        candidate = compiler.compile(platform.candidate, own.stable, stable.own)
        rollout, owner = platform.rollout, platform.stable.owner
    else:
        return CompiledEdition(stable=stable)
    return CompiledEdition(stable=stable, candidate=candidate, rollout=rollout, rollout_owner=owner)
