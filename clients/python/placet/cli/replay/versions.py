"""The two policy sets that answer: the stable one, and what it would be with the candidate.

Both are compiled in this process, by the engine that servers run. Needs the extra `local`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from placet.cli.compiling import TENANT, checked, item_sets, to_engine
from placet.cli.contents import Documents
from placet.cli.findings import Finding
from placet.cli.replay.names import PolicyName
from placet_engine.changes import ItemSet, diff, resolve
from placet_engine.compiling import Compilation, Compiler
from placet_engine.items import PLATFORM, ItemKind, Revision
from placet_engine.precedence import EffectivePolicy
from placet_engine.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What would be published, and how."""

    documents: Documents
    replaces_all: bool
    """Whether what is not in it goes, as when a folder is pushed."""
    owner: str | None = None
    """Whose it is: a tenant's, or the platform's. None: the layers of its policies say."""

    def parts(self) -> Sequence[tuple[str, Documents]]:
        """Return what it has for whom."""
        if self.owner is not None:
            return [(self.owner, self.documents)]
        return list(zip((PLATFORM, TENANT), self.documents.by_owner(), strict=True))


@dataclass(frozen=True, slots=True)
class Sets:
    """All that applies to a tenant: the platform's items and its own."""

    platform: ItemSet
    own: ItemSet

    @classmethod
    def of(cls, documents: Documents) -> Sets:
        """Return what documents come to when nothing else was published.

        Raises:
            FilesRefused: they break a rule.
        """
        return cls(*item_sets(documents))

    def applying(self, candidate: Candidate) -> Sets:
        """Return the sets with a candidate published.

        Raises:
            FilesRefused: its documents break a rule.
        """
        sets = self
        for owner, documents in candidate.parts():
            current = sets.platform if owner == PLATFORM else sets.own
            change_set = to_engine(documents, owner, replace_all=candidate.replaces_all)
            edits, _ = resolve(change_set, current)
            if edits:
                edited = current.editing(edits, Revision(current.revision + 1))
                is_platform = owner == PLATFORM
                sets = Sets(edited, sets.own) if is_platform else Sets(sets.platform, edited)
        return sets


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Sets, compiled."""

    sets: Sets
    program: Program
    compilation: Compilation
    warnings: Sequence[Finding]
    """What is doubtful about them."""


class Compiling:
    """Compiles sets that have much in common: what is the same in two is done once."""

    def __init__(self) -> None:
        self._compiler = Compiler()

    def version(self, sets: Sets, documents: Documents, base: Version | None = None) -> Version:
        """Compile.

        Args:
            sets: what to compile.
            documents: what of it stands in files, to say where something is wrong.
            base: what to begin from.

        Raises:
            FilesRefused: it does not compile.
        """
        begin = base.compilation.own if base is not None else None
        compilation = self._compiler.compile(sets.platform, sets.own, begin)
        program, warnings = checked(compilation, documents)
        return Version(sets=sets, program=program, compilation=compilation, warnings=warnings)


class Versions:
    """Two versions, and how they differ."""

    def __init__(self, stable: Version, candidate: Version) -> None:
        self.stable = stable.program
        self.candidate = candidate.program
        pairs = (
            (stable.sets.platform, candidate.sets.platform),
            (stable.sets.own, candidate.sets.own),
        )
        keys = [change.key for before, after in pairs for change in diff(before, after)]
        self.only_policies_differ = all(key.kind in _POLICIES for key in keys)
        """Whether entities, schema and settings are the same."""
        self.states = _states(self.stable, self.candidate)
        """The policies that differ: each was ``added``, ``removed`` or ``changed``."""


_POLICIES = frozenset({ItemKind.POLICY, ItemKind.TEMPLATE_LINK})


def _states(stable: Program, candidate: Program) -> Mapping[PolicyName, str]:
    before, after = _policies(stable), _policies(candidate)
    states = dict.fromkeys(before.keys() - after.keys(), "removed")
    states |= dict.fromkeys(after.keys() - before.keys(), "added")
    for name in before.keys() & after.keys():
        # Not the texts: comments and white space decide nothing.
        if before[name].parsed.json_text != after[name].parsed.json_text:
            states[name] = "changed"
    return states


def _policies(program: Program) -> Mapping[PolicyName, EffectivePolicy]:
    return {PolicyName(policy.layer.name, policy.id): policy for policy in program.policies}
