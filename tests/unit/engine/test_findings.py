from __future__ import annotations

import pytest

from placet_engine.changes import Edit
from placet_engine.compiling import Compiler
from placet_engine.findings import MOST, Change
from placet_engine.items import (
    PLATFORM,
    Body,
    ItemKey,
    Policy,
    Revision,
    SchemaText,
    Settings,
    TemplateLink,
)
from placet_engine.model import Layer, Position, Problem, Severity
from tests.unit.engine import make

SCOPE = 'principal == User::"ann", action == Action::"view", resource is Doc'


def warnings(*bodies: Body, platform: tuple[Body, ...] = ()) -> list[Problem]:
    """Check a tenant's set."""
    platform_items = make.item_set(PLATFORM, platform)
    result = Compiler().check(platform_items, make.item_set(make.TENANT, bodies))
    assert result.program is not None, result.problems
    return list(result.problems)


def found(cedar: str, *more: Body, platform: tuple[Body, ...] = ()) -> list[tuple[str, str]]:
    """Reason and subject of everything that is found in a text."""
    problems = warnings(*make.policies(cedar), *more, platform=platform)
    return [(problem.reason, problem.subject) for problem in problems]


def beside(first: str, second: str) -> list[tuple[str, str]]:
    """Find something about two policies, `a` and `b`."""
    return found(f'@id("a") {first} @id("b") {second}')


def test_a_finding_has_its_place_and_the_others_and_says_what_to_do() -> None:
    text = f'@id("p")\npermit({SCOPE});\n\n  @id("f")\nforbid(principal, action, resource);'

    (problem,) = warnings(*make.policies(text, file="a.cedar"))

    assert (problem.reason, problem.subject) == ("PERMIT_SHADOWED", "p")
    assert (problem.severity, problem.field) == (Severity.WARNING, "")
    assert problem.position == Position(file="a.cedar", line=1, column=1)
    assert problem.message == (
        "policy `p` is doubtful: forbid `f` (at a.cedar:4:3) forbids all it permits; "
        "narrow the forbid, or remove the permit at a.cedar:1:1"
    )


# -------------------------------------------------------------------------- never matching


@pytest.mark.parametrize(
    "cedar",
    [
        "permit(principal, action, resource) when { false };",
        "forbid(principal, action, resource) unless { true };",
        "permit(principal, action in [], resource);",
        "permit(principal, action, resource) when { context.x && false };",
        '@mode("log_only") permit(principal, action, resource) when { false };',
        f'permit({SCOPE}) when {{ principal == User::"bob" }};',
    ],
)
def test_what_can_never_match_is_found(cedar: str) -> None:
    assert found(cedar) == [("POLICY_NEVER_MATCHES", "p0")]


def test_a_forbid_that_can_fail_is_not_without_effect() -> None:
    assert found("forbid(principal, action, resource) when { context.x && false };") == []


def test_a_template_that_never_matches_is_told_once() -> None:
    dead = "permit(principal == ?principal, action, resource) when { false };"
    links = [TemplateLink(id=f"l{n}", template_id="p0", principal=ANN) for n in range(2)]

    assert found(dead, *links) == [("POLICY_NEVER_MATCHES", "p0")]


def test_a_link_may_never_match_where_its_template_does() -> None:
    template = (
        'permit(principal == ?principal, action, resource) when { principal == User::"bob" };'
    )
    link = TemplateLink(id="l", template_id="p0", principal=ANN)

    (problem,) = warnings(*make.policies(template, file="f"), link)

    assert problem.subject == "l"
    assert problem.message.startswith("template link `l` is doubtful: it can never match")
    assert problem.position == Position()


ANN = make.uid("User::ann")

# ----------------------------------------------------------------------- beside a forbid


@pytest.mark.parametrize(
    "forbid",
    [
        "forbid(principal, action, resource);",
        "forbid(principal is User, action, resource) when { true };",
        'forbid(principal in User::"ann", action, resource);',
        'forbid(principal == User::"ann", action in [Action::"x", Action::"view"], resource);',
        f"forbid({SCOPE}) when {{ context.x }};",
        "forbid(principal, action, resource is Doc) when { context.x };",
        f"forbid({SCOPE}) when {{ context.y && context.x }};",
        'forbid(principal, action, resource) when { principal == User::"ann" || true };',
    ],
)
def test_a_permit_is_shadowed_by_a_forbid_that_matches_whenever_it_does(forbid: str) -> None:
    permit = f"permit({SCOPE}) when {{ context.x && context has z }} when {{ context.y }};"

    assert found(f'{permit} @id("f") {forbid}') == [("PERMIT_SHADOWED", "p0")]


