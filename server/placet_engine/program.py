"""A tenant's policies, compiled: judges requests and explains how.

A program is immutable and holds everything a decision needs, parsed: Cedar's
policy set and schema as handles, entities as a graph.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import cedarpy

from placet_engine import native
from placet_engine.entities import (
    EntityGraph,
    MergedEntities,
    Reached,
    entity_text,
    references,
    to_json_text,
)
from placet_engine.explaining import Explanation, LayerVerdict, steps, would_change
from placet_engine.items import Revision, Settings
from placet_engine.model import (
    Attributes,
    Cause,
    Effect,
    Entity,
    EntityUid,
    Layer,
    LogOnlyReport,
    Request,
    Undecidable,
    Verdict,
)
from placet_engine.native import Unread
from placet_engine.policy_index import Bucket, PolicyIndex
from placet_engine.precedence import EffectivePolicy, FailedPolicy, decide, to_reasons
from placet_engine.projecting import project, whole
from placet_engine.schemas import CompiledSchema
from placet_engine.scopes import keys_of
from placet_engine.slices import Slice, SliceCache

if TYPE_CHECKING:
    from placet_native import Asked


class Question:
    """A request to a program, and the policies that could be about it."""

    __slots__ = ("_entities", "_graph", "_request", "asked", "slice")

    def __init__(
        self,
        request: Request | Unread,
        slice_: Slice,
        graph: EntityGraph,
        asked: Asked | None = None,
    ) -> None:
        self.slice = slice_
        self.asked = asked
        """The request as the native path has it, if that is used."""
        self._request = request
        self._graph = graph
        self._entities: MergedEntities | None = None

    @property
    def request(self) -> Request:
        """What is asked."""
        if isinstance(self._request, Unread):
            self._request = self._request.read()
        return self._request

    @property
    def approved(self) -> bool:
        """Whether a valid permit came with the request."""
        # One with a permit is read in Python.
        return not isinstance(self._request, Unread) and self._request.approved

    @property
    def entities(self) -> MergedEntities:
        """What is known: the request's entities under those that are stored."""
        if self._entities is None:
            self._entities = self._graph.merged_with(self.request.entities)
        return self._entities

    def reach(self) -> Reached:
        """Return the entities the policies can get at."""
        request = self.request
        starts = [request.subject, request.action, request.resource, *self.slice.literals]
        goes_on = self.slice.reads.goes_on
        if request.context and goes_on:
            starts.extend(references(request.context))
        return self.entities.reach(starts, goes_on=goes_on)


class _Cedars:
    """Puts questions in Cedar's form. Those of a batch mostly share subject, action and context."""

    def __init__(self) -> None:
        self._context: Attributes = {}
        self._context_text = "{}"
        self._uids: dict[EntityUid, dict[str, str]] = {}

    def __call__(self, question: Question) -> dict[str, object]:
        request = question.request
        if request.context is not self._context:
            self._context = request.context
            self._context_text = json.dumps(self._context)
        return {
            "principal": self._uid(request.subject),
            "action": self._uid(request.action),
            "resource": request.resource.to_json(),
            "context": self._context_text,
        }

    def _uid(self, uid: EntityUid) -> dict[str, str]:
        known = self._uids.get(uid)
        if known is None:
            known = self._uids[uid] = uid.to_json()
        return known


