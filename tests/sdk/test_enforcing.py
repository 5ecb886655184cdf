"""The block runs on an allow whose obligations are understood, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import placet
from placet import Decision, Obligation, Outcome
from placet._enforcing import AsyncEnforcement, Enforcement, check

_ASK: tuple[tuple[str, str], str, tuple[str, str]] = (("User", "alice"), "read", ("Invoice", "1"))


class Answering(Enforcement):
    """Evaluates to whatever it was made with, and notes what it was asked."""

    def __init__(self, answer: Decision | Exception) -> None:
        self._answer = answer
        self.asked: list[Any] = []

    def evaluate(self, *args: Any, **kwargs: Any) -> Decision:
        self.asked.append((args, kwargs))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class AsyncAnswering(AsyncEnforcement):
    """The same, for event loops."""

    def __init__(self, answer: Decision | Exception) -> None:
        self._sync = Answering(answer)

    @property
    def asked(self) -> list[Any]:
        return self._sync.asked

    async def evaluate(self, *args: Any, **kwargs: Any) -> Decision:
        return self._sync.evaluate(*args, **kwargs)


ALLOW = Decision(outcome=Outcome.ALLOW)
DENY = Decision(
    outcome=Outcome.DENY,
    cause=placet.Cause.FORBIDDEN,
    reasons=(placet.Reason("orders/weekend", placet.Layer.TENANT, "closed"),),
)
APPROVAL = Decision(outcome=Outcome.REQUIRES_APPROVAL, approval_groups=("leads", "finance"))
OBLIGED = Decision(outcome=Outcome.ALLOW, obligations=("redact:ssn", "log"))
NOT_ALLOWED = [
    (DENY, placet.Denied),
    (Decision(outcome=Outcome.DENY), placet.Denied),
    (APPROVAL, placet.ApprovalRequired),
    (OBLIGED, placet.UnknownObligation),
    (placet.Unavailable("away"), placet.CouldNotDecide),
]


def test_an_allow_runs_the_block_and_tells_the_decision() -> None:
    answering = Answering(ALLOW)

    with answering.enforce(*_ASK, {"purpose": "x"}, tenant="acme", timeout_s=2) as decision:
        assert ALLOW is decision

    assert [((*_ASK, {"purpose": "x"}), {"tenant": "acme", "timeout_s": 2})] == answering.asked


@pytest.mark.parametrize(("answer", "expected"), NOT_ALLOWED)
def test_anything_else_keeps_the_block_from_running(
    answer: Decision | Exception, expected: type[Exception]
) -> None:
    ran = False

    with pytest.raises(expected), Answering(answer).enforce(*_ASK):
        ran = True

    assert not ran


@pytest.mark.parametrize(("answer", "expected"), NOT_ALLOWED)
async def test_anything_else_keeps_an_async_block_from_running(
    answer: Decision | Exception, expected: type[Exception]
) -> None:
    ran = False

    with pytest.raises(expected):
        async with AsyncAnswering(answer).enforce(*_ASK):
            ran = True

    assert not ran


def test_the_exceptions_say_why_and_carry_the_decision() -> None:
    with pytest.raises(placet.Denied, match=r"denied by `orders/weekend` \(closed\)") as denied:
        check(DENY, {}, ())
    with pytest.raises(placet.ApprovalRequired, match="approval by `leads`, `finance`"):
        check(APPROVAL, {}, ())
    with pytest.raises(placet.UnknownObligation, match="`redact:ssn`") as unknown:
        check(OBLIGED, {}, ["log"])

    assert DENY is denied.value.decision
    assert "redact:ssn" == unknown.value.obligation
    assert isinstance(unknown.value, placet.NotAllowed)


def test_handlers_run_before_the_block_by_obligation_or_by_name() -> None:
    order: list[Any] = []

    with Answering(OBLIGED).enforce(
        *_ASK, obligations={"redact": order.append, "log": order.append}
    ):
        order.append("block")

    assert [Obligation("redact", "ssn"), Obligation("log"), "block"] == order


def test_the_whole_obligation_goes_before_its_name() -> None:
    calls: list[str] = []
    handlers: dict[str, Callable[[Obligation], None] | None] = {
        "redact": lambda obligation: calls.append("name"),
        "redact:ssn": lambda obligation: calls.append("whole"),
        "log": None,
    }

    with Answering(OBLIGED).enforce(*_ASK, obligations=handlers):
        pass

    assert ["whole"] == calls


@pytest.mark.parametrize("understands", [["redact", "log"], ["redact:ssn", "log"]])
def test_a_block_may_understand_by_itself(understands: list[str]) -> None:
    with Answering(OBLIGED).enforce(*_ASK, understands=understands) as decision:
        assert OBLIGED is decision


def test_one_text_is_one_obligation_and_not_its_letters() -> None:
    assert [] == check(Decision(outcome=Outcome.ALLOW, obligations=("log",)), {}, "log")
    with pytest.raises(placet.UnknownObligation):
        check(Decision(outcome=Outcome.ALLOW, obligations=("l",)), {}, "log")


def test_a_function_understands_at_every_call() -> None:
    once = iter(["redact", "log"])

    @Answering(OBLIGED).enforced(
        subject=("User", "a"), action="read", resource=("I", "1"), understands=once
    )
    def read() -> str:
        return "read"

    assert ["read", "read"] == [read(), read()]


def test_no_handler_runs_when_one_is_missing() -> None:
    calls: list[Obligation] = []

    with (
        pytest.raises(placet.UnknownObligation, match="`log`"),
        Answering(OBLIGED).enforce(*_ASK, obligations={"redact": calls.append}),
    ):
        pass

    assert [] == calls


@pytest.mark.parametrize("known", ["red", "redact:", "redact:dob", "Redact", "ssn", ""])
def test_nothing_but_the_name_or_the_whole_is_understood(known: str) -> None:
    with pytest.raises(placet.UnknownObligation):
        check(OBLIGED, {known: None}, ["log"])


@given(obligations=st.lists(st.text(max_size=6), min_size=1), data=st.data())
def test_an_obligation_left_out_is_always_refused(
    obligations: list[str], data: st.DataObject
) -> None:
    left_out = data.draw(st.sampled_from(obligations))
    name = Obligation.parse(left_out).name
    understood = {text for text in obligations if text not in (left_out, name)}
    decision = Decision(outcome=Outcome.ALLOW, obligations=tuple(obligations))

    with pytest.raises(placet.UnknownObligation):
        check(decision, {}, understood)


def test_a_handler_that_fails_keeps_the_block_from_running() -> None:
    def fails(obligation: Obligation) -> None:
        raise OSError(obligation)

    with (
        pytest.raises(OSError, match="ssn"),
        Answering(OBLIGED).enforce(*_ASK, obligations={"redact": fails}, understands=["log"]),
    ):
        pytest.fail("the block ran")


async def test_handlers_may_be_async_where_the_block_is() -> None:
    order: list[Any] = []

    async def redact(obligation: Obligation) -> None:
        order.append(obligation.argument)

    async with AsyncAnswering(OBLIGED).enforce(
        *_ASK, obligations={"redact": redact, "log": lambda obligation: order.append("log")}
    ):
        order.append("block")

    assert ["ssn", "log", "block"] == order


def test_what_the_block_raises_comes_through() -> None:
    with pytest.raises(KeyError), Answering(ALLOW).enforce(*_ASK):
        raise KeyError


# ------------------------------------------------------------------------------ decorators


def test_a_function_runs_only_if_it_is_allowed() -> None:
    answering = Answering(ALLOW)

    @answering.enforced(
        subject=lambda user, number: ("User", user),
        action="read",
        resource=lambda user, number: ("Invoice", str(number)),
        context={"purpose": "x"},
        tenant="acme",
    )
    def read(user: str, number: int) -> str:
        """Read an invoice."""
        return f"{user} reads {number}"

    assert "ann reads 7" == read("ann", 7)
    assert ("read", "Read an invoice.") == (read.__name__, read.__doc__)
    question = (("User", "ann"), "read", ("Invoice", "7"), {"purpose": "x"})
    assert [(question, {"tenant": "acme"})] == answering.asked


@pytest.mark.parametrize(("answer", "expected"), NOT_ALLOWED)
def test_a_function_does_not_run_otherwise(
    answer: Decision | Exception, expected: type[Exception]
) -> None:
    @Answering(answer).enforced(subject=("User", "a"), action="read", resource=("Invoice", "1"))
    def read() -> None:
        pytest.fail("it ran")

    with pytest.raises(expected):
        read()


async def test_a_coroutine_function_runs_only_if_it_is_allowed() -> None:
    answering = AsyncAnswering(OBLIGED)

    @answering.enforced(
        subject=("User", "a"),
        action="read",
        resource=lambda number: ("Invoice", str(number)),
        understands=["redact", "log"],
    )
    async def read(number: int) -> int:
        return number

    assert 7 == await read(7)
    assert ("Invoice", "7") == answering.asked[0][0][2]


async def test_a_coroutine_function_does_not_run_otherwise() -> None:
    @AsyncAnswering(DENY).enforced(subject=("User", "a"), action="read", resource=("I", "1"))
    async def read() -> None:
        pytest.fail("it ran")

    with pytest.raises(placet.Denied):
        await read()


def test_a_coroutine_function_is_refused_where_asking_blocks() -> None:
    async def read() -> None: ...

    with pytest.raises(TypeError, match=r"use `placet\.aio`"):
        Answering(ALLOW).enforced(subject=("U", "a"), action="read", resource=("I", "1"))(read)
