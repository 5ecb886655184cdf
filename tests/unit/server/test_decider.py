"""The answer path: what is answered from the cache, and what must not be."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from placet_engine.cache import CacheStatistics, DecisionCache
from placet_engine.compiling import Compiler
from placet_engine.editions import Sides, Variant, compile_edition
from placet_engine.items import PLATFORM, Body, Policy, Revision, SchemaText, Settings
from placet_engine.model import Outcome, Request, Undecidable, Verdict
from placet_server.decisions.decider import Decided, Decider, PinnedDecider
from placet_server.errors import NodeStale, TenantUnknown
from placet_server.policies.active import ActivePolicies
from placet_server.testing import ManualClock
from tests.unit.engine import make

ALLOW, DENY = Outcome.ALLOW, Outcome.DENY
TTL_S = 60.0

MFA = Policy(id="mfa", cedar="permit(principal, action, resource) when { context.mfa };")
FORBID = Policy(id="stop", cedar="forbid(principal, action, resource);")


class Deciding:
    """A decider with policies of its own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.active = ActivePolicies(self.clock)
        self.encoded: list[tuple[Verdict, Revision]] = []
        cache: DecisionCache[Decided] = DecisionCache(
            max_bytes=1_000_000, ttl_s=TTL_S, monotonic=self.clock.monotonic
        )
        self.decider = Decider(self.active, cache, self._encode, b"")

    def _encode(self, verdict: Verdict, revision: Revision, variant: Variant) -> bytes:
        self.encoded.append((verdict, revision))
        return f"{verdict.outcome.name} at {revision}".encode()

    async def publish(self, *bodies: Body, revision: int = 1, tenant: str = make.TENANT) -> None:
        items = make.item_set(tenant, bodies, Revision(revision))
        sides = Sides(items)
        compiled = compile_edition(Compiler(), Sides(make.item_set(PLATFORM, ())), sides)
        assert compiled.stable.program is not None, compiled.stable.problems
        self.active.swap(Revision(revision), sides, {tenant: (sides, compiled)})
        self.active.confirm_current(Revision(revision))

    def pin(self, tenant: str = make.TENANT) -> PinnedDecider:
        return self.decider.pin(tenant)

    def ask(
        self, request: Request, exact: Hashable | None = None, *, tenant: str = make.TENANT
    ) -> Decided:
        """Ask as a service does: first for what came, then by what it says."""
        decided = ask(self.pin(tenant), request, exact)
        assert isinstance(decided, Decided), decided
        return decided

    @property
    def statistics(self) -> CacheStatistics:
        return self.decider.statistics()


def ask(pinned: PinnedDecider, request: Request, exact: Hashable | None) -> Decided | Undecidable:
    known = pinned.recall(exact) if exact is not None else None
    if known is not None:
        return known
    (decided,) = pinned.decide([request], [exact])
    return decided


def outcome(decided: Decided) -> Outcome:
    return decided.verdict.outcome


@pytest.fixture(name="deciding")
async def deciding_fixture() -> Deciding:
    deciding = Deciding()
    await deciding.publish(MFA)
    return deciding


# --------------------------------------------------------------------------------- pinning


def test_a_tenant_nobody_published_for_is_not_decided(deciding: Deciding) -> None:
    with pytest.raises(TenantUnknown):
        deciding.pin("nobody")

    # And leaves nothing behind, so that names cannot fill the memory.
    assert {} == deciding.decider.statistics_by_tenant()


async def test_a_node_staler_than_the_tenant_allows_does_not_decide() -> None:
    deciding = Deciding()
    await deciding.publish(MFA, Settings(max_staleness_s=5.0))
    deciding.clock.advance(5.0)
    assert 5.0 == deciding.pin().staleness_s
    deciding.clock.advance(0.5)

    with pytest.raises(NodeStale):
        deciding.pin()