class Program:
    """A compiled policy set of one tenant at one revision. Immutable, thread-safe."""

    def __init__(
        self,
        *,
        tenant: str,
        revision: Revision,
        settings: Settings,
        indexes: Sequence[PolicyIndex],
        schema: CompiledSchema | None,
        entities: EntityGraph,
        slices: SliceCache,
    ) -> None:
        self.tenant = tenant
        self.revision = revision
        self.settings = settings
        self.entities = entities
        self._indexes = tuple(indexes)
        self._trees = tuple(index.tree for index in self._indexes)
        self._schema = schema
        self._slices = slices

    @property
    def policies(self) -> tuple[EffectivePolicy, ...]:
        """All policies that apply to the tenant, in no particular order."""
        return tuple(chain.from_iterable(self._indexes))

    def judge(self, request: Request) -> Verdict | Undecidable:
        """Decide one request. An ``Undecidable`` is neither an allow nor a denial."""
        question = self.question(request)
        return question if isinstance(question, Undecidable) else self.answer([question])[0]

    def question(self, request: Request | Unread) -> Question | Undecidable:
        """Choose the policies that could be about a request."""
        question = self._native_question(request)
        if question is not None:
            return question
        if isinstance(request, Unread):
            request = request.read()
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        entities = self.entities.merged_with(request.entities)
        return Question(request, self._slice(request, entities), self.entities)

    def _native_question(self, request: Request | Unread) -> Question | None:
        """Choose the policies natively, if that is used and the request is for it."""
        if native.extension is None or self._schema is not None:
            return None
        asked: Asked | None
        if isinstance(request, Unread):
            asked = request.asked
        else:
            asked = native.extension.read_model(request)
        stored = self.entities.native
        if asked is None or stored is None:
            return None
        buckets = asked.choose(self._trees, stored)
        if buckets is None:
            return None
        return Question(request, self._slices.get(buckets), self.entities, asked)

    def projection(self, question: Question) -> bytes:
        """Return what the verdict can depend on.

        Requests with the same projection get the same verdict from this program.
        """
        if self._schema is not None:
            # Cedar checks the whole request against the schema, whatever policies look at.
            return whole(question.request)
        if question.asked is not None and question.slice.native is not None:
            return question.asked.projection(question.slice.native)
        return project(question.request, question.slice) or whole(question.request)

    def answer(self, questions: Sequence[Question]) -> list[Verdict | Undecidable]:
        """Decide many requests, each as :meth:`judge` does, for less than that costs each."""
        answers: dict[int, Verdict | Undecidable] = {
            place: verdict
            for place, question in enumerate(questions)
            if (verdict := self._native_verdict(question)) is not None
        }
        left = [place for place in range(len(questions)) if place not in answers]
        if len(left) == 1:
            answers[left[0]] = self._judge(questions[left[0]])
        elif left:
            answers.update(self._judge_together(left, [questions[place] for place in left]))
        return [answers[place] for place in range(len(questions))]

    def _native_verdict(self, question: Question) -> Verdict | None:
        """Judge natively; None if that is not used, or the question is not for it."""
        asked = question.asked
        if asked is None:
            return None
        policies, stored = question.slice.native, self.entities.native
        if policies is None or stored is None:
            return None
        places = asked.judge(policies, stored)
        return None if places is None else _by_places(question, places)

    def _judge_together(
        self, places: Sequence[int], questions: Sequence[Question]
    ) -> Iterator[tuple[int, Verdict | Undecidable]]:
        """Judge questions in groups; yield each one's place and answer."""
        groups: defaultdict[int, list[_Group]] = defaultdict(list)
        texts = _Texts()
        for place, question in zip(places, questions, strict=True):
            reached = question.reach()
            of_slice = groups[question.slice.serial]
            group = next((group for group in of_slice if group.takes(reached)), None)
            if group is None:
                group = _Group(question.slice, texts)
                of_slice.append(group)
            group.add(place, question, reached)
        for group in chain.from_iterable(groups.values()):
            yield from self._judge_group(group)

    def explain(self, request: Request) -> Explanation | Undecidable:
        """Decide one request and show the work. Costs several evaluations."""
        question = self.question(request)
        if isinstance(question, Undecidable):
            return question
        reached = question.reach()
        verdict = self._judge(question)
        if isinstance(verdict, Undecidable):
            return verdict
        counts = Counter(policy.layer for policy in self.policies)
        layers = tuple(
            self._layer_verdict(layer, question, reached, policies=counts[layer])
            for layer in sorted(counts)
        )
        return Explanation(
            verdict=verdict,
            layers=layers,
            slice=question.entities.slice(reached),
            steps=tuple(steps(verdict, layers)),
            would_change=tuple(would_change(verdict, layers, approved=request.approved)),
        )

    def action_uids(self) -> frozenset[EntityUid]:
        """Return the actions there are: those of the schema, or else those policies name."""
        if self._schema is None:
            return frozenset(uid for policy in self.policies for uid in policy.parsed.actions)
        return frozenset(self._schema.action_parents)

    def _refusal(self, request: Request) -> Undecidable | None:
        """Refuse what Cedar would take but the tenant does not."""
        if self.settings.allow_empty_ids:
            return None
        if not (request.subject.id and request.action.id and request.resource.id):
            named = {
                "subject.id": request.subject,
                "action.name": request.action,
                "resource.id": request.resource,
            }
            empty = next(field for field, uid in named.items() if not uid.id)
            return Undecidable("EMPTY_ID", f"`{empty}` is empty; name the entity", empty)
        for entity in request.entities:
            if not all(uid.id for uid in (entity.uid, *entity.parents)):
                message = f"`{entity.uid}` has an empty id, or a parent that has; name it"
                return Undecidable("EMPTY_ID", message, "entities")
        return None

    def _slice(self, request: Request, entities: MergedEntities) -> Slice:
        """Choose the policies whose scope the request may match."""
        subject, action, resource = request.subject, request.action, request.resource
        more = self._schema.action_parents if self._schema is not None else None
        principals = keys_of(subject, entities.ancestors(subject))
        actions = keys_of(action, entities.ancestors(action, more))
        resources = keys_of(resource, entities.ancestors(resource))
        buckets: list[Bucket] = []
        for index in self._indexes:
            buckets += index.select(principals, actions, resources)
        return self._slices.get(buckets)

    def _judge(self, question: Question) -> Verdict | Undecidable:
        reached = question.reach()
        (answer,) = self._ask(question.slice.enforced, [question], _text(reached))
        return self._verdict(answer, question, reached)

    def _judge_group(self, group: _Group) -> Iterator[tuple[int, Verdict | Undecidable]]:
        """Judge questions together; yield each one's place and answer."""
        if group.slice.with_log_only is not None:
            for place, question in zip(group.places, group.questions, strict=True):
                yield place, self._judge(question)
            return
        asked = self._ask(group.slice.enforced, group.questions, group.text)
        for place, question, answer in zip(group.places, group.questions, asked, strict=True):
            verdict = self._verdict(answer, question, group.reached)
            if isinstance(verdict, Undecidable):
                # Perhaps for what another of them sent along.
                verdict = self._judge(question)
            yield place, verdict

    def _verdict(
        self, answer: cedarpy.AuthzResult, question: Question, reached: Reached
    ) -> Verdict | Undecidable:
        diagnostics = answer.diagnostics
        if answer.decision is cedarpy.Decision.NoDecision:
            return _undecidable(diagnostics.errors)
        chosen, approved = question.slice, question.approved
        if chosen.with_log_only is not None:
            verdict = decide(*_determining(answer, chosen), approved=approved)
            (shadow,) = self._ask(chosen.with_log_only, [question], _text(reached))
            # What one set could be asked, the other can be.
            return _with_report(verdict, _determining(shadow, chosen), approved=approved)
        if diagnostics.errors:
            return decide(*_determining(answer, chosen), approved=approved)
        return _by_places(question, tuple(diagnostics.reasons))

    def _layer_verdict(
        self, layer: Layer, question: Question, reached: Reached, *, policies: int
    ) -> LayerVerdict:
        """Ask for each effect alone: Cedar hides matching permits behind a forbid."""
        matched: list[EffectivePolicy] = []
        failed: list[FailedPolicy] = []
        for effect in Effect:
            part = question.slice.policy_set(partial(_is_of, layer, effect))
            (answer,) = self._ask(part, [question], _text(reached))
            # What the whole set could be asked, each part of it can be.
            assert answer.decision is not cedarpy.Decision.NoDecision
            found = _determining(answer, question.slice)
            matched.extend(found[0])
            failed.extend(found[1])
        met = {id(policy) for policy in (*matched, *(failure.policy for failure in failed))}
        permits = filter(partial(_is_of, layer, Effect.PERMIT), question.slice.policies)
        unmet = (policy for policy in permits if policy.counts and id(policy) not in met)
        own = decide(
            [policy for policy in matched if policy.counts],
            [failure for failure in failed if failure.policy.counts],
            approved=question.request.approved,
        )
        return LayerVerdict(
            layer=layer,
            outcome=own.outcome,
            matched=tuple(sorted(matched, key=lambda policy: policy.id)),
            failed=tuple(sorted(failed, key=lambda failure: failure.policy.id)),
            unmet=tuple(sorted(unmet, key=lambda policy: policy.id)),
            policies=policies,
        )

    def _ask(
        self, policies: cedarpy.PolicySet, questions: Sequence[Question], text: str
    ) -> list[cedarpy.AuthzResult]:
        """Put questions to Cedar that can share their entities."""
        schema = self._schema.handle if self._schema is not None else None
        entities: str | cedarpy.Entities = text
        if len(questions) > 1 and text != "[]":
            # Asked with the text, Cedar says what is wrong with it.
            with contextlib.suppress(ValueError):
                entities = cedarpy.Entities.from_json_str(text, schema)
        return cedarpy.is_authorized_batch(
            list(map(_Cedars(), questions)), policies, entities, schema
        )


