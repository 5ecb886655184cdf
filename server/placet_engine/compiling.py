"""From items to a program, or to every problem that stands in the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

from placet_engine import conditions, reads, scopes
from placet_engine.changes import ItemSet
from placet_engine.compiled_items import CompiledItems, compile_items
from placet_engine.findings import Change, find, to_problems
from placet_engine.items import Revision
from placet_engine.model import Problem, Severity
from placet_engine.parsing import PolicyParser
from placet_engine.policy_index import PolicyIndex
from placet_engine.program import Program
from placet_engine.slices import SliceCache


@dataclass(frozen=True, slots=True)
class Compilation:
    """A program, unless there are errors among the problems."""

    program: Program | None
    problems: tuple[Problem, ...]
    own: CompiledItems | None = None
    """What a later state of the same owner can be compiled from."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the set from being used."""
        return tuple(found for found in self.problems if found.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that do not."""
        return tuple(found for found in self.problems if found.severity is Severity.WARNING)


class Compiler:
    """Compiles item sets. Thread-safe.

    Programs share what they have in common: parsed policies, the platform's
    part, and the slices that Cedar was given.
    """

    def __init__(
        self, parser: PolicyParser | None = None, slices: SliceCache | None = None
    ) -> None:
        self._parser = parser or PolicyParser()
        self._slices = slices or SliceCache()
        # The newest first. Two, since a rollout of the platform's has tenants compiled with the
        # stable and with the candidate set in turn.
        self._platforms: tuple[CompiledItems, ...] = ()
        self._lock = threading.Lock()

    def compile(
        self, platform: ItemSet, own: ItemSet, base: CompiledItems | None = None
    ) -> Compilation:
        """Compile what applies to one tenant: the platform's items and its own.

        With ``own`` the platform itself, only the platform's items are
        compiled, as far as they can be without knowing any tenant.

        Args:
            platform: the platform's items.
            own: the tenant's items.
            base: an earlier state of the tenant's. What has not changed since costs nothing.
        """
        is_platform = own.owner == platform.owner
        newest = next(iter(self._platforms), None)
        compiled = compile_items(self._parser, own, newest if is_platform else base)
        problems = compiled.problems
        indexes = list(compiled.indexes.values())
        if not is_platform:
            shared = self._compiled_platform(platform)
            problems = [*_standing_in_the_way(shared), *problems]
            indexes = [*_applying(shared, compiled), *indexes]
        program = None
        if all(found.severity is not Severity.ERROR for found in problems):
            program = Program(
                tenant=own.owner,
                revision=Revision(max(platform.content_revision, own.content_revision)),
                settings=compiled.settings,
                indexes=indexes,
                schema=compiled.schema,
                entities=compiled.entities,
                slices=self._slices,
            )
        return Compilation(program, tuple(problems), compiled)

    def check(
        self,
        platform: ItemSet,
        own: ItemSet,
        base: CompiledItems | None = None,
        *,
        change: Change | None = None,
    ) -> Compilation:
        """Compile as :meth:`compile` does, and look for policies that have no part in decisions.

        Args:
            platform: the platform's items.
            own: the tenant's items.
            base: an earlier state of the tenant's.
            change: what was changed. Warnings are then about what was written, and about others
                only if an edit is to blame.
        """
        compilation = self.compile(platform, own, base)
        compiled = compilation.own
        if compilation.program is None or compiled is None:
            return compilation
        known = compilation.problems
        if change is not None and not change.concerns_all:
            known = tuple(found for found in known if change.is_about(found.subject))
        beside = None if own.owner == platform.owner else self._compiled_platform(platform)
        found = find(compiled, beside, change)
        problems = to_problems(found, own, None if beside is None else platform)
        return replace(compilation, problems=(*known, *problems))

    def forget(self) -> None:
        """Remember nothing of any policy beside what programs are made of.

        What is remembered does not say whose it is. All of it can be made again when it is needed.
        """
        self._parser.forget()
        self._slices.forget()
        for module in (conditions, reads, scopes):
            module.forget()

    def _compiled_platform(self, platform: ItemSet) -> CompiledItems:
        """Compile the platform once for all tenants."""
        with self._lock:
            known = self._platforms
        for compiled in known:
            if compiled.items is platform:
                return compiled
        compiled = compile_items(self._parser, platform, next(iter(known), None))
        with self._lock:
            self._platforms = (compiled, *known[:1])
        return compiled


def _standing_in_the_way(platform: CompiledItems) -> Iterator[Problem]:
    """Go through what is wrong with policies that apply to others as well."""
    return (
        found
        for problems in platform.policy_problems.values()
        for found in problems
        if found.severity is Severity.ERROR
    )


def _applying(platform: CompiledItems, own: CompiledItems) -> Iterator[PolicyIndex]:
    """Go through the platform's policies for a tenant: everybody's, and its jurisdictions'."""
    for place in dict.fromkeys(("", *own.settings.jurisdictions)):
        if place in platform.indexes:
            yield platform.indexes[place]
