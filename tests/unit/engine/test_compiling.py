from __future__ import annotations

import pytest

from placet_engine.compiling import Compiler
from placet_engine.items import (
    PLATFORM,
    Body,
    ItemKind,
    Policy,
    Revision,
    SchemaText,
    SchemaValidation,
    Settings,
    TemplateLink,
)
from placet_engine.model import Layer, Outcome, Position, Problem, Severity, Verdict
from placet_engine.parsing import PolicyParser
from tests.unit.engine import make

PERMIT = "permit(principal, action, resource);"

SCHEMA = SchemaText(
    """
    entity Group;
    entity User in [Group] { name: String, boss?: User } tags String;
    entity Doc { owner: User, "a space"?: Long };
    action view appliesTo { principal: User, resource: Doc, context: { ip?: ipaddr } };
    action edit in [view] appliesTo { principal: User, resource: Doc };
    """
)


def only(*bodies: Body, platform: list[Body] | None = None) -> Problem:
    (problem,) = make.problems(*bodies, platform=platform or [])
    return problem


def found(*bodies: Body) -> list[tuple[str, str, str]]:
    """Reason, subject and place of every problem."""
    return [
        (problem.reason, problem.subject, str(problem.position))
        for problem in make.problems(*bodies)
    ]


# -------------------------------------------------------------------------- one's own text


@pytest.mark.parametrize(
    ("cedar", "reason", "message"),
    [
        (
            'permit(\n  principle, action == Action::"view", resource);',
            "POLICY_SYNTAX",
            "found an invalid variable in the policy scope: principle at f.cedar:2:3",
        ),
        (
            "permit(principal, action, resource)\n  when { context.x.foo() };",
            "POLICY_SYNTAX",
            "`foo` is not a valid method at f.cedar:2:20",
        ),
        (
            "permit(principal, action, resource)\n  unless { owner };",
            "POLICY_SYNTAX",
            "invalid variable: owner at f.cedar:2:12",
        ),
        (
            "permit(principal, action, resource)\n when { context. };",
            "POLICY_SYNTAX",
            "unexpected token `}` at f.cedar:2:18",
        ),
        (
            "permit(principal, action, resource)",
            "POLICY_SYNTAX",
            "unexpected end of input; a policy ends with `;` at f.cedar:1:5",
        ),
        (
            '@x("1")\n@x("2")\npermit(principal, action, resource);',
            "POLICY_SYNTAX",
            "duplicate annotation: @x at f.cedar:1:5",
        ),
        (
            '@mode("dry") permit(principal, action, resource);',
            "POLICY_ANNOTATION",
            '`@mode("dry")` is not a mode; use `enforce` or `log_only` at f.cedar:1:5',
        ),
        (
            '\n\n@approvals("boss")\npermit(principal, action, resource);',
            "POLICY_ANNOTATION",
            "`@approvals` has no meaning; did you mean `@approval`? at f.cedar:3:1",
        ),
        (
            '@reason("r")\n@approval("boss")\nforbid(principal, action, resource);',
            "POLICY_ANNOTATION",
            "`@approval` has no meaning on a `forbid`; put it on the `permit` at f.cedar:2:1",
        ),
        (
            '@reason("r") @obligation("")\npermit(principal, action, resource);',
            "POLICY_ANNOTATION",
            '`@obligation` needs a value, as in `@obligation("redact:ssn")` at f.cedar:1:18',
        ),
    ],
)
def test_policy_that_does_not_compile_is_reported_with_its_place(
    cedar: str, reason: str, message: str
) -> None:
    """The policy starts in the fifth column of the first line."""
    (policy,) = make.policies(f"    {cedar}", file="f.cedar")

    problem = only(policy)

    assert problem.message == f"policy `p0` does not compile: {message}"
    assert problem.message.endswith(f" at {problem.position}")
    assert (problem.severity, problem.reason, problem.subject) == (Severity.ERROR, reason, "p0")


def test_policy_of_unknown_place_is_reported_without_one() -> None:
    problem = only(Policy(id="p", cedar=PERMIT * 2))

    assert problem == Problem(
        severity=Severity.ERROR,
        reason="POLICY_COUNT",
        message="policy `p` does not compile: holds 2 policies; "
        "give each policy an item of its own",
        subject="p",
    )


