"""What is told of rollouts: numbers in words, causes, and what to try next."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from placet import (
    Canary,
    Cause,
    ChangedAnswer,
    Decision,
    DecisionError,
    Guard,
    GuardKind,
    GuardReading,
    GuardStatus,
    Layer,
    NodeTally,
    Outcome,
    PolicyError,
    Reason,
    Request,
    RevisionRejection,
    RollbackCause,
    RollbackReport,
    Rollout,
    RolloutState,
)
from placet._requests import Action, Resource, Subject
from placet.cli import rollouts

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def rollout(state: RolloutState = RolloutState.RUNNING, **fields: Any) -> Rollout:
    known: dict[str, Any] = {
        "id": "3f2a",
        "tenant": "acme",
        "plan": Canary(((10, timedelta(minutes=5)), (100, None))),
        "stable_revision": 4,
        "candidate_revision": 5,
        "step": 0,
        "share_percent": 10,
        "seed": 1,
        "create_time": NOW,
        "update_time": NOW,
    }
    return Rollout(state=state, **known | fields)


def reading(kind: GuardKind, measured: float, threshold: float, **fields: Any) -> GuardReading:
    known: dict[str, Any] = {"samples": 1204, "status": GuardStatus.BREACHED}
    return GuardReading(guard=Guard(kind, threshold, 100), measured=measured, **known | fields)


def rolled_back(**fields: Any) -> Rollout:
    report = RollbackReport(time=NOW, step=0, share_percent=10, **fields)
    return rollout(RolloutState.ROLLED_BACK, rollback=report)


def drawn(shown: object) -> str:
    console = Console(file=io.StringIO(), width=160, color_system=None)
    console.print(shown)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


_BREACHES = [
    (
        reading(GuardKind.DENY_RATE_CHANGE, 0.319, 0.05, stable_rate=0.021, candidate_rate=0.34),
        "the guard on denies was breached: the candidate denied 34.0 % of 1,204 requests, the "
        "stable revision 2.1 %; the bound is 5 points",
        "--guard denies=32%",
    ),
    (
        reading(GuardKind.ERROR_RATE, 0.03, 0.005),
        "the guard on errors was breached: the candidate failed on 3.0 % of 1,204 requests with "
        "which the stable revision did not; the bound is 0.5 %",
        "--guard errors=3%",
    ),
    (
        reading(GuardKind.LATENCY, 0.01448, 0.01),
        "the guard on latency was breached: 99 % of 1,204 requests took the candidate up to "
        "14.5 ms each to decide; the bound is 10 ms",
        "--guard latency=15ms",
    ),
    (
        reading(GuardKind.REJECTIONS, 1, 0, samples=1),
        "the guard on rejections was breached: 1 node rejected it; the bound is 0",
        "placet rollout nodes -t acme",
    ),
]


@pytest.mark.parametrize(("breach", "words", "advice"), _BREACHES)
def test_a_breach_is_told_with_its_numbers_and_what_to_try(
    breach: GuardReading, words: str, advice: str
) -> None:
    ended = rolled_back(cause=RollbackCause.GUARD, breach=breach)

    assert ended.rollback is not None
    assert words == rollouts.cause_in_words(ended.rollback)
    assert advice in rollouts.advice(ended)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cause": RollbackCause.PERSON, "actor": "bob"}, "by bob"),
        (
            {"cause": RollbackCause.PERSON, "message": "no"},
            "by somebody who did not say who they are, who says: no",
        ),
        ({"cause": RollbackCause.NOT_APPROVED}, "nobody approved it in time"),
        ({"cause": RollbackCause.UNKNOWN}, "for a reason this version does not know"),
        ({"cause": RollbackCause.GUARD}, "for a reason this version does not know"),
    ],
)
def test_other_causes(fields: dict[str, Any], words: str) -> None:
    ended = rolled_back(**fields)

    assert ended.rollback is not None
    assert words == rollouts.cause_in_words(ended.rollback)
    assert "to try again: " in rollouts.advice(ended)


def decision(outcome: Outcome, *reasons: str, errors: tuple[PolicyError, ...] = ()) -> Decision:
    return Decision(
        outcome=outcome,
        cause=Cause.UNKNOWN,
        reasons=tuple(Reason(reason, Layer.TENANT, "") for reason in reasons),
        errors=errors,
    )


def test_a_report_names_requests_policies_and_nodes() -> None:
    request = Request(
        subject=Subject("User", "eve\x1b[2J"), action=Action("pay"), resource=Resource("Doc", "1")
    )

    def changed(stable: Any, candidate: Any) -> ChangedAnswer:
        return ChangedAnswer(tenant="acme", request=request, stable=stable, candidate=candidate)

    allowed = decision(Outcome.ALLOW, "view")
    broken = PolicyError("typo", Layer.TENANT, "no such attribute")
    ended = rolled_back(
        cause=RollbackCause.GUARD,
        breach=_BREACHES[0][0],
        changed_answers=41,
        examples=(
            changed(allowed, decision(Outcome.DENY, "stop")),
            changed(allowed, decision(Outcome.DENY)),
            changed(allowed, decision(Outcome.DENY, errors=(broken,))),
            changed(DecisionError("bad", code="X"), DecisionError("odd", code="X", reason="ODD")),
            changed(decision(Outcome.DENY), decision(Outcome.DENY)),
        ),
        rejections=(
            RevisionRejection(
                node="edge-1",
                region="eu-west",
                tenant="acme",
                revision=5,
                reason="POLICY_SYNTAX",
                message="this node is older",
                time=NOW,
            ),
        ),
    )

    text = drawn(rollouts.view(ended, NOW))
    rows = [" ".join(line.split()) for line in text.splitlines()]

    assert "41 answers changed; the newest 5:" in rows
    subject = r'User::"eve\u{1b}[2J" pay Doc::"1"'
    for row in (
        f"{subject} ALLOW -> DENY stop",
        f"{subject} ALLOW -> DENY no policy; it was view",
        f"{subject} ALLOW -> DENY typo (fails)",
        f"{subject} NOT DECIDED -> NOT DECIDED ODD odd",
        f"{subject} DENY -> DENY no policy",
        "edge-1 eu-west 5 POLICY_SYNTAX this node is older",
    ):
        assert row in rows, text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"next_step_time": NOW + timedelta(minutes=4, seconds=12)}, "1 of 2, next in 4m 12s"),
        ({"next_step_time": NOW}, "1 of 2, next is due"),
        (
            {
                "next_step_time": NOW,
                "nodes": NodeTally(pending=1),
                "readings": (
                    reading(GuardKind.ERROR_RATE, 0, 0.01, status=GuardStatus.WAITING, samples=3),
                ),
            },
            "1 of 2, waits for samples for errors, 1 node",
        ),
        ({"state": RolloutState.PAUSED}, "held until somebody resumes it"),
        ({"state": RolloutState.AWAITING_APPROVAL}, "waits for an approval"),
    ],
)
def test_what_a_rollout_waits_for(fields: dict[str, Any], text: str) -> None:
    waiting = rollout(**fields)

    assert text in drawn(rollouts.view(waiting, NOW))
    assert text in rollouts.line(waiting)


def test_the_platforms_rollout() -> None:
    mine = rollout(tenant="")

    assert "rollout 3f2a of the platform is running at 10 %, step 1 of 2" == rollouts.summary(mine)
    assert "`placet rollout watch 3f2a --platform`" in rollouts.advice(mine)
