"""What is nested deeply is decided or refused; it never ends the process, nor fails later on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet.wire import LIMITS
from placet_engine import nesting
from placet_engine.items import Policy, SchemaText
from placet_engine.model import Outcome, Verdict
from placet_engine.nesting import TooDeep, check_text
from tests.unit.engine import make

SHAPES: dict[str, Callable[[int], str]] = {
    "or": lambda n: " || ".join(f"context has a{i}" for i in range(n)),
    "and": lambda n: " && ".join(f"context has a{i}" for i in range(n)),
    "or and and": lambda n: " || ".join(["context has a && context has b"] * n),
    "plus": lambda n: " + ".join(["1"] * n) + f" == {n}",
    "parentheses": lambda n: "(" * n + "true" + ")" * n,
    "sets": lambda n: "[" * n + "1" + "]" * n + " == [1]",
    "records": lambda n: "{a: " * n + "1" + "}" * n + " == {a: 1}",
    "calls": lambda n: "[1].contains(" * n + "1" + ")" * n,
    "methods": lambda n: "[1]" + ".contains(1)" * n,
    "not": lambda n: "!(" * n + "true" + ")" * n,
    "if": lambda n: "if context has a then " * n + "true" + " else false" * n,
    "else if": lambda n: "if context has a then true else " * n + "true",
    "attributes": lambda n: "context" + ".a" * n + " == 1",
    "has": lambda n: "context has a" + ".a" * n,
    "indices": lambda n: "context" + '["a"]' * n + " == 1",
}


def policy(condition: str) -> Policy:
    return Policy(id="p", cedar=f"permit(principal, action, resource) when {{ {condition} }};")


@pytest.mark.parametrize(
    "count", [1, 30, 45, 50, 52, 53, 54, 55, 56, 58, 60, 100, 400, 900, 20_000]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_published_can_be_decided(shape: str, count: int) -> None:
    condition = SHAPES[shape](count)
    if len(condition) > LIMITS.max_policy_chars:
        condition = SHAPES[shape](count * LIMITS.max_policy_chars // len(condition))

    compiled = make.compilation(policy(condition))

    if compiled.program is None:
        assert {problem.reason for problem in compiled.errors} == {"POLICY_TOO_DEEP"}
        assert count > 40
    else:
        assert isinstance(compiled.program.judge(make.request()), Verdict)


@pytest.mark.parametrize("operator", ["||", "&&"])
def test_four_hundred_conditions_in_a_row_are_a_policy(operator: str) -> None:
    condition = f" {operator} ".join(f"context.n != {number}" for number in range(400))
    program = make.program(policy(condition))

    inside, outside = (program.judge(make.request(context={"n": number})) for number in (399, 400))

    assert isinstance(inside, Verdict)
    assert isinstance(outside, Verdict)
    assert outside.outcome is Outcome.ALLOW
    assert inside.outcome is (Outcome.ALLOW if operator == "||" else Outcome.DENY)


CONDITIONS = st.recursive(
    st.sampled_from(["true", "false", "context.gone", "context has gone", "context.n == 1"]),
    lambda inner: st.builds(
        lambda parts, operator: "(" + f" {operator} ".join(parts) + ")",
        st.lists(inner, min_size=2, max_size=6),
        st.sampled_from(["||", "&&"]),
    ),
    max_leaves=20,
)


@given(CONDITIONS)
def test_what_was_made_shallow_says_the_same(condition: str) -> None:
    """Errors included: which operand is looked at, and which is not, stays as it was."""
    text = policy(condition)
    shallow = make.program(text).judge(make.request(context={"n": 1}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("placet_engine.parsing.balanced", lambda node: node)
        deep = make.program(text).judge(make.request(context={"n": 1}))

    assert shallow == deep


@pytest.mark.parametrize(
    "text",
    [
        "(" * 101,
        "x" + ".a" * 51,
        "x" + ". // why\n a" * 51,
        "(" * 60 + ")" * 10 + "[" * 60,
        "a||" * 5001,
        "a" + '["b"].c' * 26,
        "1+2*3-" * 1700,
    ],
)
def test_what_is_too_deep_is_seen_before_it_is_parsed(text: str) -> None:
    with pytest.raises(TooDeep, match="split it"):
        check_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100 + ")" * 100,
        "()" * 1000,
        '"' + "(" * 1000 + '"',
        "// " + "(" * 1000,
        '"a\\"' + "(" * 1000 + '"',
        "a.b; " * 1000,
        "// -----" * 1000,
        "|&" * 5001,
        "x" + ".a" * 50,
    ],
)
def test_what_only_looks_deep_is_taken(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "entity A = {a: " + "Set<" * 20_000 + "Long" + ">" * 20_000 + "};",
        "entity A = {a: " + "{a: " * 20_000 + "Long" + "}" * 20_000 + "};",
    ],
)
def test_a_schema_that_is_too_deep_is_refused(text: str) -> None:
    (problem,) = make.problems(SchemaText(text))

    assert problem.reason == "SCHEMA_SYNTAX"
    assert "split it" in problem.message


def test_the_deepest_that_is_taken_leaves_room_for_what_is_around_it() -> None:
    condition = SHAPES["plus"](nesting.MAX_LEVELS // 2 - 3)

    assert isinstance(make.program(policy(condition)).judge(make.request()), Verdict)