def test_every_problem_is_reported_in_one_go() -> None:
    bad_schema = SchemaText("entity User {")
    bad_entity = make.stored("User::ann", {"x": None})  # type: ignore[dict-item]

    problems = make.problems(
        *make.policies('@id("a") permit(principle); @id("b") permit(principal'),
        TemplateLink(id="l", template_id="t"),
        bad_schema,
        bad_entity,
    )

    assert [problem.reason for problem in problems] == [
        "POLICY_SYNTAX",
        "POLICY_SYNTAX",
        "LINK_TEMPLATE_MISSING",
        "SCHEMA_SYNTAX",
        "ENTITY_INVALID",
    ]


def test_a_set_with_errors_makes_no_program() -> None:
    result = make.compilation(Policy(id="bad", cedar="permit"), Policy(id="good", cedar=PERMIT))

    assert result.program is None
    assert [problem.subject for problem in result.errors] == ["bad"]
    assert result.warnings == ()


def test_problems_of_the_platforms_policies_are_reported() -> None:
    bad = Policy(id="platform/p", cedar="permit", layer=Layer.PLATFORM)

    assert only(platform=[bad]).subject == "platform/p"


# ----------------------------------------------------------------------------------- links

TEMPLATE = Policy(id="t", cedar="permit(principal == ?principal, action, resource);")
ANN = make.uid("User::ann")


@pytest.mark.parametrize(
    ("link", "reason", "message"),
    [
        (
            TemplateLink(id="l", template_id="nowhere", principal=ANN),
            "LINK_TEMPLATE_MISSING",
            "template link `l` is of template `nowhere`, which is not there; publish the template "
            "with it, or remove the link as well",
        ),
        (
            TemplateLink(id="l", template_id="static", principal=ANN),
            "LINK_TEMPLATE_MISSING",
            "template link `l` is of `static`, which is a policy without slots; name a template",
        ),
        (
            TemplateLink(id="l", template_id="t"),
            "LINK_SLOTS",
            "template link `l`: the template has `?principal` and the link fills no slots",
        ),
        (
            TemplateLink(id="l", template_id="t", principal=ANN, resource=ANN),
            "LINK_SLOTS",
            "template link `l`: the template has `?principal` and the link fills `?principal` and "
            "`?resource`",
        ),
        (
            TemplateLink(id="static", template_id="t", principal=ANN),
            "ID_TAKEN",
            "template link `static` has the id of a policy; give it another",
        ),
    ],
)
def test_link_that_does_not_fit_is_reported(link: TemplateLink, reason: str, message: str) -> None:
    problem = only(TEMPLATE, Policy(id="static", cedar=PERMIT), link)

    assert (problem.reason, problem.message, problem.subject) == (reason, message, link.id)
    assert problem.severity is Severity.ERROR


def test_link_of_a_template_that_does_not_compile_is_not_reported_on_top() -> None:
    bad = Policy(id="t", cedar="permit(principal == ?principal, action);")

    assert only(bad, TemplateLink(id="l", template_id="t", principal=ANN)).subject == "t"


def test_link_is_of_a_template_of_the_same_owner() -> None:
    of_platform = Policy(id="t", cedar=TEMPLATE.cedar, layer=Layer.PLATFORM)
    link = TemplateLink(id="l", template_id="t", principal=ANN)

    assert only(link, platform=[of_platform]).reason == "LINK_TEMPLATE_MISSING"


def test_template_by_itself_has_no_effect() -> None:
    program = make.program(TEMPLATE)

    assert program.policies == ()


def test_link_is_a_policy_of_its_templates_layer() -> None:
    template = Policy(id="t", cedar=TEMPLATE.cedar.replace("permit", "forbid"), layer=Layer.AGENT)

    program = make.program(template, TemplateLink(id="l", template_id="t", principal=ANN))

    (policy,) = program.policies
    assert (policy.id, policy.layer, policy.template_id) == ("l", Layer.AGENT, "t")


# ---------------------------------------------------------------------------------- layers


def test_permits_of_layers_that_cannot_allow_are_warned_of() -> None:
    (policy,) = make.policies(PERMIT, layer=Layer.AGENT, file="a.cedar")

    result = make.compilation(policy)

    assert result.program is not None
    assert result.warnings == result.problems
    (problem,) = result.warnings
    assert problem.reason == "PERMIT_NEVER_ALLOWS"
    assert problem.message == (
        "policy `p0` is doubtful: a permit of layer agent can never allow; move it to the tenant "
        "or the platform, or write what is forbidden instead at a.cedar:1:1"
    )