@pytest.mark.parametrize(
    "forbid",
    [
        'forbid(principal == User::"bob", action, resource);',
        "forbid(principal is Robot, action, resource);",
        'forbid(principal in Group::"g", action, resource);',
        'forbid(principal, action in Action::"group", resource);',
        'forbid(principal, action, resource == Doc::"d");',
        'forbid(principal, action, resource is Doc in Folder::"f");',
        "forbid(principal, action, resource) when { context.z };",
        "forbid(principal, action, resource) when { context.x || true };",
        '@mode("log_only") forbid(principal, action, resource);',
        "forbid(principal, action, resource) when { context.x } when { false };",
    ],
)
def test_a_permit_is_not_shadowed_by_a_forbid_that_may_not_match(forbid: str) -> None:
    permit = f"permit({SCOPE}) when {{ context.y }};"

    assert found(f'{permit} @id("f") {forbid}') == []


def test_a_permit_for_several_actions_is_shadowed_when_all_are() -> None:
    permit = 'permit(principal, action in [Action::"a", Action::"b"], resource);'
    one = 'forbid(principal, action in Action::"a", resource);'
    both = 'forbid(principal, action in [Action::"b", Action::"c", Action::"a"], resource);'

    assert beside(permit, one) == []
    assert beside(permit, both) == [("PERMIT_SHADOWED", "a")]


def test_groups_of_actions_are_those_of_the_schema() -> None:
    schema = SchemaText(
        """
        entity User, Doc;
        action all;
        action write in [all];
        action edit, view in [write] appliesTo { principal: User, resource: Doc };
        """
    )
    cedar = (
        'permit(principal, action == Action::"edit", resource);'
        'permit(principal is User, action in [Action::"view"], resource);'
        'forbid(principal, action in Action::"all", resource);'
    )

    assert found(cedar) == []
    assert found(cedar, schema) == [("PERMIT_SHADOWED", "p0"), ("PERMIT_SHADOWED", "p1")]


def test_stored_parents_are_no_proof() -> None:
    """They may change without anybody looking at the policies."""
    cedar = (
        'permit(principal == User::"ann", action, resource);'
        'forbid(principal in Group::"g", action, resource);'
    )

    assert found(cedar, make.stored("User::ann", parents=["Group::g"])) == []


def test_a_permit_and_a_forbid_of_the_same_are_a_conflict() -> None:
    rest = f"({SCOPE}) when {{ context.x }} unless {{ context.y }};"
    turned = f"({SCOPE}) unless {{ context.y }} when {{ context.x }};"

    assert beside(f"permit{rest}", f"forbid{rest}") == [("POLICY_CONFLICT", "a")]
    assert beside(f"forbid{rest}", f"permit{turned}") == [("POLICY_CONFLICT", "b")]


@pytest.mark.parametrize(
    ("layers", "is_found"),
    [
        ((Layer.TENANT, Layer.PLATFORM), True),
        ((Layer.TENANT, Layer.TENANT), True),
        ((Layer.PLATFORM, Layer.PLATFORM), True),
        ((Layer.TENANT, Layer.AGENT), False),
        ((Layer.PLATFORM, Layer.TENANT), False),
    ],
)
def test_what_a_lower_layer_forbids_it_forbids_on_purpose(
    layers: tuple[Layer, Layer], is_found: bool
) -> None:
    permit, forbid = layers
    bodies = [
        Policy(id="p", cedar=f"permit({SCOPE});", layer=permit),
        Policy(id="f", cedar="forbid(principal, action, resource);", layer=forbid),
    ]
    platform = make.item_set(PLATFORM, [p for p in bodies if p.layer is Layer.PLATFORM])
    own = make.item_set(make.TENANT, [p for p in bodies if p.layer is not Layer.PLATFORM])

    problems = [*Compiler().check(platform, own).problems]
    problems += Compiler().check(platform, platform).problems

    assert [(found.reason, found.subject) for found in problems] == (
        [("PERMIT_SHADOWED", "p")] if is_found else []
    )


EU = Policy(
    id="eu/stop",
    cedar="forbid(principal, action, resource);",
    layer=Layer.JURISDICTION,
    jurisdiction="EU",
    position=Position(file="eu.cedar", line=3, column=1),
)


def test_a_tenant_is_told_what_its_jurisdiction_forbids() -> None:
    permit = Policy(id="p", cedar=f"permit({SCOPE});")

    (problem,) = warnings(permit, Settings(jurisdictions=("EU",)), platform=(EU,))

    assert "forbid `eu/stop` of the platform for `EU` (at eu.cedar:3:1) forbids" in problem.message
    assert warnings(permit, Settings(jurisdictions=("US",)), platform=(EU,)) == []