async def test_what_is_pinned_stays_whatever_is_published(deciding: Deciding) -> None:
    before = deciding.pin()
    await deciding.publish(MFA, FORBID, revision=2)
    request = make.request(context={"mfa": True})

    decided = ask(before, request, b"1")

    assert isinstance(decided, Decided)
    assert (ALLOW, b"ALLOW at 1") == (outcome(decided), decided.lasting)
    assert (1, 2) == (before.revision, deciding.pin().revision)


# ------------------------------------------------------------------------- hits and misses


def test_the_same_bytes_are_a_hit_by_reading_once_and_exact_from_then_on(
    deciding: Deciding,
) -> None:
    request = make.request(context={"mfa": True})
    decided = [deciding.ask(request, b"bytes") for _ in range(4)]

    assert [False, True, True, True] == [one.cached for one in decided]
    assert 2 == len({id(one) for one in decided})
    statistics = deciding.statistics
    assert (1, 3, 2) == (statistics.misses, statistics.hits, statistics.exact_hits)


def test_what_is_asked_once_is_not_kept_by_its_bytes(deciding: Deciding) -> None:
    deciding.ask(make.request(context={"mfa": True}), b"bytes")

    assert deciding.pin().recall(b"bytes") is None
    assert 1 == deciding.statistics.entries


def test_what_has_no_key_is_never_recalled_but_found_by_reading(deciding: Deciding) -> None:
    request = make.request(context={"mfa": True})
    decided = [deciding.ask(request, None) for _ in range(3)]

    assert [False, True, True] == [one.cached for one in decided]
    assert (0, 1) == (deciding.statistics.exact_hits, deciding.statistics.entries)


def test_what_no_policy_reads_does_not_spoil_the_hit_rate(deciding: Deciding) -> None:
    """A request id in the context makes every request another one; none of it matters."""
    decided = [
        deciding.ask(
            make.request(f"User::{number}", context={"mfa": True, "request_id": f"r{number}"}),
            f"bytes {number}".encode(),
        )
        for number in range(50)
    ]

    assert {ALLOW} == {outcome(one) for one in decided}
    assert (1, 49) == (deciding.statistics.misses, deciding.statistics.hits)
    assert 0.98 == deciding.statistics.hit_ratio


async def test_tenants_share_no_answers_and_are_counted_apart(deciding: Deciding) -> None:
    await deciding.publish(FORBID, tenant="other")
    request = make.request(context={"mfa": True})
    for _ in range(3):
        assert ALLOW is outcome(deciding.ask(request, b"bytes"))
    other = [deciding.ask(request, b"bytes", tenant="other") for _ in range(2)]

    assert [(DENY, False), (DENY, True)] == [(outcome(one), one.cached) for one in other]
    by_tenant = deciding.decider.statistics_by_tenant()
    assert {make.TENANT: 2, "other": 1} == {name: one.hits for name, one in by_tenant.items()}
    assert by_tenant["other"] == deciding.decider.statistics("other")


def test_an_answer_is_given_anew_after_its_time(deciding: Deciding) -> None:
    request = make.request(context={"mfa": True})
    for _ in range(2):
        deciding.ask(request, b"bytes")
    deciding.clock.advance(TTL_S + 1)

    assert not deciding.ask(request, b"bytes").cached


def test_requests_asked_together_come_back_in_their_order(deciding: Deciding) -> None:
    yes, no = (make.request(context={"mfa": mfa}) for mfa in (True, False))
    refused = make.request("User::", context={"mfa": True})
    deciding.ask(no)

    results = deciding.pin().decide([yes, refused, no], [None, None, None])

    assert isinstance(results[1], Undecidable)
    assert [(ALLOW, False), (DENY, True)] == [
        (outcome(one), one.cached) for one in results if isinstance(one, Decided)
    ]


async def test_equal_verdicts_are_encoded_once() -> None:
    deciding = Deciding()
    await deciding.publish(
        Policy(id="p", cedar="permit(principal, action, resource) when { context.n < 3 };")
    )
    for number in range(6):
        assert not deciding.ask(make.request(context={"n": number})).cached

    assert 2 == len(deciding.encoded)