def test_templates_of_layers_that_cannot_allow_are_warned_of_once() -> None:
    template = Policy(id="t", cedar=TEMPLATE.cedar, layer=Layer.AGENT)
    links = [TemplateLink(id=f"l{n}", template_id="t", principal=ANN) for n in range(2)]

    problem = only(template, *links)

    assert (problem.reason, problem.subject) == ("PERMIT_NEVER_ALLOWS", "t")


EU_ONLY = Policy(
    id="eu",
    cedar="forbid(principal, action, resource);",
    layer=Layer.JURISDICTION,
    jurisdiction="EU",
)


@pytest.mark.parametrize(
    ("jurisdictions", "applies"),
    [((), False), (("US",), False), (("EU",), True), (("US", "EU"), True)],
)
def test_policies_of_a_jurisdiction_apply_to_tenants_under_it(
    jurisdictions: tuple[str, ...], applies: bool
) -> None:
    program = make.program(Settings(jurisdictions=jurisdictions), platform=[EU_ONLY])

    assert ("eu" in {policy.id for policy in program.policies}) is applies


def test_links_of_a_jurisdiction_apply_to_tenants_under_it() -> None:
    template = Policy(id="t", cedar=TEMPLATE.cedar, layer=Layer.JURISDICTION, jurisdiction="EU")
    platform: list[Body] = [template, TemplateLink(id="l", template_id="t", principal=ANN)]

    assert make.program(Settings(jurisdictions=("EU",)), platform=platform).policies
    assert not make.program(Settings(jurisdictions=("US",)), platform=platform).policies


def test_platform_by_itself_is_compiled_whole() -> None:
    """Before any tenant is known, so that a bad policy of the EU is found at publish."""
    bad = Policy(id="eu/bad", cedar="permit", layer=Layer.JURISDICTION, jurisdiction="EU")
    platform = make.item_set(PLATFORM, [EU_ONLY, bad])
    good = make.item_set(PLATFORM, [EU_ONLY])

    assert [p.subject for p in Compiler().compile(platform, platform).problems] == ["eu/bad"]
    program = Compiler().compile(good, good).program
    assert program is not None
    assert [policy.id for policy in program.policies] == ["eu"]


def test_program_holds_the_platforms_policies_and_ones_own() -> None:
    program = make.program(
        Policy(id="own", cedar=PERMIT),
        platform=[Policy(id="ours", cedar=PERMIT, layer=Layer.PLATFORM), make.stored("User::x")],
    )

    assert {policy.id for policy in program.policies} == {"own", "ours"}
    assert len(program.entities) == 0, "the platform's entities are not the tenant's"


@pytest.mark.parametrize(("platform", "own", "newest"), [(3, 7, 7), (7, 3, 7), (0, 0, 0)])
def test_program_is_of_the_newest_revision(platform: int, own: int, newest: int) -> None:
    result = Compiler().compile(
        make.item_set(PLATFORM, [], Revision(platform)), make.item_set("acme", [], Revision(own))
    )

    assert result.program is not None
    assert (result.program.revision, result.program.tenant) == (newest, "acme")


def test_settings_are_ones_own() -> None:
    settings = Settings(max_staleness_s=3)

    program = make.program(settings, platform=[Settings(allow_empty_ids=True)])

    assert program.settings == settings
    assert make.program().settings == Settings()


# -------------------------------------------------------------------------------- entities


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("User::ann", {"x": None}, "in attribute `x` on `User::\"ann\"`, found a `null`"),
        ("User::ann", {"x": 1.5}, "data did not match any variant"),
        ("User::ann", {"x": 2**63}, "data did not match any variant"),
        (
            "User::ann",
            {"x": {"__extn": {"fn": "ip", "arg": "nope"}}},
            'failed to evaluate attribute `x` of `User::"ann"`: error while evaluating `ipaddr` '
            "extension function: invalid IP address: nope",
        ),
        (
            "User::ann",
            {"x": {"__extn": {"fn": "sqrt", "arg": "4"}}},
            "extension function `sqrt` does not exist",
        ),
        ("No type::ann", {}, "unexpected token `type`"),
    ],
)  # fmt: skip
def test_entity_cedar_does_not_take_is_reported(
    name: str, attributes: dict[str, object], message: str
) -> None:
    bad = make.stored(name, attributes)  # type: ignore[arg-type]

    problem = only(make.stored("User::good"), bad)

    assert (problem.reason, problem.field) == ("ENTITY_INVALID", "entities")
    assert problem.message.startswith(f"entity `{make.uid(name)}`: ")
    assert message in problem.message


