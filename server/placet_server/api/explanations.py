"""Explanations as messages."""

from __future__ import annotations

from placet.v1 import decision_pb2, evaluate_service_pb2
from placet.wire import entity_to_wire, position_to_wire, uid_to_wire
from placet_engine.changes import ItemSet
from placet_engine.items import PLATFORM, ItemKey, ItemKind, Policy
from placet_engine.model import NOWHERE, Layer
from placet_engine.precedence import EffectivePolicy
from placet_engine.program import Explanation, LayerVerdict

_PLATFORM_LAYERS = (Layer.PLATFORM, Layer.JURISDICTION)


def explanation_to_wire(
    explanation: Explanation,
    decision: decision_pb2.Decision,
    *,
    platform: ItemSet,
    own: ItemSet,
) -> evaluate_service_pb2.ExplainResponse:
    """Return an explanation as a message; policies come with their text from the item sets."""
    sources = {PLATFORM: platform, own.owner: own}
    return evaluate_service_pb2.ExplainResponse(
        decision=decision,
        layers=[_layer(verdict, sources) for verdict in explanation.layers],
        entities=[entity_to_wire(entity) for entity in explanation.slice.entities],
        overrides=[
            evaluate_service_pb2.Override(entity=uid_to_wire(uid), attribute=name)
            for uid, name in explanation.slice.overrides
        ],
        steps=explanation.steps,
    )


def _layer(verdict: LayerVerdict, sources: dict[str, ItemSet]) -> evaluate_service_pb2.LayerVerdict:
    return evaluate_service_pb2.LayerVerdict(
        layer=verdict.layer.value,  # type: ignore[arg-type]  # the numbers are the wire's
        outcome=verdict.outcome.value,  # type: ignore[arg-type]
        matched=[_matched(policy, sources) for policy in verdict.matched],
        errors=[
            decision_pb2.PolicyError(
                policy_id=failure.policy.id,
                layer=failure.policy.layer.value,  # type: ignore[arg-type]
                message=failure.message,
            )
            for failure in verdict.failed
        ],
        policies=verdict.policies,
    )


def _matched(
    policy: EffectivePolicy, sources: dict[str, ItemSet]
) -> evaluate_service_pb2.MatchedPolicy:
    owner = PLATFORM if policy.layer in _PLATFORM_LAYERS else max(sources)
    item = sources[owner].items.get(ItemKey(ItemKind.POLICY, policy.template_id or policy.id))
    source = item.body if item is not None and isinstance(item.body, Policy) else None
    message = evaluate_service_pb2.MatchedPolicy(
        policy_id=policy.id,
        effect=policy.parsed.effect.value,  # type: ignore[arg-type]
        layer=policy.layer.value,  # type: ignore[arg-type]
        annotations=policy.parsed.annotations,
        cedar=source.cedar if source else "",
        template_id=policy.template_id,
        counts=policy.counts,
    )
    if source is not None and source.position != NOWHERE:
        message.position.CopyFrom(position_to_wire(source.position))
    return message