def _text(reached: Reached) -> str:
    """Return Cedar's entities document of what was reached."""
    return to_json_text(entity for entity in reached.values() if entity is not None)


class _Group:
    """Questions about one slice whose entities can be given to Cedar together.

    They can unless two of them know different things about one entity, be it only that one of
    them does not know it.
    """

    def __init__(self, slice_: Slice, texts: _Texts) -> None:
        self.slice = slice_
        self.reached: Reached = {}
        self._texts = texts
        self.places: list[int] = []
        self.questions: list[Question] = []

    def takes(self, reached: Reached) -> bool:
        """Whether what a question reaches is at one with what is here."""
        for uid, entity in reached.items():
            known = self.reached.get(uid, _UNKNOWN)
            if known is entity or known is _UNKNOWN:
                continue
            # By their text: Python takes `True` for `1`.
            if known is None or entity is None or self._texts[known] != self._texts[entity]:
                return False
        return True

    def add(self, place: int, question: Question, reached: Reached) -> None:
        """Add a question, with its place among those that were asked."""
        self.places.append(place)
        self.questions.append(question)
        for uid, entity in reached.items():
            self.reached.setdefault(uid, entity)

    @property
    def text(self) -> str:
        """Cedar's entities document of them all."""
        known = (entity for entity in self.reached.values() if entity is not None)
        return f"[{','.join(map(self._texts.__getitem__, known))}]"