def test_the_platforms_permits_stand_where_only_one_jurisdiction_forbids() -> None:
    permit = Policy(id="p", cedar=f"permit({SCOPE});", layer=Layer.PLATFORM)
    platform = make.item_set(PLATFORM, [permit, EU])

    assert Compiler().check(platform, platform).problems == ()


# ----------------------------------------------------------------------- beside a permit


def test_an_approval_that_a_wider_permit_makes_pointless_is_found() -> None:
    asks = f'@approval("boss") permit({SCOPE}) when {{ context.x && context.y }};'
    wide = "permit(principal, action, resource is Doc) when { context.x };"

    (problem,) = warnings(*make.policies(f'{asks}\n@id("wide") {wide}', file="a.cedar"))

    assert (problem.reason, problem.subject) == ("APPROVAL_NEVER_ASKED", "p0")
    assert problem.message == (
        "policy `p0` is doubtful: the approval is never asked for: permit `wide` (at a.cedar:2:1) "
        "allows all of this without; narrow that one, or ask for the approval there at a.cedar:1:1"
    )


def test_an_approval_that_the_platform_makes_pointless_is_found() -> None:
    wide = Policy(id="w", cedar="permit(principal, action, resource);", layer=Layer.PLATFORM)

    assert found(f'@approval("boss") permit({SCOPE});', platform=(wide,)) == [
        ("APPROVAL_NEVER_ASKED", "p0")
    ]


PERMIT = f"permit({SCOPE});"
WIDE = "permit(principal, action, resource);"


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        ("", "", "PERMIT_REDUNDANT"),
        ("", '@obligation("log")', "PERMIT_REDUNDANT"),
        ('@obligation("log")', '@obligation("mask, log")', "PERMIT_REDUNDANT"),
        ('@approval("a")', '@approval("b, a")', "PERMIT_REDUNDANT"),
        ('@approval("a") @obligation("log")', "", "APPROVAL_NEVER_ASKED"),
        ('@obligation("log")', "", ""),
        ('@approval("a")', '@approval("b")', ""),
        ('@approval("a") @obligation("log")', '@approval("a")', ""),
        ("", '@approval("a")', ""),
        ("", '@mode("log_only")', ""),
        ('@mode("log_only")', "", ""),
    ],
)
def test_a_permit_is_redundant_when_a_wider_one_demands_no_less(
    narrow: str, wide: str, expected: str
) -> None:
    assert beside(f"{narrow} {PERMIT}", f"{wide} {WIDE}") == ([(expected, "a")] if expected else [])


@pytest.mark.parametrize(
    ("rest", "others", "is_found"),
    [
        ("", "", True),
        ("when { context.x }", "when { context.x && true }", True),
        ("when { context.x && context.y }", "when { context.y } when { context.x }", True),
        ("when { context.x }", "when { context.y }", False),
    ],
)
def test_the_same_permit_twice_is_found_once(rest: str, others: str, is_found: bool) -> None:
    reasons = beside(f"permit({SCOPE}) {rest};", f"permit({SCOPE}) {others};")

    assert reasons == ([("POLICY_DUPLICATE", "b")] if is_found else [])


def test_a_forbid_is_the_same_only_if_it_fails_in_the_same_cases() -> None:
    forbid = f"forbid({SCOPE}) when {{ context.x }} when {{ context.y }};"
    turned = f"forbid({SCOPE}) when {{ context.y }} when {{ context.x }};"

    assert beside(forbid, forbid) == [("POLICY_DUPLICATE", "b")]
    assert beside(forbid, turned) == []


def test_a_narrower_forbid_may_have_a_reason_of_its_own() -> None:
    assert beside(f"forbid({SCOPE});", "forbid(principal, action, resource);") == []


def test_what_the_platform_has_too_is_no_mistake() -> None:
    wide = Policy(id="w", cedar=WIDE, layer=Layer.PLATFORM)
    stop = Policy(id="s", cedar=f"forbid({SCOPE});", layer=Layer.PLATFORM)

    assert found(f'{WIDE} @id("f") forbid(principal == User::"x", action, resource);',
                 platform=(wide,)) == []  # fmt: skip
    assert found(f"forbid({SCOPE});", platform=(stop,)) == []


def test_the_gravest_finding_is_the_one_that_is_told() -> None:
    cedar = f'@approval("a") {PERMIT} {WIDE} @id("f") forbid({SCOPE});'

    assert found(cedar) == [("POLICY_CONFLICT", "p0")]


def test_permits_of_layers_that_cannot_allow_are_left_to_that_warning() -> None:
    agents = [Policy(id=name, cedar=PERMIT, layer=Layer.AGENT) for name in ("a", "b")]

    assert {problem.reason for problem in warnings(*agents)} == {"PERMIT_NEVER_ALLOWS"}


# ------------------------------------------------------------------------------ a change


