"""How a verdict came about, and what would have led to another, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from placet_engine.entities import EntitySlice
from placet_engine.model import Cause, Effect, Layer, Outcome, Verdict
from placet_engine.precedence import EffectivePolicy, FailedPolicy, decide


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVerdict:
    """What came of one layer."""

    layer: Layer
    matched: tuple[EffectivePolicy, ...]
    failed: tuple[FailedPolicy, ...]
    outcome: Outcome
    """What it says on its own."""
    unmet: tuple[EffectivePolicy, ...]
    """Permits that count and are about the request, but whose conditions did not hold."""
    policies: int
    """How many of its policies apply to the tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a verdict came about."""

    steps: tuple[str, ...]
    """The rules of precedence in the order they were applied, as sentences."""
    would_change: tuple[str, ...]
    """What would have led to another outcome, so far as that is cheap to know, as sentences."""
    verdict: Verdict
    layers: tuple[LayerVerdict, ...]
    slice: EntitySlice


def steps(verdict: Verdict, layers: Sequence[LayerVerdict]) -> Iterator[str]:
    """Tell the rules of precedence in the order they were applied."""
    for layer in layers:
        counting = [policy for policy in layer.matched if policy.counts]
        matched = ", ".join(_effect_and_id(policy) for policy in counting)
        yield (
            f"layer {layer.layer.name.lower()}: {_counted(layer.policies, 'policy', 'policies')}, "
            f"{len(counting)} matched{': ' if matched else ''}{matched}"
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


def _effect_and_id(policy: EffectivePolicy) -> str:
    return f"{policy.parsed.effect.name.lower()} `{policy.id}`"


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

# ------------------------------------------------------------------------ what would change


def would_change(
    verdict: Verdict, layers: Sequence[LayerVerdict], *, approved: bool
) -> Iterator[str]:
    """Tell what would have led to another outcome.

    Args:
        verdict: what was decided.
        layers: what each layer came to.
        approved: whether the request carried a valid permit of a person.
    """
    matched = [policy for layer in layers for policy in layer.matched if policy.counts]
    failed = [each for layer in layers for each in layer.failed if each.policy.counts]
    permits = [policy for policy in matched if policy.parsed.effect is Effect.PERMIT]
    forbids = [policy for policy in matched if policy.parsed.effect is Effect.FORBID]
    broken = [each.policy for each in failed if each.policy.parsed.effect is Effect.FORBID]
    match verdict.cause:
        case Cause.NO_PERMIT:
            yield from _missing([policy for layer in layers for policy in layer.unmet], failed)
        case Cause.FORBIDDEN:
            left = decide(permits, failed, approved=approved)
            yield f"without {_listed(forbids)}: {_said(left)}"
        case Cause.FORBID_ERROR:
            left = decide(permits, [], approved=approved)
            yield f"if {_listed(broken)} could be evaluated and did not match: {_said(left)}"
        case Cause.APPROVAL_NEEDED:
            groups = " or ".join(f"`{group}`" for group in verdict.approval_groups)
            yield f"with an approval by {groups}: allow"
        case Cause.APPROVED:
            yield f"without the approval: {_said(decide(permits, failed, approved=False))}"
        case Cause.PERMITTED:
            free = [policy for policy in permits if not policy.parsed.approval_groups]
            left = decide(
                [policy for policy in permits if policy not in free], failed, approved=approved
            )
            yield f"without {_listed(free)}: {_said(left)}"


def _missing(unmet: Sequence[EffectivePolicy], failed: Sequence[FailedPolicy]) -> Iterator[str]:
    if failed:
        broken = [failure.policy for failure in failed]
        yield f"if this could be evaluated, and matched: {_listed(broken)}"
    if unmet:
        yield f"if a condition held that is false: that of {_listed(unmet)}"
    if not (failed or unmet):
        yield "with a permit about this subject, action and resource: there is none"


_MOST_LISTED = 5


def _listed(policies: Sequence[EffectivePolicy]) -> str:
    shown = ", ".join(_effect_and_id(policy) for policy in policies[:_MOST_LISTED])
    more = len(policies) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def _said(verdict: Verdict) -> str:
    outcome = verdict.outcome.name.lower().replace("_", " ")
    return f"{outcome}, for no permit matched" if verdict.cause is Cause.NO_PERMIT else outcome