class _Texts:
    """Entities as Cedar's documents have them, each written once."""

    def __init__(self) -> None:
        # An entry holds its entity, so that no other can have its identity.
        self._known: dict[int, tuple[Entity, str]] = {}

    def __getitem__(self, entity: Entity) -> str:
        known = self._known.get(id(entity))
        if known is None:
            known = self._known[id(entity)] = (entity, entity_text(entity))
        return known[1]


_UNKNOWN = Entity(uid=EntityUid("", ""))
"""Stands for an entity that no question of a group has come upon."""

_REMEMBERED_VERDICTS = 1000


def _determining(
    answer: cedarpy.AuthzResult, chosen: Slice
) -> tuple[list[EffectivePolicy], list[FailedPolicy]]:
    """Return the policies that determine Cedar's answer, and those it could not evaluate."""
    diagnostics = answer.diagnostics
    return (
        [chosen.policies[int(place)] for place in diagnostics.reasons],
        [_failed(message, chosen) for message in diagnostics.errors],
    )


def _by_places(question: Question, places: tuple[str, ...]) -> Verdict:
    """Return the verdict that the policies of these places come to, where none failed.

    Those of one slice match in a few combinations only.
    """
    chosen, approved = question.slice, question.approved
    known = chosen.verdicts.get((places, approved))
    if known is None:
        matched = [chosen.policies[int(place)] for place in places]
        known = decide(matched, (), approved=approved)
        if len(chosen.verdicts) < _REMEMBERED_VERDICTS:
            chosen.verdicts[places, approved] = known
    return known


def _failed(message: str, chosen: Slice) -> FailedPolicy:
    found = _EVALUATION_ERROR.fullmatch(message)
    if found is None:
        raise RuntimeError(f"an evaluation error of an unknown form: {message}")
    return FailedPolicy(chosen.policies[int(found.group(1))], found.group(2))


_EVALUATION_ERROR = re.compile(r"error while evaluating policy `(\d+)`: (.*)", re.DOTALL)


def _is_of(layer: Layer, effect: Effect, policy: EffectivePolicy) -> bool:
    return policy.layer is layer and policy.parsed.effect is effect


def _with_report(
    verdict: Verdict,
    shadow: tuple[list[EffectivePolicy], list[FailedPolicy]],
    *,
    approved: bool,
) -> Verdict:
    """Add what log-only policies would have changed, if they would have."""
    would_be = decide(*shadow, approved=approved)
    if would_be.outcome is verdict.outcome and would_be.obligations == verdict.obligations:
        return verdict
    responsible = [policy for policy in shadow[0] if policy.to_reason() in would_be.reasons]
    if would_be.cause is Cause.FORBID_ERROR:
        failed = (failure.policy for failure in shadow[1])
        responsible = [policy for policy in failed if policy.parsed.effect is Effect.FORBID]
    reasons = to_reasons(policy for policy in responsible if policy.parsed.log_only)
    return replace(verdict, log_only=LogOnlyReport(would_be.outcome, reasons))


# Cedar has no codes for what it refuses; the beginnings of its messages are
# covered by tests so that an upgrade that words them anew is noticed.
_REQUEST_REFUSED = "failed to build request: "
_ENTITIES_REFUSED = re.compile(r"failed to parse entities from:\n.*?\]: (.*)", re.DOTALL)


def _undecidable(messages: Sequence[str]) -> Undecidable:
    """Put Cedar's refusal to evaluate into words. It does so for bad input only."""
    message = "; ".join(messages)
    if message.startswith(_REQUEST_REFUSED):
        return Undecidable("REQUEST_REFUSED", message.removeprefix(_REQUEST_REFUSED))
    entities = _ENTITIES_REFUSED.fullmatch(message)
    if entities is not None:
        return Undecidable("ENTITIES_REFUSED", entities.group(1), "entities")
    return Undecidable("REQUEST_REFUSED", message)