def after(change: dict[str, str | None], *, rewritten: tuple[str, ...] = ()) -> list[str]:
    """Change a set in which `dead` is shadowed; return what is said about whom."""
    before = make.item_set(
        make.TENANT,
        make.policies(
            f'@id("dead") permit({SCOPE});'
            '@id("stop") forbid(principal == User::"ann", action, resource);'
            '@id("never") permit(principal, action, resource) when { false };'
            '@id("bob") permit(principal == User::"bob", action, resource);'
        ),
    )
    compiler, platform = Compiler(), make.item_set(PLATFORM, ())
    base = compiler.check(platform, before)
    assert {found.subject for found in base.problems} == {"dead", "never"}
    edits = [
        Edit(Policy(id=id_, cedar="").key, None if cedar is None else Policy(id=id_, cedar=cedar))
        for id_, cedar in change.items()
    ]
    edited = {edit.key for edit in edits}
    written = edited | {Policy(id=id_, cedar="").key for id_ in rewritten}
    result = compiler.check(
        platform,
        before.editing(edits, Revision(2)),
        base.own,
        change=Change(written=written, edited=edited),
    )
    return [f"{found.reason} {found.subject}" for found in result.problems]


def test_a_change_tells_nothing_of_policies_it_leaves_alone() -> None:
    assert after({"new": 'permit(principal == User::"carl", action, resource);'}) == []


def test_a_change_tells_what_it_makes_of_others() -> None:
    wide = "forbid(principal, action, resource is Doc);"

    assert after({"stop": wide}) == ["PERMIT_SHADOWED dead"]
    assert after({"more": 'forbid(principal in User::"bob", action, resource);'}) == [
        "PERMIT_SHADOWED bob"
    ]


def test_a_change_is_not_to_blame_for_what_was_so_before() -> None:
    assert after({"too": 'forbid(principal in User::"ann", action, resource);'}) == []


def test_a_forbid_that_goes_takes_its_warnings_with_it() -> None:
    assert after({"stop": None}, rewritten=("dead", "bob")) == []


def test_a_change_tells_what_there_is_about_all_it_writes() -> None:
    assert after({}, rewritten=("dead", "bob")) == ["PERMIT_SHADOWED dead"]
    assert after({"never": None}, rewritten=("stop",)) == []


def test_a_link_that_comes_with_its_template_is_told_of() -> None:
    template = Policy(id="t", cedar="permit(principal == ?principal, action, resource);")
    link = TemplateLink(id="l", template_id="t", principal=ANN)
    stop = Policy(id="stop", cedar="forbid(principal, action, resource);")
    own = make.item_set(make.TENANT, [template, link, stop])
    platform = make.item_set(PLATFORM, ())

    result = Compiler().check(
        platform, own, change=Change(written=[template.key], edited=[template.key])
    )

    assert [found.subject for found in result.problems] == ["l"]


def test_other_settings_make_everything_worth_looking_at() -> None:
    permit, settings = Policy(id="p", cedar=PERMIT), Settings(jurisdictions=("EU",))
    platform = make.item_set(PLATFORM, [EU])
    own = make.item_set(make.TENANT, [permit, settings])

    result = Compiler().check(
        platform, own, change=Change(written=[settings.key], edited=[settings.key])
    )

    assert [found.subject for found in result.problems] == ["p"]


def test_known_warnings_are_not_repeated_either() -> None:
    idle = [Policy(id=name, cedar=PERMIT, layer=Layer.AGENT) for name in ("a", "b")]
    own, platform = make.item_set(make.TENANT, idle), make.item_set(PLATFORM, ())
    key: ItemKey = idle[1].key

    result = Compiler().check(platform, own, change=Change(written=[key], edited=[key]))

    assert [found.subject for found in result.problems] == ["b"]


def test_only_so_many_are_told() -> None:
    permits = [Policy(id=f"p{number:03}", cedar=PERMIT) for number in range(MOST + 2)]

    exactly, more = warnings(*permits[:-1]), warnings(*permits)

    assert {problem.reason for problem in exactly} == {"POLICY_DUPLICATE"}
    assert [len(exactly), len(more)] == [MOST, MOST + 1]
    assert (more[-1].reason, more[-1].severity) == ("MORE_FINDINGS", Severity.WARNING)


def test_a_set_with_errors_is_not_looked_at() -> None:
    dead, bad = (
        Policy(id="p", cedar="permit(principal, action in [], resource);"),
        Policy(id="bad", cedar="permit"),
    )

    problems = (
        Compiler()
        .check(make.item_set(PLATFORM, ()), make.item_set(make.TENANT, [dead, bad]))
        .problems
    )

    assert [problem.subject for problem in problems] == ["bad"]
