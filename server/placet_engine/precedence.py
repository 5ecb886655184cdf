"""How the policies that matched become an outcome.

For one request, over all layers: a ``forbid`` denies and nothing undoes it; a
``forbid`` that cannot be evaluated denies as well; else a ``permit`` of the
tenant or the platform is needed. If every permit that matched asks for an
approval, and the request does not carry one, the outcome is
``REQUIRES_APPROVAL``. Deny > approval > allow with obligations > allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from placet_engine.model import (
    Cause,
    Effect,
    Layer,
    Outcome,
    PolicyError,
    Reason,
    Verdict,
)
from placet_engine.parsing import ParsedPolicy

# Layers whose permits count. The others can only take away.
PERMITTING_LAYERS = frozenset({Layer.PLATFORM, Layer.TENANT})


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """A policy that takes part in decisions: not a template, or a link of one."""

    id: str
    layer: Layer
    parsed: ParsedPolicy
    template_id: str = ""
    jurisdiction: str = ""
    """Where it applies; empty: everywhere."""

    @property
    def counts(self) -> bool:
        """Whether the policy can have a part in the outcome."""
        return self.would_count and not self.parsed.log_only

    @property
    def would_count(self) -> bool:
        """Whether the policy could have a part in the outcome if it were enforced."""
        return self.parsed.effect is Effect.FORBID or self.layer in PERMITTING_LAYERS

    def to_reason(self) -> Reason:
        """Return the policy as a reason for an outcome."""
        return Reason(self.id, self.layer, self.parsed.message)


@dataclass(frozen=True, slots=True)
class FailedPolicy:
    """A policy and the message of its evaluation error."""

    policy: EffectivePolicy
    message: str

    def to_error(self) -> PolicyError:
        """Return the failure as a decision reports it."""
        return PolicyError(self.policy.id, self.policy.layer, self.message)


def decide(
    matched: Sequence[EffectivePolicy], failed: Sequence[FailedPolicy], *, approved: bool
) -> Verdict:
    """Apply the rules of precedence.

    Args:
        matched: policies that count and matched. When a forbid is among
            them, permits may be missing: they could not change anything.
        failed: policies that count and could not be evaluated.
        approved: whether the request carries a valid permit of a person.
    """
    errors = _errors(failed)
    forbids = [policy for policy in matched if policy.parsed.effect is Effect.FORBID]
    if forbids:
        return Verdict(
            outcome=Outcome.DENY, cause=Cause.FORBIDDEN, reasons=to_reasons(forbids), errors=errors
        )
    if any(failure.policy.parsed.effect is Effect.FORBID for failure in failed):
        return Verdict(outcome=Outcome.DENY, cause=Cause.FORBID_ERROR, errors=errors)
    if not matched:
        return Verdict(outcome=Outcome.DENY, cause=Cause.NO_PERMIT, errors=errors)
    free = [policy for policy in matched if not policy.parsed.approval_groups]
    if free or approved:
        return Verdict(
            outcome=Outcome.ALLOW,
            cause=Cause.PERMITTED if free else Cause.APPROVED,
            reasons=to_reasons(free or matched),
            obligations=_union(policy.parsed.obligations for policy in free or matched),
            errors=errors,
        )
    return Verdict(
        outcome=Outcome.REQUIRES_APPROVAL,
        cause=Cause.APPROVAL_NEEDED,
        reasons=to_reasons(matched),
        obligations=_union(policy.parsed.obligations for policy in matched),
        errors=errors,
        approval_groups=_union(policy.parsed.approval_groups for policy in matched),
    )


def to_reasons(policies: Iterable[EffectivePolicy]) -> tuple[Reason, ...]:
    """Order by layer and id, so that the same decision always reads the same."""
    return tuple(policy.to_reason() for policy in sorted(policies, key=_by_layer_and_id))


def _errors(failed: Iterable[FailedPolicy]) -> tuple[PolicyError, ...]:
    ordered = sorted(failed, key=lambda failure: _by_layer_and_id(failure.policy))
    return tuple(failure.to_error() for failure in ordered)


def _by_layer_and_id(policy: EffectivePolicy) -> tuple[Layer, str]:
    return policy.layer, policy.id


def _union(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({entry for entries in lists for entry in entries}))