def test_every_bad_entity_is_reported_up_to_a_bound() -> None:
    few = [make.stored(f"User::{n}", {"x": 1.5}) for n in range(3)]  # type: ignore[dict-item]
    many = [make.stored(f"User::{n}", {"x": 1.5}) for n in range(50)]  # type: ignore[dict-item]

    assert len(make.problems(*few)) == 3
    assert len(make.problems(*many)) == 20


def test_cycle_of_parents_is_reported() -> None:
    """Each entity is good by itself."""
    problem = only(
        make.stored("Group::a", parents=["Group::b"]),
        make.stored("Group::b", parents=["Group::a"]),
    )

    assert problem.reason == "ENTITY_INVALID"
    assert "cycle" in problem.message


@pytest.mark.parametrize(
    "body",
    [make.stored("User::"), make.stored("User::ann", parents=["Group::"])],
    ids=["its own", "a parent's"],
)
def test_empty_id_is_reported_unless_the_tenant_wants_them(body: Body) -> None:
    problem = only(body)

    assert (problem.severity, problem.reason) == (Severity.ERROR, "EMPTY_ID")
    assert "has an empty id, or a parent that has; name it" in problem.message
    assert make.problems(body, Settings(allow_empty_ids=True)) == []


# ---------------------------------------------------------------------------------- schema


@pytest.mark.parametrize("text", ["entity User {", "{", '{"": {}}', "entity User in [Nobody];"])
def test_schema_that_does_not_parse_is_reported(text: str) -> None:
    problem = only(SchemaText(text))

    assert (problem.severity, problem.reason) == (Severity.ERROR, "SCHEMA_SYNTAX")
    assert problem.message.startswith("the schema does not parse: ")
    assert problem.field == "schema"


def test_schema_is_read_in_either_syntax() -> None:
    json_schema = SchemaText(
        ' {"": {"entityTypes": {"User": {}, "Doc": {}}, "actions": {"view": {"appliesTo": '
        '{"principalTypes": ["User"], "resourceTypes": ["Doc"]}}}}}'
    )
    bad = Policy(id="p", cedar='permit(principal, action == Action::"view", resource is Dok);')

    assert [problem.reason for problem in make.problems(json_schema, bad)] == [
        "POLICY_NOT_IN_SCHEMA"
    ] * len(make.problems(json_schema, bad))
    assert make.problems(json_schema, bad)
    assert make.problems(json_schema, Policy(id="p", cedar=make.ANYBODY)) == []


@pytest.mark.parametrize(
    ("name", "attributes", "parents", "message"),
    [
        ("User::ann", {"name": 1}, [], "expected to have type string"),
        ("User::ann", {}, [], "to have attribute `name`"),
        ("User::ann", {"name": "x", "age": 3}, [], "`age`"),
        ("User::ann", {"name": "x"}, ["Doc::d"], "not allowed to have an ancestor of type `Doc`"),
        ("Robot::r2", {}, [], "type `Robot` which is not declared in the schema"),
    ],
)
def test_entity_against_the_schema_is_reported(
    name: str, attributes: dict[str, str], parents: list[str], message: str
) -> None:
    good = make.stored("User::bob", {"name": "Bob", "boss": {"type": "User", "id": "ann"}})

    problem = only(SCHEMA, good, make.stored(name, attributes, parents=parents))

    assert problem.reason == "ENTITY_INVALID"
    assert problem.message.startswith(f"entity `{make.uid(name)}`: ")
    assert message in problem.message


MIXED = """\
// A template, a policy, a template again: Cedar numbers them all as they stand.
@id("t1")
permit(principal == ?principal, action == Action::"view", resource)
  when { resource.ownr == principal };

@id("s1") permit(principal, action == Action::"vew", resource);

@id("fine") permit(principal, action == Action::"view", resource)
  when { context has ip && context.ip.isLoopback() };

// Comments; with semicolons.
@id("t2")
permit(principal in ?principal, action == Action::"edit", resource)
  when { principal.nme == "x" };

@id("s2")
permit(principal, action == Action::"view", resource) when { context.ip.isLoopback() };

@id("s3") permit(principal is Usr, action == Action::"view", resource);
"""


