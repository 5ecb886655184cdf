"""What a program leaves out, shares and remembers changes no verdict."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from placet_engine.changes import ItemSet
from placet_engine.compiling import Compiler
from placet_engine.entities import EntityGraph, MergedEntities, Reached
from placet_engine.explaining import LayerVerdict
from placet_engine.items import PLATFORM, Body, Item, ItemKey, Revision
from placet_engine.model import Entity, EntityUid, Request, Undecidable, Verdict
from placet_engine.native import Unread
from placet_engine.policy_index import Bucket, PolicyIndex
from placet_engine.program import Program, Question
from placet_engine.scopes import Key
from placet_engine.slices import SliceCache
from tests.property import strategies
from tests.property.strategies import Case
from tests.unit.engine import make

typed_or_not = pytest.mark.parametrize("typed", [False, True], ids=["no schema", "schema"])


class WholeIndex(PolicyIndex):
    """Finds everything for every request."""

    def select(
        self, principals: Sequence[Key], actions: Sequence[Key], resources: Sequence[Key]
    ) -> list[Bucket]:
        return [tuple(self)]


class WholeEntities(MergedEntities):
    """Reaches everything from anywhere."""

    def reach(self, starts: Iterable[EntityUid], *, goes_on: bool = True) -> Reached:
        return super().reach([*starts, *self._stored, *self._sent])


class WholeGraph(EntityGraph):
    def merged_with(self, sent: Sequence[Entity]) -> MergedEntities:
        return WholeEntities(self._stored, sent)


def compiled(case: Case) -> Program:
    result = Compiler().compile(
        make.item_set(PLATFORM, case.platform), make.item_set(make.TENANT, case.tenant)
    )
    assert result.program is not None, result.problems
    return result.program


class PythonProgram(Program):
    """Leaves nothing to the native path."""

    def _native_question(self, request: Request | Unread) -> Question | None:
        return None


def whole(program: Program) -> Program:
    """Return a program that gives all policies and all entities to Cedar, each time."""
    return PythonProgram(
        tenant=program.tenant,
        revision=program.revision,
        settings=program.settings,
        indexes=[WholeIndex(program.policies)],
        schema=program._schema,
        entities=WholeGraph(program.entities),
        slices=SliceCache(),
    )


def question(program: Program, request: Request) -> Question:
    found = program.question(request)
    assert isinstance(found, Question), found
    return found


@typed_or_not
@settings(max_examples=300)
@given(data=st.data())
def test_sliced_is_unsliced(typed: bool, data: st.DataObject) -> None:
    case = data.draw(
        st.one_of(strategies.cases(typed=typed, approvals=True), strategies.journeys(typed=typed))
    )
    sliced = compiled(case)
    unsliced = whole(sliced)

    for request in case.requests:
        assert sliced.judge(request) == unsliced.judge(request)
        left_out = len(list(sliced.policies)) - len(question(sliced, request).slice.policies)
        event(f"policies left out: {min(left_out, 5)}")


@typed_or_not
@given(data=st.data())
def test_explained_is_explained_unsliced(typed: bool, data: st.DataObject) -> None:
    case = data.draw(strategies.cases(typed=typed, approvals=True))
    sliced = compiled(case)
    unsliced = whole(sliced)

    for request in case.requests:
        explained, other = sliced.explain(request), unsliced.explain(request)
        assert not isinstance(explained, Undecidable)
        assert not isinstance(other, Undecidable)
        assert explained.verdict == other.verdict
        assert list(map(_without_unmet, explained.layers)) == list(
            map(_without_unmet, other.layers)
        )
        assert explained.steps == other.steps


def _without_unmet(layer: LayerVerdict) -> LayerVerdict:
    """Leave out what is known of scopes by slicing alone."""
    return replace(layer, unmet=())


@typed_or_not
@given(data=st.data())
def test_together_is_one_by_one(typed: bool, data: st.DataObject) -> None:
    cases = data.draw(strategies.cases(typed=typed, approvals=True))
    program = compiled(cases)
    # The same entities with other values, which must not be mixed up.
    requests = [*cases.requests, *map(_without_entities, cases.requests), *cases.requests]

    answers = program.answer([question(program, request) for request in requests])

    assert answers == [program.judge(request) for request in requests]


def _without_entities(request: Request) -> Request:
    return Request(
        subject=request.subject,
        action=request.action,
        resource=request.resource,
        context=request.context,
        approved=request.approved,
    )


@typed_or_not
@settings(max_examples=300)
@given(data=st.data())
def test_one_projection_is_one_verdict(typed: bool, data: st.DataObject) -> None:
    """Whatever a projection leaves out has no part in the verdict, errors and all."""
    case = data.draw(
        st.one_of(strategies.cases(typed=typed, approvals=True), strategies.journeys(typed=typed))
    )
    program = compiled(case)
    random_ = data.draw(st.randoms(use_true_random=False))
    verdicts: dict[bytes, Verdict | Undecidable] = {}

    for request in [*case.requests, *(_muddled(case, random_) for _ in range(20))]:
        text = program.projection(question(program, request))
        answer = program.judge(request)
        event(f"seen before: {text in verdicts}")
        assert verdicts.setdefault(text, answer) == answer


def _muddled(case: Case, random_: random.Random) -> Request:
    """Put a request together from parts of several."""

    def some() -> Request:
        return random_.choice(case.requests)

    context = dict(some().context)
    context.update((f"noise{n}", n) for n in range(random_.randrange(3)))
    return Request(
        subject=some().subject,
        action=some().action,
        resource=some().resource,
        context=context,
        entities=some().entities,
        approved=random_.random() < 0.2,
    )


@typed_or_not
@given(data=st.data())
def test_compiled_from_a_base_is_compiled_from_nothing(typed: bool, data: st.DataObject) -> None:
    """Sets that follow each other, each compiled from the one before, as a node does."""
    cases = data.draw(
        st.lists(strategies.cases(typed=typed, approvals=True), min_size=2, max_size=4)
    )
    compiler = Compiler()
    own = make.item_set(make.TENANT, ())
    platform = make.item_set(PLATFORM, ())
    base = None

    for step, case in enumerate(cases):
        own = moved(own, case.tenant, Revision(step + 2))
        platform = moved(platform, case.platform, Revision(step + 2))
        following = compiler.compile(platform, own, base)
        fresh = Compiler().compile(platform, own)
        assert set(following.problems) == set(fresh.problems)
        if fresh.program is None or following.program is None:
            assert following.program is fresh.program
            continue
        base = following.own
        for request in case.requests:
            assert following.program.judge(request) == fresh.program.judge(request)


def moved(items: ItemSet, bodies: Iterable[Body], revision: Revision) -> ItemSet:
    """Return a set of other bodies; an item whose body is the same stays the same object."""
    moved: dict[ItemKey, Item] = {}
    for body in bodies:
        known = items.items.get(body.key)
        is_known = known is not None and known.body == body
        moved[body.key] = (
            known if known is not None and is_known else Item(items.owner, revision, body)
        )
    return ItemSet(owner=items.owner, revision=revision, items=moved)