def test_a_verdict_come_by_in_another_way_is_not_cached(deciding: Deciding) -> None:
    pinned = deciding.pin()
    role = pinned.edition.stable
    verdict = role.program.judge(make.request(context={"mfa": True}))
    assert isinstance(verdict, Verdict)

    decided = pinned.judged(verdict, role)

    assert (ALLOW, False) == (outcome(decided), decided.cached)
    assert CacheStatistics() == deciding.statistics


# ------------------------------------------------------------------- what must not be shared

_READ = {
    "who": (
        'permit(principal, action, resource) when { principal == User::"ann" };',
        make.request("User::ann"),
        make.request("User::bob"),
    ),
    "who, in a scope": (
        'permit(principal == User::"ann", action, resource);',
        make.request("User::ann"),
        make.request("User::bob"),
    ),
    "of which type": (
        "permit(principal is User, action, resource);",
        make.request("User::ann"),
        make.request("Robot::ann"),
    ),
    "what": (
        'permit(principal, action == Action::"view", resource);',
        make.request(),
        make.request(action="Action::edit"),
    ),
    "to what": (
        'permit(principal, action, resource) when { resource in Folder::"f" };',
        make.request(entities=[make.entity("Doc::plan", parents=["Folder::f"])]),
        make.request(),
    ),
    "a context field": (
        "permit(principal, action, resource) when { context.mfa };",
        make.request(context={"mfa": True}),
        make.request(context={"mfa": False}),
    ),
    "whether a context field is there": (
        "permit(principal, action, resource) when { context has mfa };",
        make.request(context={"mfa": False}),
        make.request(),
    ),
    "a number and a truth": (
        "permit(principal, action, resource) when { context.n == 1 };",
        make.request(context={"n": 1}),
        make.request(context={"n": True}),
    ),
    "the whole context": (
        "permit(principal, action, resource) when { context == {a: 1} };",
        make.request(context={"a": 1}),
        make.request(context={"a": 1, "b": 2}),
    ),
    "an attribute that was sent": (
        "permit(principal, action, resource) when { principal.level > 2 };",
        make.request(entities=[make.entity("User::ann", {"level": 3})]),
        make.request(entities=[make.entity("User::ann", {"level": 2})]),
    ),
    "a tag that was sent": (
        'permit(principal, action, resource) when { resource.hasTag("open") };',
        make.request(entities=[make.entity("Doc::plan", tags={"open": True})]),
        make.request(entities=[make.entity("Doc::plan")]),
    ),
    "a group that was sent": (
        'permit(principal in Group::"g", action, resource);',
        make.request(entities=[make.entity("User::ann", parents=["Group::g"])]),
        make.request(entities=[make.entity("User::ann", parents=["Group::h"])]),
    ),
    "an entity behind another": (
        "permit(principal, action, resource) when { resource.owner.active };",
        make.request(
            entities=[
                make.entity("Doc::plan", {"owner": make.ref("User::bob")}),
                make.entity("User::bob", {"active": True}),
            ]
        ),
        make.request(
            entities=[
                make.entity("Doc::plan", {"owner": make.ref("User::bob")}),
                make.entity("User::bob", {"active": False}),
            ]
        ),
    ),
    "an approval": (
        '@approval("leads") permit(principal, action, resource);',
        make.request(approved=True),
        make.request(),
    ),
}


@pytest.mark.parametrize("name", _READ)
@pytest.mark.parametrize("allowed_first", [True, False])
async def test_requests_that_differ_in_what_policies_read_share_no_answer(
    name: str, allowed_first: bool
) -> None:
    cedar, allowed, other = _READ[name]
    deciding = Deciding()
    await deciding.publish(Policy(id="p", cedar=cedar))
    # Twice each, so that both ways of remembering had their chance.
    asked = [allowed, allowed, other, other] if allowed_first else [other, other, allowed, allowed]

    decided = [deciding.ask(request, id(request)) for request in asked]

    expected = [(request is allowed, number % 2 == 1) for number, request in enumerate(asked)]
    assert expected == [(outcome(one) is ALLOW, one.cached) for one in decided]


