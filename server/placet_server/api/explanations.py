"""Explanations as messages."""

from __future__ import annotations

from placet.v1 import decision_pb2, evaluate_service_pb2
from placet.wire import entity_to_wire, policy_error_to_wire, position_to_wire, uid_to_wire
from placet_engine.changes import ItemSet
from placet_engine.explaining import Explanation, LayerVerdict
from placet_engine.items import PLATFORM_LAYERS, ItemKey, ItemKind, Policy
from placet_engine.model import NOWHERE
from placet_engine.precedence import EffectivePolicy


def explanation_to_wire(
    explanation: Explanation,
    decision: decision_pb2.Decision,
    *,
    platform: ItemSet,
    own: ItemSet,
) -> evaluate_service_pb2.ExplainResponse:
    """Return an explanation as a message; policies come with their text from the item sets."""
    return evaluate_service_pb2.ExplainResponse(
        decision=decision,
        layers=[
            _layer(verdict, platform if verdict.layer in PLATFORM_LAYERS else own)
            for verdict in explanation.layers
        ],
        entities=[entity_to_wire(entity) for entity in explanation.slice.entities],
        overrides=[
            evaluate_service_pb2.Override(entity=uid_to_wire(uid), attribute=name)
            for uid, name in explanation.slice.overrides
        ],
        steps=explanation.steps,
        would_change=explanation.would_change,
    )


def _layer(verdict: LayerVerdict, source: ItemSet) -> evaluate_service_pb2.LayerVerdict:
    return evaluate_service_pb2.LayerVerdict(
        layer=verdict.layer.value,  # type: ignore[arg-type]  # the numbers are the wire's
        outcome=verdict.outcome.value,  # type: ignore[arg-type]
        matched=[_policy(policy, source) for policy in verdict.matched],
        errors=[policy_error_to_wire(failure.to_error()) for failure in verdict.failed],
        policies=verdict.policies,
        failed=[_policy(failure.policy, source) for failure in verdict.failed],
        unmet=[_policy(policy, source) for policy in verdict.unmet[:_MOST_UNMET]],
        unmet_count=len(verdict.unmet),
    )


_MOST_UNMET = 10


def _policy(policy: EffectivePolicy, source: ItemSet) -> evaluate_service_pb2.MatchedPolicy:
    item = source.items.get(ItemKey(ItemKind.POLICY, policy.template_id or policy.id))
    written = item.body if item is not None and isinstance(item.body, Policy) else None
    message = evaluate_service_pb2.MatchedPolicy(
        policy_id=policy.id,
        effect=policy.parsed.effect.value,  # type: ignore[arg-type]
        layer=policy.layer.value,  # type: ignore[arg-type]
        annotations=policy.parsed.annotations,
        cedar=written.cedar if written else "",
        template_id=policy.template_id,
        counts=policy.counts,
    )
    if written is not None and written.position != NOWHERE:
        message.position.CopyFrom(position_to_wire(written.position))
    return message