def test_policies_against_the_schema_are_reported_with_their_places() -> None:
    problems = found(SCHEMA, *make.policies(MIXED, file="m.cedar"))

    assert [place for place in problems if place[2].count(":") == 2] == problems
    assert {(reason, subject) for reason, subject, _ in problems} == {
        ("POLICY_NOT_IN_SCHEMA", subject) for subject in ("t1", "t2", "s1", "s2", "s3")
    }
    places = {(subject, place) for _, subject, place in problems}
    assert places >= {
        ("t1", "m.cedar:4:19"),
        ("s1", "m.cedar:6:39"),
        ("t2", "m.cedar:14:20"),
        ("s2", "m.cedar:17:70"),
        ("s3", "m.cedar:19:31"),
    }


def test_message_about_the_schema_names_the_policy_and_not_its_number() -> None:
    (policy,) = make.policies(
        'permit(principal, action == Action::"view", resource) when { resource.ownr == 1 };',
        file="m.cedar",
    )

    assert only(SCHEMA, policy).message == (
        "policy `p0` does not compile: attribute `ownr` on entity type `Doc` not found "
        "at m.cedar:1:71"
    )


def test_policies_against_the_schema_may_be_let_pass_with_a_warning() -> None:
    settings = Settings(schema_validation=SchemaValidation.WARN)
    bad = Policy(
        id="p",
        cedar='permit(principal, action == Action::"view", resource) when { resource.x == 1 };',
    )

    result = make.compilation(SCHEMA, settings, bad)

    assert result.program is not None
    assert [(problem.severity, problem.reason) for problem in result.problems] == [
        (Severity.WARNING, "POLICY_NOT_IN_SCHEMA")
    ]
    assert result.warnings[0].message.startswith("policy `p` is doubtful: attribute `x`")


def test_policies_of_the_platform_are_not_held_against_a_tenants_schema() -> None:
    """They speak of every tenant's actions."""
    platform = Policy(
        id="platform/p",
        cedar='forbid(principal, action == Action::"unheard of", resource);',
        layer=Layer.PLATFORM,
    )

    assert make.problems(SCHEMA, Policy(id="p", cedar=make.ANYBODY), platform=[platform]) == []


def test_policies_are_held_against_the_schema_only_when_all_parse() -> None:
    """Their numbers in Cedar's answer would be those of other policies."""
    bad = make.policies(
        '@id("a") permit(principle); @id("b") permit(principal is Usr, action, resource);'
    )

    assert {reason for reason, _, _ in found(SCHEMA, *bad)} == {"POLICY_SYNTAX"}


def test_schema_of_the_platform_is_for_the_platform_alone() -> None:
    assert make.problems(make.stored("Robot::r2"), platform=[SCHEMA]) == []


# ---------------------------------------------------------------------------------- memory


def test_compiler_parses_what_it_knows_once() -> None:
    compiler = Compiler(PolicyParser())
    items = make.item_set("acme", make.policies(f"{PERMIT} {make.ANYBODY}"))
    platform = make.item_set(PLATFORM, [])

    first = compiler.compile(platform, items).program
    second = compiler.compile(platform, items).program

    assert first is not None
    assert second is not None
    assert all(
        one.parsed is other.parsed
        for one, other in zip(first.policies, second.policies, strict=True)
    )


def test_what_compiles_decides() -> None:
    program = make.program(
        SCHEMA,
        *make.policies(
            '@id("t") permit(principal == ?principal, action == Action::"view", resource)'
            " when { resource.owner == principal };"
        ),
        TemplateLink(id="l", template_id="t", principal=ANN),
        make.stored("User::ann", {"name": "Ann"}),
        make.stored("Doc::plan", {"owner": make.ref("User::ann")}),
    )

    verdict = program.judge(make.request())

    assert isinstance(verdict, Verdict)
    assert verdict.outcome is Outcome.ALLOW
    assert [reason.policy_id for reason in verdict.reasons] == ["l"]


def test_positions_of_policies_are_where_their_file_has_them() -> None:
    first, second = make.policies(f"{PERMIT}\n  {PERMIT}", file="x.cedar")

    assert first.position == Position(file="x.cedar", line=1, column=1)
    assert second.position == Position(file="x.cedar", line=2, column=3)
    assert first.key.kind is ItemKind.POLICY
