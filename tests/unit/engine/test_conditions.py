from __future__ import annotations

import pytest

from tests.unit.engine import make


def told(rest: str, scope: str = "principal, action, resource") -> str:
    """Say what a policy's conditions come to: always, never, or how many are left."""
    found = make.parsed(f"permit({scope}) {rest};").conditions
    what = "never" if not found.can_hold else "always" if not found.conjuncts else "depends"
    return f"{what}, can fail" if found.can_fail else what


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("", "always"),
        ("when { true }", "always"),
        ("when { false }", "never"),
        ("unless { true }", "never"),
        ("unless { false }", "always"),
        ("when { !false && (false || true) }", "always"),
        ("when { true } unless { 1 < 2 }", "never"),
        ("when { 2 <= 1 }", "never"),
        ("when { 1 >= 1 && 2 > 1 && 1 != 2 }", "always"),
        ('when { "a" == "b" }', "never"),
        ("when { 1 == true }", "never"),
        ('when { User::"a" == User::"a" }', "always"),
        ('when { User::"a" == Doc::"a" }', "never"),
        ('when { User::"a" is Doc }', "never"),
        ("when { if true then false else context.x }", "never"),
        ("when { if context has x then true else true }", "always"),
        ("when { principal == principal }", "always"),
        ("when { principal in principal }", "always"),
        ("when { principal in [] }", "never"),
        ("when { principal has level || true }", "always"),
        ('when { principal == User::"a" && principal == User::"b" }', "never"),
        ('when { principal == User::"a" } when { principal is Doc }', "never"),
        ("when { principal is User && principal is Doc }", "never"),
        # Nobody knows.
        ("when { principal == resource }", "depends"),
        ('when { principal in Group::"g" }', "depends"),
        ('when { principal is User in Group::"g" }', "depends"),
        ("when { context has a && principal has a }", "depends"),
        ('when { principal.hasTag("a") }', "depends"),
        ('when { [1, 2].contains(1) }', "depends, can fail"),
        # What fails is neither true nor false.
        ("when { context.x }", "depends, can fail"),
        ("when { context.x || true }", "depends, can fail"),
        ("when { true || context.x }", "always"),
        ("when { false && context.x }", "never"),
        ("when { context.x && false }", "never, can fail"),
        ("when { context.x } when { false }", "never, can fail"),
        ("when { 1 + 1 == 3 }", "depends, can fail"),
        ("when { context has a.b }", "depends, can fail"),
        ("when { 1 }", "depends, can fail"),
    ],
)  # fmt: skip
def test_conditions_are_folded(rest: str, expected: str) -> None:
    assert told(rest) == expected


@pytest.mark.parametrize(
    ("scope", "condition", "expected"),
    [
        ('principal == User::"a", action, resource', 'principal == User::"b"', "never"),
        ('principal == User::"a", action, resource', 'principal == User::"a"', "always"),
        ('principal == User::"a", action, resource', "principal is User", "always"),
        ('principal == User::"a", action, resource', 'principal in User::"a"', "always"),
        ('principal == User::"a", action, resource', 'principal in [User::"a"]', "always"),
        ('principal == User::"a", action, resource', 'principal in Group::"g"', "depends"),
        ("principal is User, action, resource", 'principal == Doc::"a"', "never"),
        ("principal is User, action, resource", "principal is User", "always"),
        ("principal is User, action, resource", 'principal == User::"a"', "depends"),
        ('principal is User in Group::"g", action, resource', "principal is Doc", "never"),
        ('principal in Group::"g", action, resource', 'principal == User::"a"', "depends"),
        ('principal, action == Action::"a", resource', 'action == Action::"b"', "never"),
        ('principal, action in [Action::"a"], resource', 'action == Action::"b"', "depends"),
    ],
)
def test_a_scope_tells_something_of_the_conditions(
    scope: str, condition: str, expected: str
) -> None:
    assert told(f"when {{ {condition} }}", scope) == expected


def test_a_link_tells_more_than_its_template() -> None:
    template = make.parsed(
        'permit(principal == ?principal, action, resource) when { principal == User::"a" };'
    )

    assert template.conditions.can_hold
    assert template.link(principal=make.uid("User::a")).conditions.conjuncts == ()
    assert not template.link(principal=make.uid("User::b")).conditions.can_hold


def test_what_has_to_hold_is_cut_at_each_and_in_order() -> None:
    def conjuncts(rest: str) -> tuple[str, ...]:
        return make.parsed(f"permit(principal, action, resource) {rest};").conditions.conjuncts

    apart = conjuncts("when { context.a } when { true && context.b && context.c }")

    assert apart == conjuncts("when { context.a && (context.b && context.c) }")
    assert len(apart) == 3
    assert conjuncts("unless { context.a }") == conjuncts("when { !context.a }")


def test_what_is_very_long_is_not_looked_into() -> None:
    long = " || ".join(["true"] * 300)

    assert told(f"when {{ {long} }}") == "depends, can fail"
