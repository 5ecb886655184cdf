"""What a caller gets to a request, how two such answers differ, and which policies are why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from placet import Decision, DecisionError
from placet.cli.replay.names import PolicyName, names_of, names_recorded
from placet_engine.model import Cause, Outcome, Undecidable, Verdict
from placet_server.telemetry.decision_log.records import DecisionRecord

NO_ANSWER = "NO_ANSWER"
"""Stands where an outcome would, for a request that cannot be decided."""


class Answer(NamedTuple):
    """What a caller gets, as far as it can be compared."""

    outcome: str
    """Of the engine's outcomes, or :data:`NO_ANSWER`."""
    cause: str
    """The rule of precedence, or the reason why there is no answer."""
    reasons: tuple[PolicyName, ...] = ()
    messages: tuple[str, ...] = ()
    """What the reasons say to people."""
    obligations: tuple[str, ...] = ()
    approval_groups: tuple[str, ...] = ()
    errors: tuple[PolicyName, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the form programs read."""
        return {
            "outcome": self.outcome,
            "cause": self.cause,
            "reasons": [
                {**name._asdict(), "message": message}
                for name, message in zip(self.reasons, self.messages, strict=True)
            ],
            "obligations": list(self.obligations),
            "approval_groups": list(self.approval_groups),
            "errors": [name._asdict() for name in self.errors],
        }


def answer_of(found: Verdict | Undecidable | Decision | DecisionError) -> Answer:
    """Return what comes of what the engine found here, or of what a server said."""
    if isinstance(found, Undecidable | DecisionError):
        return Answer(NO_ANSWER, found.reason)
    return Answer(
        outcome=found.outcome.name,
        cause=found.cause.name,
        reasons=names_of(found.reasons),
        messages=tuple(reason.message for reason in found.reasons),
        obligations=found.obligations,
        approval_groups=found.approval_groups,
        errors=names_of(found.errors),
    )


def answer_recorded(record: DecisionRecord) -> Answer:
    """Return what was answered at the time. Approval groups are not recorded.

    Raises:
        KeyError, TypeError: the record is not what it seems.
    """
    return Answer(
        outcome=Outcome[record.outcome].name,
        cause=Cause[record.cause].name,
        reasons=names_recorded(record.reasons),
        messages=tuple(reason["message"] for reason in record.reasons),
        obligations=tuple(record.obligations),
        errors=names_recorded(record.errors),
    )


# ----------------------------------------------------------------------------- differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How the candidate's answer differs from today's."""

    before: str
    after: str
    """Outcomes, as in :class:`Answer`."""
    what: tuple[str, ...]
    """``outcome``; or else the parts that differ of ``obligations``, ``approval_groups``,
    ``errors``, ``reasons`` and ``messages``."""
    policies: tuple[PolicyName, ...]
    """Those behind it; none when it is the schema or the settings that refuse a request."""
    allows_more: bool
    """Whether it is allowed sooner, or with fewer obligations."""
    denies_more: bool
    """Whether it is allowed later or not at all, or with more obligations."""
    fails_more: bool
    """Whether a policy fails that did not, or there is no answer where there was one."""


def change(before: Answer, after: Answer, states: Mapping[PolicyName, str]) -> Change | None:
    """Compare two answers; None when they say the same.

    Args:
        before: by the policies of today.
        after: by those with the candidate.
        states: the policies that differ between the two.
    """
    if before == after:
        return None
    step = _STRICTNESS[after.outcome] - _STRICTNESS[before.outcome]
    # A caller that does not understand an obligation has to deny.
    had, has = set(before.obligations), set(after.obligations)
    stays_open = step == 0 and after.outcome != Outcome.DENY.name
    return Change(
        before=before.outcome,
        after=after.outcome,
        what=tuple(_differing(before, after)),
        policies=responsible(before, after, states.keys()),
        allows_more=step < 0 or (stays_open and bool(had - has)),
        denies_more=step > 0 or (stays_open and bool(has - had)),
        fails_more=bool(set(after.errors) - set(before.errors))
        or (after.outcome == NO_ANSWER and before.outcome != NO_ANSWER),
    )


def _differing(before: Answer, after: Answer) -> Iterator[str]:
    if before.outcome != after.outcome:
        yield "outcome"
        return
    for name in ("obligations", "approval_groups", "errors"):
        if getattr(before, name) != getattr(after, name):
            yield name
    if before.reasons != after.reasons or before.cause != after.cause:
        yield "reasons"
    elif before.messages != after.messages:
        yield "messages"


_STRICTNESS = {
    Outcome.ALLOW.name: 0,
    Outcome.REQUIRES_APPROVAL.name: 1,
    Outcome.DENY.name: 2,
    NO_ANSWER: 2,
}


def responsible(before: Answer, after: Answer, edited: Set[PolicyName]) -> tuple[PolicyName, ...]:
    """Return the policies that made an answer another one.

    A policy has a part in an answer when it is a reason for it, or fails. Those that have a part
    in one of the two answers only are behind the difference, and first of them those of the side
    whose rule is the stronger: where a forbid has come or gone, the permits that come or go with
    it are a consequence. What was edited explains more than what was not; so a policy that has a
    part in both answers and was edited comes before one that has a part in only one of them and
    was not, as it happens when entities change.
    """
    if NO_ANSWER in (before.outcome, after.outcome):
        return ()
    old, new = {*before.reasons, *before.errors}, {*after.reasons, *after.errors}
    gone, come = old - new, new - old
    weight = _WEIGHTS[after.cause] - _WEIGHTS[before.cause]
    first = come if weight > 0 else gone if weight < 0 else gone | come
    for suspects in (first & edited, (gone | come) & edited, (old & new) & edited, first):
        if suspects:
            return tuple(sorted(suspects))
    return tuple(sorted(gone | come or old | new))


_WEIGHTS = {
    Cause.FORBIDDEN.name: 3,
    Cause.FORBID_ERROR.name: 3,
    Cause.PERMITTED.name: 2,
    Cause.APPROVED.name: 1,
    Cause.APPROVAL_NEEDED.name: 1,
    Cause.NO_PERMIT.name: 0,
}
