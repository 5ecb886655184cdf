"""A tenant's policies, compiled: judges requests and explains how.

A program is immutable and holds everything a decision needs, parsed: Cedar's
policy set and schema as handles, entities as a graph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cedarpy

from placet_engine.entities import EntityGraph, EntitySlice
from placet_engine.items import Revision, Settings
from placet_engine.model import (
    Cause,
    Effect,
    EntityUid,
    Layer,
    LogOnlyReport,
    Outcome,
    Request,
    Undecidable,
    Verdict,
)
from placet_engine.precedence import EffectivePolicy, FailedPolicy, decide, to_reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVerdict:
    """What one layer says on its own, and all of its policies that matched."""

    layer: Layer
    outcome: Outcome
    matched: tuple[EffectivePolicy, ...]
    failed: tuple[FailedPolicy, ...]
    policies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a verdict came about."""

    verdict: Verdict
    layers: tuple[LayerVerdict, ...]
    slice: EntitySlice
    steps: tuple[str, ...]
    """The rules of precedence in the order they were applied, as sentences."""


class Program:
    """A compiled policy set of one tenant at one revision. Immutable, thread-safe."""

    def __init__(
        self,
        *,
        tenant: str,
        revision: Revision,
        settings: Settings,
        policies: Sequence[EffectivePolicy],
        schema: cedarpy.Schema | None,
        entities: EntityGraph,
    ) -> None:
        self.tenant = tenant
        self.revision = revision
        self.settings = settings
        self.policies = tuple(policies)
        self.entities = entities
        self._schema = schema
        # Sorted, so that explanations list entities in one order everywhere.
        self._literals = sorted(
            {literal for policy in self.policies for literal in policy.parsed.literals}
        )
        self._parts: dict[tuple[Layer, Effect], cedarpy.PolicySet] = {}
        self._enforced = self._policy_set(_counts)
        # What would be enforced if log-only policies counted; none, nothing to ask.
        self._with_log_only = (
            self._policy_set(_would_count)
            if any(policy.parsed.log_only for policy in self.policies)
            else None
        )

    def judge(self, request: Request) -> Verdict | Undecidable:
        """Decide one request. An ``Undecidable`` is neither an allow nor a denial."""
        return self._refusal(request) or self._judge(request, self._slice(request))

    def explain(self, request: Request) -> Explanation | Undecidable:
        """Decide one request and show the work. Costs several evaluations."""
        entity_slice = self._slice(request)
        verdict = self._refusal(request) or self._judge(request, entity_slice)
        if isinstance(verdict, Undecidable):
            return verdict
        layers = tuple(
            self._layer_verdict(layer, request, entity_slice)
            for layer in sorted({policy.layer for policy in self.policies})
        )
        return Explanation(
            verdict=verdict, layers=layers, slice=entity_slice, steps=tuple(_steps(verdict, layers))
        )

    def action_uids(self) -> frozenset[EntityUid]:
        """Return the actions there are: those of the schema, or else those policies name."""
        if self._schema is None:
            return frozenset(uid for policy in self.policies for uid in policy.parsed.actions)
        # With a schema, Cedar adds its actions to any entities it parses.
        declared = json.loads(str(cedarpy.Entities.from_json_str("[]", self._schema)))
        return frozenset(EntityUid(**entity["uid"]) for entity in declared)

    def _refusal(self, request: Request) -> Undecidable | None:
        """Refuse what Cedar would take but the tenant does not."""
        if self.settings.allow_empty_ids:
            return None
        named = {
            "subject.id": request.subject,
            "action.name": request.action,
            "resource.id": request.resource,
        }
        for field, uid in named.items():
            if not uid.id:
                return Undecidable("EMPTY_ID", "is empty; name the entity", field)
        for entity in request.entities:
            if not all(uid.id for uid in (entity.uid, *entity.parents)):
                message = f"`{entity.uid}` has an empty id, or a parent that has; name it"
                return Undecidable("EMPTY_ID", message, "entities")
        return None

    def _slice(self, request: Request) -> EntitySlice:
        return self.entities.slice(request, self._literals)

    def _judge(self, request: Request, entity_slice: EntitySlice) -> Verdict | Undecidable:
        answer = self._ask(self._enforced, request, entity_slice)
        if isinstance(answer, Undecidable):
            return answer
        verdict = decide(*answer, approved=request.approved)
        if self._with_log_only is None:
            return verdict
        shadow_answer = self._ask(self._with_log_only, request, entity_slice)
        if isinstance(shadow_answer, Undecidable):
            return shadow_answer
        return _with_report(verdict, shadow_answer, approved=request.approved)

    def _layer_verdict(
        self, layer: Layer, request: Request, entity_slice: EntitySlice
    ) -> LayerVerdict:
        """Ask for each effect alone: Cedar hides matching permits behind a forbid."""
        matched: list[EffectivePolicy] = []
        failed: list[FailedPolicy] = []
        for effect in Effect:
            answer = self._ask(self._part(layer, effect), request, entity_slice)
            # What the whole set could be asked, each part of it can be.
            assert not isinstance(answer, Undecidable)
            matched.extend(answer[0])
            failed.extend(answer[1])
        own = decide(
            [policy for policy in matched if policy.counts],
            [failure for failure in failed if failure.policy.counts],
            approved=request.approved,
        )
        return LayerVerdict(
            layer=layer,
            outcome=own.outcome,
            matched=tuple(sorted(matched, key=lambda policy: policy.id)),
            failed=tuple(sorted(failed, key=lambda failure: failure.policy.id)),
            policies=sum(policy.layer is layer for policy in self.policies),
        )

    def _part(self, layer: Layer, effect: Effect) -> cedarpy.PolicySet:
        """Return one layer's policies of one effect, built when first asked for.

        Two threads may both build it; they build the same.
        """
        built = self._parts.get((layer, effect))
        if built is None:
            built = self._parts[layer, effect] = self._policy_set(partial(_is_of, layer, effect))
        return built

    def _policy_set(self, takes_part: Callable[[EffectivePolicy], bool]) -> cedarpy.PolicySet:
        """Build Cedar's handle. Within it a policy's id is its place in ``self.policies``.

        Places keep ids of any form out of Cedar's messages, and keep policies
        of two layers apart that have the same id.
        """
        static = ",".join(
            f'"{place}":{policy.parsed.json_text}'
            for place, policy in enumerate(self.policies)
            if takes_part(policy)
        )
        return cedarpy.PolicySet.from_json_str(
            f'{{"staticPolicies":{{{static}}},"templates":{{}},"templateLinks":[]}}',
            release_gil=True,
        )

    def _ask(
        self, policies: cedarpy.PolicySet, request: Request, entity_slice: EntitySlice
    ) -> tuple[list[EffectivePolicy], list[FailedPolicy]] | Undecidable:
        """Ask Cedar which policies determine the answer and which could not be evaluated."""
        result = cedarpy.is_authorized(
            {
                "principal": request.subject.to_json(),
                "action": request.action.to_json(),
                "resource": request.resource.to_json(),
                "context": json.dumps(request.context),
            },
            policies,
            entity_slice.to_json_text(),
            self._schema,
        )
        if result.decision is cedarpy.Decision.NoDecision:
            return _undecidable(result.diagnostics.errors)
        return (
            [self.policies[int(place)] for place in result.diagnostics.reasons],
            [self._failed(message) for message in result.diagnostics.errors],
        )

    def _failed(self, message: str) -> FailedPolicy:
        found = _EVALUATION_ERROR.fullmatch(message)
        if found is None:
            raise RuntimeError(f"an evaluation error of an unknown form: {message}")
        return FailedPolicy(self.policies[int(found.group(1))], found.group(2))