async def test_a_policy_about_time_is_answered_anew_for_each_time() -> None:
    """Time comes with the request; an answer of before must not be given after."""
    deciding = Deciding()
    freeze = """
        permit(principal, action, resource)
        when { context.now < datetime("2026-06-01T00:00:00Z") };
    """
    await deciding.publish(Policy(id="until-june", cedar=freeze))
    times = ("2026-05-31T23:59:58Z", "2026-05-31T23:59:59Z", "2026-06-01T00:00:00Z")
    requests = [
        make.request(context={"now": {"__extn": {"fn": "datetime", "arg": time}}}) for time in times
    ]

    decided = [deciding.ask(request, time) for request, time in zip(requests, times, strict=True)]
    again = [deciding.ask(request, time) for request, time in zip(requests, times, strict=True)]

    assert [ALLOW, ALLOW, DENY] == [outcome(one) for one in decided]
    assert [False, False, False] == [one.cached for one in decided]
    assert [ALLOW, ALLOW, DENY] == [outcome(one) for one in again]
    assert (3, 3) == (deciding.statistics.misses, deciding.statistics.hits)


_SCHEMA = SchemaText(
    """
    entity User, Doc;
    action view appliesTo { principal: User, resource: Doc, context: { mfa?: Bool } };
    """
)
_WITH_AND_WITHOUT_SCHEMA = pytest.mark.parametrize(
    "schema",
    [
        pytest.param((), id="what is read counts"),
        pytest.param((_SCHEMA,), id="the whole request counts"),
    ],
)


@_WITH_AND_WITHOUT_SCHEMA
@pytest.mark.parametrize("exact", [None, b"bytes"])
async def test_a_new_revision_is_never_answered_from_the_cache(
    schema: tuple[Body, ...], exact: Hashable | None
) -> None:
    deciding = Deciding()
    policy = Policy(id="p", cedar=make.ANYBODY)
    await deciding.publish(policy, *schema)
    request = make.request(context={"mfa": True})
    for _ in range(3):
        assert ALLOW is outcome(deciding.ask(request, exact))
    await deciding.publish(policy, FORBID, *schema, revision=2)

    decided = deciding.ask(request, exact)

    assert (DENY, False) == (outcome(decided), decided.cached)
    assert b"DENY at 2" == decided.lasting


@_WITH_AND_WITHOUT_SCHEMA
async def test_a_new_revision_says_so_even_if_nothing_else_changes(
    schema: tuple[Body, ...],
) -> None:
    deciding = Deciding()
    policy = Policy(id="p", cedar=make.ANYBODY)
    await deciding.publish(policy, *schema)
    deciding.ask(make.request(), b"bytes")
    await deciding.publish(policy, *schema, revision=2)

    decided = deciding.ask(make.request(), b"bytes")

    assert (b"ALLOW at 2", False) == (decided.lasting, decided.cached)


@pytest.mark.parametrize(
    ("bodies", "request_"),
    [
        ((), make.request("User::")),
        ((_SCHEMA,), make.request(context={"unknown": 1})),
        ((), make.request(context={"x": {"__extn": {"fn": "ip", "arg": "nope"}}})),
    ],
    ids=["an empty id", "against the schema", "a value Cedar does not take"],
)
async def test_what_cannot_be_decided_is_not_remembered(
    bodies: tuple[Body, ...], request_: Request
) -> None:
    deciding = Deciding()
    await deciding.publish(Policy(id="p", cedar=make.ANYBODY), *bodies)

    results = [ask(deciding.pin(), request_, b"bytes") for _ in range(3)]

    assert isinstance(results[0], Undecidable)
    assert [results[0]] * 3 == results
    assert (0, 0, 0) == (
        deciding.statistics.entries,
        deciding.statistics.hits,
        len(deciding.encoded),
    )
