"""The rules of precedence, one row each, over real policies."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from placet_engine.items import Body, Policy, Settings
from placet_engine.model import (
    Cause,
    Effect,
    Layer,
    LogOnlyReport,
    Outcome,
    PolicyError,
    Reason,
    Verdict,
)
from placet_engine.precedence import FailedPolicy, decide
from tests.unit.engine import make

PERMIT = "permit(principal, action, resource);"
FORBID = "forbid(principal, action, resource);"
NOT_PERMIT = "permit(principal, action, resource) when { false };"
NOT_FORBID = "forbid(principal, action, resource) when { false };"
BAD_PERMIT = "permit(principal, action, resource) when { context.nothing };"
BAD_FORBID = "forbid(principal, action, resource) when { context.nothing };"
ERROR = "record does not have the attribute `nothing`"


def approval(groups: str, cedar: str = PERMIT) -> str:
    return f'@approval("{groups}") {cedar}'


def obligation(obligations: str, cedar: str = PERMIT) -> str:
    return f'@obligation("{obligations}") {cedar}'


def log_only(cedar: str) -> str:
    return f'@mode("log_only") {cedar}'


@dataclass(frozen=True, kw_only=True)
class Row:
    """Policies by id (`platform`, `jurisdiction` and `agent` in front of it name another
    layer than the tenant's), and what they come to.
    """

    rule: str
    policies: dict[str, str]
    approved: bool = False
    outcome: Outcome
    cause: Cause
    reasons: list[str] = field(default_factory=list)
    obligations: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


ALLOW, DENY, ASK = Outcome.ALLOW, Outcome.DENY, Outcome.REQUIRES_APPROVAL

ROWS = [
    # ------------------------------------------------------------- nothing, permits, forbids
    Row(
        rule="no policies deny",
        policies={},
        outcome=DENY,
        cause=Cause.NO_PERMIT,
    ),
    Row(
        rule="policies that do not match deny",
        policies={"a": NOT_PERMIT, "b": NOT_FORBID},
        outcome=DENY,
        cause=Cause.NO_PERMIT,
    ),
    Row(
        rule="a permit of the tenant allows",
        policies={"a": PERMIT, "b": NOT_PERMIT, "c": NOT_FORBID},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["a"],
    ),
    Row(
        rule="a permit of the platform allows",
        policies={"platform/a": PERMIT},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["platform/a"],
    ),
    Row(
        rule="every permit that matched is a reason, by layer and then by id",
        policies={"b": PERMIT, "a": PERMIT, "platform/z": PERMIT},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["platform/z", "a", "b"],
    ),
    Row(
        rule="a forbid alone denies, and is told from the lack of a permit",
        policies={"a": FORBID},
        outcome=DENY,
        cause=Cause.FORBIDDEN,
        reasons=["a"],
    ),
    Row(
        rule="every forbid that matched is a reason, by layer and then by id",
        policies={
            "agent/a": FORBID,
            "c": FORBID,
            "b": FORBID,
            "jurisdiction/z": FORBID,
            "platform/z": FORBID,
            "permitted": PERMIT,
        },
        outcome=DENY,
        cause=Cause.FORBIDDEN,
        reasons=["platform/z", "jurisdiction/z", "b", "c", "agent/a"],
    ),
    # ---------------------------------------------------------------- layers, up and down
    *(
        Row(
            rule=f"a forbid of layer {above} is not undone by a permit of layer {below}",
            policies={f"{above}/no": FORBID, f"{below}/yes": PERMIT},
            outcome=DENY,
            cause=Cause.FORBIDDEN,
            reasons=[f"{above}/no"],
        )
        for above, below in itertools.product(
            ("platform", "jurisdiction", "tenant", "agent"), ("platform", "tenant")
        )
    ),
    *(
        Row(
            rule=f"a permit of layer {layer} never allows",
            policies={f"{layer}/yes": PERMIT},
            outcome=DENY,
            cause=Cause.NO_PERMIT,
        )
        for layer in ("jurisdiction", "agent")
    ),
    *(
        Row(
            rule=f"a permit of layer {layer} does not spare the approval",
            policies={f"{layer}/yes": PERMIT, "a": approval("boss")},
            outcome=ASK,
            cause=Cause.APPROVAL_NEEDED,
            reasons=["a"],
            groups=["boss"],
        )
        for layer in ("jurisdiction", "agent")
    ),
    *(
        Row(
            rule=f"a permit of layer {layer} adds no obligations and is no reason",
            policies={f"{layer}/yes": obligation("x"), "a": PERMIT},
            outcome=ALLOW,
            cause=Cause.PERMITTED,
            reasons=["a"],
        )
        for layer in ("jurisdiction", "agent")
    ),
    *(
        Row(
            rule=f"a permit of layer {layer} that fails is not worth a word",
            policies={f"{layer}/yes": BAD_PERMIT, "a": PERMIT},
            outcome=ALLOW,
            cause=Cause.PERMITTED,
            reasons=["a"],
        )
        for layer in ("jurisdiction", "agent")
    ),
    # ------------------------------------------------------------------------- approvals
    Row(
        rule="a permit that asks for an approval requires one",
        policies={"a": approval("boss")},
        outcome=ASK,
        cause=Cause.APPROVAL_NEEDED,
        reasons=["a"],
        groups=["boss"],
    ),
    Row(
        rule="groups of all permits that ask may approve, each named once",
        policies={
            "a": approval("cfo, boss"),
            "b": approval("boss,security"),
            "platform/c": approval("audit"),
        },
        outcome=ASK,
        cause=Cause.APPROVAL_NEEDED,
        reasons=["platform/c", "a", "b"],
        groups=["audit", "boss", "cfo", "security"],
    ),
    Row(
        rule="a permit that does not ask spares the approval",
        policies={"a": approval("boss"), "b": PERMIT},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["b"],
    ),
    Row(
        rule="a permit of the platform that does not ask spares the tenant's approval",
        policies={"a": approval("boss"), "platform/b": PERMIT},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["platform/b"],
    ),
    Row(
        rule="a permit that does not ask and does not match spares nothing",
        policies={"a": approval("boss"), "b": NOT_PERMIT},
        outcome=ASK,
        cause=Cause.APPROVAL_NEEDED,
        reasons=["a"],
        groups=["boss"],
    ),
    Row(
        rule="a permit that does not ask and fails spares nothing",
        policies={"a": approval("boss"), "b": BAD_PERMIT},
        outcome=ASK,
        cause=Cause.APPROVAL_NEEDED,
        reasons=["a"],
        groups=["boss"],
        errors=["b"],
    ),
    Row(
        rule="an approval that was given allows",
        policies={"a": approval("boss"), "b": approval("cfo")},
        approved=True,
        outcome=ALLOW,
        cause=Cause.APPROVED,
        reasons=["a", "b"],
    ),
    Row(
        rule="an approval that nobody asked for changes nothing",
        policies={"a": PERMIT, "b": approval("boss")},
        approved=True,
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["a"],
    ),
    Row(
        rule="an approval is no permit",
        policies={"a": NOT_PERMIT},
        approved=True,
        outcome=DENY,
        cause=Cause.NO_PERMIT,
    ),
    Row(
        rule="an approval does not undo a forbid",
        policies={"a": approval("boss"), "b": FORBID},
        approved=True,
        outcome=DENY,
        cause=Cause.FORBIDDEN,
        reasons=["b"],
    ),
    Row(
        rule="an approval does not remove doubt",
        policies={"a": approval("boss"), "b": BAD_FORBID},
        approved=True,
        outcome=DENY,
        cause=Cause.FORBID_ERROR,
        errors=["b"],
    ),
    Row(
        rule="deny goes before approval",
        policies={"a": approval("boss"), "b": FORBID},
        outcome=DENY,
        cause=Cause.FORBIDDEN,
        reasons=["b"],
    ),
    # ----------------------------------------------------------------------- obligations
    Row(
        rule="obligations collect over all permits, each named once",
        policies={
            "a": obligation("redact:ssn, notify"),
            "b": obligation("notify"),
            "c": PERMIT,
            "platform/d": obligation("audit"),
        },
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["platform/d", "a", "b", "c"],
        obligations=["audit", "notify", "redact:ssn"],
    ),
    Row(
        rule="obligations of a permit that does not match are none",
        policies={"a": PERMIT, "b": obligation("x", NOT_PERMIT)},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["a"],
    ),
    Row(
        rule="a denial has no obligations",
        policies={"a": obligation("x"), "b": FORBID},
        outcome=DENY,
        cause=Cause.FORBIDDEN,
        reasons=["b"],
    ),
    Row(
        rule="approval goes before obligations, which are told beforehand",
        policies={"a": approval("boss", obligation("notify"))},
        outcome=ASK,
        cause=Cause.APPROVAL_NEEDED,
        reasons=["a"],
        groups=["boss"],
        obligations=["notify"],
    ),
    Row(
        rule="what was approved keeps its obligations",
        policies={"a": approval("boss", obligation("notify")), "b": approval("cfo")},
        approved=True,
        outcome=ALLOW,
        cause=Cause.APPROVED,
        reasons=["a", "b"],
        obligations=["notify"],
    ),
    Row(
        rule="where the approval is spared, so are the obligations that came with it",
        policies={"a": approval("boss", obligation("notify")), "b": obligation("redact")},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["b"],
        obligations=["redact"],
    ),
    # ---------------------------------------------------------------------------- errors
    Row(
        rule="a forbid that fails denies",
        policies={"a": PERMIT, "b": BAD_FORBID},
        outcome=DENY,
        cause=Cause.FORBID_ERROR,
        errors=["b"],
    ),
    *(
        Row(
            rule=f"a forbid of layer {layer} that fails denies",
            policies={"a": PERMIT, f"{layer}/b": BAD_FORBID},
            outcome=DENY,
            cause=Cause.FORBID_ERROR,
            errors=[f"{layer}/b"],
        )
        for layer in ("platform", "jurisdiction", "agent")
    ),
    Row(
        rule="a forbid that matches goes before one that fails, which is still reported",
        policies={"a": PERMIT, "b": BAD_FORBID, "c": FORBID},
        outcome=DENY,
        cause=Cause.FORBIDDEN,
        reasons=["c"],
        errors=["b"],
    ),
    Row(
        rule="a permit that fails does not permit",
        policies={"a": BAD_PERMIT},
        outcome=DENY,
        cause=Cause.NO_PERMIT,
        errors=["a"],
    ),
    Row(
        rule="a permit that fails takes nothing from one that matches, and is reported",
        policies={"a": obligation("x", BAD_PERMIT), "b": PERMIT},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["b"],
        errors=["a"],
    ),
    Row(
        rule="errors are reported by layer and then by id",
        policies={
            "b": BAD_PERMIT,
            "a": BAD_FORBID,
            "agent/a": BAD_FORBID,
            "platform/z": BAD_PERMIT,
        },
        outcome=DENY,
        cause=Cause.FORBID_ERROR,
        errors=["platform/z", "a", "b", "agent/a"],
    ),
    # -------------------------------------------------------------------------- log-only
    Row(
        rule="a log-only permit does not permit",
        policies={"a": log_only(PERMIT)},
        outcome=DENY,
        cause=Cause.NO_PERMIT,
    ),
    Row(
        rule="a log-only forbid does not forbid",
        policies={"a": PERMIT, "b": log_only(FORBID)},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["a"],
    ),
    Row(
        rule="a log-only forbid that fails does not deny",
        policies={"a": PERMIT, "b": log_only(BAD_FORBID)},
        outcome=ALLOW,
        cause=Cause.PERMITTED,
        reasons=["a"],
    ),
    Row(
        rule="a log-only permit neither spares an approval nor adds obligations",
        policies={"a": approval("boss"), "b": log_only(obligation("x"))},
        outcome=ASK,
        cause=Cause.APPROVAL_NEEDED,
        reasons=["a"],
        groups=["boss"],
    ),
]


def layered(id_: str, cedar: str) -> Policy:
    name = id_.partition("/")[0].upper()
    layer = Layer[name] if name in Layer.__members__ else Layer.TENANT
    return Policy(
        id=id_,
        cedar=cedar,
        layer=layer,
        jurisdiction="EU" if layer is Layer.JURISDICTION else "",
    )


def judge(policies: dict[str, str], *, approved: bool = False) -> Verdict:
    bodies = [layered(id_, cedar) for id_, cedar in policies.items()]
    own: list[Body] = [body for body in bodies if body.layer in (Layer.TENANT, Layer.AGENT)]
    platform = [body for body in bodies if body not in own]
    program = make.program(*own, Settings(jurisdictions=("EU",)), platform=platform)
    verdict = program.judge(make.request(approved=approved))
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_rule_of_precedence(row: Row) -> None:
    verdict = judge(row.policies, approved=row.approved)

    assert (verdict.outcome, verdict.cause) == (row.outcome, row.cause)
    assert [reason.policy_id for reason in verdict.reasons] == row.reasons
    assert list(verdict.obligations) == row.obligations
    assert list(verdict.approval_groups) == row.groups
    assert [error.policy_id for error in verdict.errors] == row.errors


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_the_order_of_policies_does_not_matter(row: Row) -> None:
    """Two nodes may hold the same revision in a different order."""
    backwards = dict(reversed(row.policies.items()))

    assert judge(backwards, approved=row.approved) == judge(row.policies, approved=row.approved)


def test_every_outcome_and_cause_has_a_rule() -> None:
    assert {row.outcome for row in ROWS} == set(Outcome)
    assert {row.cause for row in ROWS} == set(Cause)


def test_reasons_and_errors_say_which_layer_and_why() -> None:
    verdict = judge(
        {
            "platform/a": '@reason("closed on Sundays") forbid(principal, action, resource);',
            "b": BAD_PERMIT,
        }
    )

    assert verdict.reasons == (Reason("platform/a", Layer.PLATFORM, "closed on Sundays"),)
    assert verdict.errors == (PolicyError("b", Layer.TENANT, ERROR),)


def test_policies_of_two_layers_may_have_one_id() -> None:
    tenant, platform = (
        Policy(id="x", cedar=FORBID),
        Policy(id="x", cedar=PERMIT, layer=Layer.PLATFORM),
    )

    verdict = make.program(tenant, platform=[platform]).judge(make.request())

    assert isinstance(verdict, Verdict)
    assert verdict.reasons == (Reason("x", Layer.TENANT),)


# ------------------------------------------------------------------- log-only, the report


@dataclass(frozen=True, kw_only=True)
class Report:
    rule: str
    policies: dict[str, str]
    approved: bool = False
    outcome: Outcome | None
    """What would have been; nothing is reported if there is none."""
    reasons: list[str] = field(default_factory=list)


REPORTS = [
    Report(
        rule="a forbid that would have denied",
        policies={"a": PERMIT, "b": log_only(FORBID)},
        outcome=DENY,
        reasons=["b"],
    ),
    Report(
        rule="a forbid that would have denied what now waits for an approval",
        policies={"a": approval("boss"), "b": log_only(FORBID)},
        outcome=DENY,
        reasons=["b"],
    ),
    Report(
        rule="a permit that would have allowed",
        policies={"a": log_only(PERMIT)},
        outcome=ALLOW,
        reasons=["a"],
    ),
    Report(
        rule="a permit that would have asked for an approval",
        policies={"a": log_only(approval("boss"))},
        outcome=ASK,
        reasons=["a"],
    ),
    Report(
        rule="a permit that would have spared the approval",
        policies={"a": approval("boss"), "b": log_only(PERMIT)},
        outcome=ALLOW,
        reasons=["b"],
    ),
    Report(
        rule="a permit that would have added an obligation",
        policies={"a": PERMIT, "b": log_only(obligation("x"))},
        outcome=ALLOW,
        reasons=["b"],
    ),
    Report(
        rule="a permit that would have spared the approval and its obligations",
        policies={"a": approval("boss", obligation("x")), "b": log_only(PERMIT)},
        approved=True,
        outcome=ALLOW,
        reasons=["b"],
    ),
    Report(
        rule="a forbid that failed would have denied",
        policies={"a": PERMIT, "b": log_only(BAD_FORBID)},
        outcome=DENY,
        reasons=["b"],
    ),
    Report(
        rule="only log-only policies are named",
        policies={"a": PERMIT, "b": log_only(obligation("x")), "c": obligation("y")},
        outcome=ALLOW,
        reasons=["b"],
    ),
    Report(
        rule="log-only forbids of every layer are reported, by layer and then by id",
        policies={
            "a": PERMIT,
            "agent/b": log_only(FORBID),
            "jurisdiction/c": log_only(FORBID),
            "platform/d": log_only(FORBID),
        },
        outcome=DENY,
        reasons=["platform/d", "jurisdiction/c", "agent/b"],
    ),
    Report(
        rule="nothing: a forbid that matches where another forbids as well",
        policies={"a": PERMIT, "b": FORBID, "c": log_only(FORBID)},
        outcome=None,
    ),
    Report(
        rule="nothing: a forbid that would have denied what no permit allows",
        policies={"a": log_only(FORBID)},
        outcome=None,
    ),
    Report(
        rule="nothing: a permit that does not match",
        policies={"a": log_only(NOT_PERMIT)},
        outcome=None,
    ),
    Report(
        rule="nothing: a permit that fails",
        policies={"a": log_only(BAD_PERMIT)},
        outcome=None,
    ),
    Report(
        rule="nothing: one more permit",
        policies={"a": PERMIT, "b": log_only(PERMIT)},
        outcome=None,
    ),
    Report(
        rule="nothing: an obligation that another permit demands already",
        policies={"a": obligation("x"), "b": log_only(obligation("x"))},
        outcome=None,
    ),
    Report(
        rule="nothing: a permit against a forbid",
        policies={"a": FORBID, "b": log_only(PERMIT)},
        outcome=None,
    ),
    Report(
        rule="nothing: a permit of a layer that cannot allow",
        policies={"agent/a": log_only(PERMIT), "jurisdiction/b": log_only(PERMIT)},
        outcome=None,
    ),
    Report(
        rule="nothing: a request for an approval that a permit spares",
        policies={"a": PERMIT, "b": log_only(approval("boss"))},
        outcome=None,
    ),
]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.rule)
def test_log_only_policies_are_reported_when_they_would_change_something(report: Report) -> None:
    verdict = judge(report.policies, approved=report.approved)

    if report.outcome is None:
        assert verdict.log_only is None
    else:
        assert verdict.log_only is not None
        assert verdict.log_only.outcome is report.outcome
        assert [reason.policy_id for reason in verdict.log_only.reasons] == report.reasons


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.rule)
def test_log_only_policies_change_nothing_but_the_report(report: Report) -> None:
    enforced = {
        id_: cedar for id_, cedar in report.policies.items() if not cedar.startswith("@mode")
    }
    without = judge(enforced, approved=report.approved)
    verdict = judge(report.policies, approved=report.approved)

    assert verdict == Verdict(
        outcome=without.outcome,
        cause=without.cause,
        reasons=without.reasons,
        obligations=without.obligations,
        errors=without.errors,
        approval_groups=without.approval_groups,
        log_only=verdict.log_only,
    )


def test_report_tells_the_reason_in_words() -> None:
    verdict = judge({"a": PERMIT, "b": f'@reason("soon") {log_only(FORBID)}'})

    assert verdict.log_only == LogOnlyReport(DENY, (Reason("b", Layer.TENANT, "soon"),))


# --------------------------------------------------------------------- effective policies


@pytest.mark.parametrize(
    ("layer", "effect", "counts"),
    [
        (Layer.PLATFORM, Effect.PERMIT, True),
        (Layer.JURISDICTION, Effect.PERMIT, False),
        (Layer.TENANT, Effect.PERMIT, True),
        (Layer.AGENT, Effect.PERMIT, False),
        (Layer.PLATFORM, Effect.FORBID, True),
        (Layer.JURISDICTION, Effect.FORBID, True),
        (Layer.TENANT, Effect.FORBID, True),
        (Layer.AGENT, Effect.FORBID, True),
    ],
)
def test_which_policies_count(layer: Layer, effect: Effect, counts: bool) -> None:
    cedar = PERMIT if effect is Effect.PERMIT else FORBID
    enforced = make.effective(cedar, layer=layer)
    watched = make.effective(log_only(cedar), layer=layer)

    assert (enforced.counts, enforced.would_count) == (counts, counts)
    assert (watched.counts, watched.would_count) == (False, counts)


def test_doubt_about_a_forbid_denies_whatever_else_matched() -> None:
    """Also when only `decide` is asked, with permits that matched beside it."""
    failed = FailedPolicy(make.effective(FORBID, id_="f"), "no such attribute")

    verdict = decide([make.effective(PERMIT)], [failed], approved=True)

    assert verdict == Verdict(
        outcome=DENY,
        cause=Cause.FORBID_ERROR,
        errors=(PolicyError("f", Layer.TENANT, "no such attribute"),),
    )