_EVALUATION_ERROR = re.compile(r"error while evaluating policy `(\d+)`: (.*)", re.DOTALL)


def _counts(policy: EffectivePolicy) -> bool:
    return policy.counts


def _is_of(layer: Layer, effect: Effect, policy: EffectivePolicy) -> bool:
    return policy.layer is layer and policy.parsed.effect is effect


def _would_count(policy: EffectivePolicy) -> bool:
    return policy.would_count


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


def _steps(verdict: Verdict, layers: Sequence[LayerVerdict]) -> Iterator[str]:
    """Tell the rules of precedence in the order they were applied."""
    for layer in layers:
        counting = [policy for policy in layer.matched if policy.counts]
        yield (
            f"layer {layer.layer.name.lower()}: {_counted(layer.policies, 'policy', 'policies')}, "
            f"{len(counting)} matched{_ids(counting)}"
        )
        yield from (
            f"`{policy.id}` matched but does not count: {_why_not(policy)}"
            for policy in layer.matched
            if not policy.counts
        )
        yield from (
            f"`{failure.policy.id}` could not be evaluated: {failure.message}"
            for failure in layer.failed
        )
    yield _CONCLUSIONS[verdict.cause]


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _ids(policies: Sequence[EffectivePolicy]) -> str:
    if not policies:
        return ""
    return ": " + ", ".join(
        f"{policy.parsed.effect.name.lower()} `{policy.id}`" for policy in policies
    )


def _why_not(policy: EffectivePolicy) -> str:
    if policy.parsed.log_only:
        return "it is log-only"
    return f"a permit of layer {policy.layer.name.lower()} cannot allow"


_CONCLUSIONS = {
    Cause.PERMITTED: "no forbid matched and a permit did: allow",
    Cause.NO_PERMIT: "no forbid matched and no permit of the tenant or the platform: deny",
    Cause.FORBIDDEN: "a forbid matched, which no permit undoes: deny",
    Cause.FORBID_ERROR: "a forbid could not be evaluated, and doubt denies: deny",
    Cause.APPROVAL_NEEDED: "every permit that matched asks for an approval: requires approval",
    Cause.APPROVED: "every permit that matched asks for an approval, and it was given: allow",
}
