from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cedarpy
import pytest

from placet_engine import native
from placet_engine.explaining import Explanation, LayerVerdict
from placet_engine.items import Body, Policy, SchemaText, Settings, TemplateLink
from placet_engine.model import (
    Attributes,
    Cause,
    Entity,
    EntityUid,
    Layer,
    Outcome,
    Request,
    Undecidable,
    Verdict,
)
from placet_engine.program import Program
from tests.unit.engine import make

PERMIT = "permit(principal, action, resource);"

SCHEMA = SchemaText(
    """
    entity User { name: String, boss?: User };
    entity Doc { owner?: User };
    action view appliesTo {
      principal: User, resource: Doc, context: { ip?: ipaddr, user?: User, users?: Set<User> }
    };
    """
)


def verdict(program: Program, request: Request) -> Verdict:
    answer = program.judge(request)
    assert isinstance(answer, Verdict), answer
    return answer


def explanation(program: Program, request: Request) -> Explanation:
    answer = program.explain(request)
    assert isinstance(answer, Explanation), answer
    return answer


def allows(program: Program, request: Request) -> bool:
    return verdict(program, request).outcome is Outcome.ALLOW


# ---------------------------------------------------------------------------- what is read


def test_stored_data_goes_before_what_the_request_says() -> None:
    program = make.program(
        *make.policies("permit(principal, action, resource) when { principal.level >= 3 };"),
        make.stored("User::ann", {"level": 1}),
    )

    pretends = make.request(entities=[make.entity("User::ann", {"level": 9})])
    unknown = make.request("User::bob", entities=[make.entity("User::bob", {"level": 9})])

    assert not allows(program, pretends)
    assert allows(program, unknown)


def test_entities_a_policy_names_are_read_though_the_request_does_not_lead_to_them() -> None:
    program = make.program(
        *make.policies(
            'permit(principal, action, resource) when { Config::"site".open };'
            'forbid(principal, action, resource) when { User::"root" in Group::"locked" };'
        ),
        make.stored("Config::site", {"open": True}),
    )

    assert allows(program, make.request())
    assert not allows(
        program, make.request(entities=[make.entity("User::root", parents=["Group::locked"])])
    )


def test_entities_a_linked_template_names_are_read() -> None:
    program = make.program(
        *make.policies(
            '@id("t") permit(principal == ?principal, action, resource)'
            ' when { Config::"site".open };'
        ),
        TemplateLink(id="l", template_id="t", principal=make.uid("User::ann")),
        make.stored("Config::site", {"open": True}),
    )

    assert allows(program, make.request())


ODD = EntityUid("User", 'a"b\\c\n\t\0😀::\u202e')


def test_ids_of_any_text_are_told_apart() -> None:
    program = make.program(
        Policy(id="p", cedar=f"permit(principal == {ODD}, action, resource);"),
        Policy(id="t", cedar="permit(principal, action, resource in ?resource);"),
        TemplateLink(id="l", template_id="t", resource=EntityUid("Folder", ODD.id)),
    )
    folder = Entity(uid=EntityUid("Folder", ODD.id))
    inside = Entity(uid=EntityUid("Doc", "\n"), parents=(folder.uid,))

    def request(subject: EntityUid, *entities: Entity) -> Request:
        return Request(
            subject=subject,
            action=EntityUid("Action", ODD.id),
            resource=EntityUid("Doc", "\n"),
            entities=entities,
        )

    assert allows(program, request(ODD))
    assert not allows(program, request(EntityUid("User", ODD.id + " ")))
    assert allows(program, request(make.uid("User::ann"), inside))


@pytest.mark.parametrize(
    "id_", ["a/b:c@d#e+f", "0", "policy0", "p q\n`\"'", "größe😀", "__proto__"]
)
def test_policy_ids_of_any_text_come_back_as_they_are(id_: str) -> None:
    failing = "permit(principal, action, resource) when { context.nothing };"
    program = make.program(Policy(id=id_, cedar=PERMIT), Policy(id=id_ + "!", cedar=failing))

    answer = verdict(program, make.request())

    assert [reason.policy_id for reason in answer.reasons] == [id_]
    assert [error.policy_id for error in answer.errors] == [id_ + "!"]


def test_actions_in_a_group_of_the_schema() -> None:
    schema = SchemaText(
        """
        entity User; entity Doc;
        action read;
        action view in [read] appliesTo { principal: User, resource: Doc };
        """
    )
    program = make.program(
        schema, *make.policies('permit(principal, action in Action::"read", resource);')
    )

    assert allows(program, make.request())


@pytest.mark.parametrize(
    "context",
    [
        {"user": {"type": "User", "id": "eve"}},
        {"user": make.ref("User::eve")},
        {"users": [{"type": "User", "id": "eve"}]},
    ],
)
def test_references_a_schema_lets_be_implicit_are_followed(context: Attributes) -> None:
    program = make.program(
        SCHEMA,
        *make.policies(
            """
            permit(principal, action == Action::"view", resource)
              when { context has user && context.user.name == "Eve" };
            permit(principal, action == Action::"view", resource)
              when { context has users && context.users.contains(User::"eve") };
            """
        ),
        make.stored("User::eve", {"name": "Eve"}),
    )

    assert allows(program, make.request(context=context))


# ------------------------------------------------------------------------------ undecidable

# The beginnings of Cedar's messages are recognised by their words: these tests
# are what notices an upgrade of cedarpy that words them anew.


@pytest.mark.parametrize(
    ("request_", "reason", "message"),
    [
        (
            make.request(subject="Robot::r2"),
            "REQUEST_REFUSED",
            "principal type `Robot` is not declared in the schema",
        ),
        (
            make.request(resource="Car::x"),
            "REQUEST_REFUSED",
            "resource type `Car` is not declared in the schema",
        ),
        (
            make.request(subject="Doc::plan"),
            "REQUEST_REFUSED",
            'principal type `Doc` is not valid for `Action::"view"`',
        ),
        (
            make.request(action="Action::nope"),
            "REQUEST_REFUSED",
            'action `Action::"nope"` does not exist in the supplied schema',
        ),
        (
            make.request(context={"extra": 1}),
            "REQUEST_REFUSED",
            "while parsing context, record attribute `extra` should not exist according to the "
            "schema",
        ),
        (
            make.request(context={"ip": "nope"}),
            "REQUEST_REFUSED",
            "error while evaluating `ipaddr` extension function: invalid IP address: nope",
        ),
        (
            make.request(entities=[make.entity("User::ann")]),
            "ENTITIES_REFUSED",
            'entity does not conform to the schema: expected entity `User::"ann"` to have '
            "attribute `name`, but it does not",
        ),
        (
            make.request(entities=[make.entity("User::ann", {"name": "Ann", "age": 3})]),
            "ENTITIES_REFUSED",
            'error during entity deserialization: attribute `age` on `User::"ann"` should not '
            "exist according to the schema",
        ),
    ],
)
def test_request_against_the_schema_is_neither_allowed_nor_denied(
    request_: Request, reason: str, message: str
) -> None:
    program = make.program(SCHEMA, Policy(id="p", cedar=PERMIT))
    field = "entities" if reason == "ENTITIES_REFUSED" else ""

    answer = program.judge(request_)

    assert isinstance(answer, Undecidable)
    assert (answer.reason, answer.field) == (reason, field)
    assert answer.message.startswith(message)
    assert program.explain(request_) == answer


@pytest.mark.parametrize(
    ("request_", "reason", "message"),
    [
        (make.request(subject="No type::x"), "REQUEST_REFUSED", "unexpected token `type`"),
        (make.request(context={"x": 1.5}), "REQUEST_REFUSED", "did not match any variant"),
        (make.request(context={"x": None}), "REQUEST_REFUSED", "found a `null`"),
        (make.request(context={"x": 2**63}), "REQUEST_REFUSED", "did not match any variant"),
        (
            make.request(context={"x": {"__extn": {"fn": "ip", "arg": "nope"}}}),
            "REQUEST_REFUSED",
            "invalid IP address: nope",
        ),
        (
            make.request(entities=[make.entity("User::ann", {"x": 1.5})]),  # type: ignore[dict-item]
            "ENTITIES_REFUSED",
            "did not match any variant",
        ),
        (
            make.request(
                entities=[
                    make.entity("User::ann", parents=["Group::a"]),
                    make.entity("Group::a", parents=["User::ann"]),
                ]
            ),
            "ENTITIES_REFUSED",
            "cycle",
        ),
        (
            make.request(
                entities=[make.entity("User::ann", {"x": {"__extn": {"fn": "f", "arg": ""}}})]
            ),
            "ENTITIES_REFUSED",
            "extension function `f` does not exist",
        ),
    ],
)
def test_request_cedar_does_not_take_is_neither_allowed_nor_denied(
    request_: Request, reason: str, message: str
) -> None:
    program = make.program(Policy(id="p", cedar=PERMIT))

    answer = program.judge(request_)

    assert isinstance(answer, Undecidable)
    assert answer.reason == reason
    assert message in answer.message
    assert not answer.message.startswith("failed to ")


def test_sent_parents_that_close_a_circle_with_stored_ones_are_refused() -> None:
    program = make.program(
        Policy(id="p", cedar=PERMIT), make.stored("Group::a", parents=["User::ann"])
    )

    answer = program.judge(make.request(entities=[make.entity("User::ann", parents=["Group::a"])]))

    assert isinstance(answer, Undecidable)
    assert answer.reason == "ENTITIES_REFUSED"


@pytest.mark.parametrize(
    ("request_", "field", "message"),
    [
        (make.request("User::"), "subject.id", "`subject.id` is empty; name the entity"),
        (make.request(action="Action::"), "action.name", "`action.name` is empty; name the entity"),
        (make.request(resource="Doc::"), "resource.id", "`resource.id` is empty; name the entity"),
        (
            make.request(entities=[make.entity("Group::a"), make.entity("Group::")]),
            "entities",
            '`Group::""` has an empty id, or a parent that has; name it',
        ),
        (
            make.request(entities=[make.entity("Group::a", parents=["Group::"])]),
            "entities",
            '`Group::"a"` has an empty id, or a parent that has; name it',
        ),
    ],
)
def test_empty_ids_are_refused_unless_the_tenant_wants_them(
    request_: Request, field: str, message: str
) -> None:
    policy = Policy(id="p", cedar=PERMIT)

    refusing = make.program(policy)
    taking = make.program(policy, Settings(allow_empty_ids=True))

    assert refusing.judge(request_) == Undecidable("EMPTY_ID", message, field)
    assert refusing.explain(request_) == Undecidable("EMPTY_ID", message, field)
    assert allows(taking, request_)


# ---------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("context.nothing", "record does not have the attribute `nothing`"),
        ("principal.nothing", "attribute `nothing`"),
        ('User::"nobody".x', "does not exist"),
        ("context.n + 9223372036854775807 > 0", "integer overflow"),
        ("-context.n + -9223372036854775807 - 1 > 0", "integer overflow"),
        ('context.n == "x" || context.n < "x"', "type error: expected long, got string"),
        ("context.n.isIpv4()", "type error"),
        ("ip(context.text).isIpv4()", "invalid IP address: a\n`b`"),
        ('context.text like "*" && context.n like "*"', "type error"),
        ('decimal("1.23456").lessThan(decimal("2.0"))', "decimal"),
        ('principal.getTag("t") == "x"', "tag"),
    ],
)
def test_evaluation_that_fails_is_reported_with_cedars_words(condition: str, message: str) -> None:
    """Every form of message has to be understood: one that is not breaks the decision."""
    cedar = f"permit(principal, action, resource) when {{ {condition} }};"
    program = make.program(Policy(id="bad", cedar=cedar), make.stored("User::ann"))

    answer = verdict(program, make.request(context={"n": 1, "text": "a\n`b`"}))

    assert (answer.outcome, answer.cause) == (Outcome.DENY, Cause.NO_PERMIT)
    (error,) = answer.errors
    assert (error.policy_id, error.layer) == ("bad", Layer.TENANT)
    assert message in error.message
    assert "policy" not in error.message


def test_message_of_an_unknown_form_is_not_swallowed() -> None:
    """It might be of a forbid: nothing may be concluded from it."""
    program = make.program(Policy(id="p", cedar=PERMIT))
    result = cedarpy.AuthzResult(
        {
            "decision": "Allow",
            "diagnostics": {"reason": ["0"], "errors": ["policy 0 went wrong"]},
            "correlation_id": None,
        }
    )
    with pytest.MonkeyPatch.context() as patch, native.switched(on=False):
        patch.setattr(cedarpy, "is_authorized_batch", lambda *_: [result])

        with pytest.raises(RuntimeError, match="unknown form: policy 0 went wrong"):
            program.judge(make.request())


# --------------------------------------------------------------------------------- explain

EXPLAINED: list[Body] = [
    *make.policies(
        """
        @id("a-permit") permit(principal, action, resource) when { principal.level > 1 };
        @id("b-forbid") forbid(principal, action, resource) when { context.frozen };
        @id("c-watch") @mode("log_only")
        forbid(principal, action, resource) when { context.frozen };
        @id("d-other") permit(principal, action == Action::"other", resource);
        @id("e-broken") permit(principal, action, resource) when { context.nothing };
        @id("t") permit(principal == ?principal, action, resource);
        """
    ),
    TemplateLink(id="l-linked", template_id="t", principal=make.uid("User::ann")),
    Policy(id="agent/yes", cedar=PERMIT, layer=Layer.AGENT),
    Settings(jurisdictions=("EU",)),
    make.stored("User::ann", {"level": 2}),
    make.stored("User::unrelated"),
]
EXPLAINED_PLATFORM: list[Body] = [
    Policy(
        id="platform/audit",
        cedar='@obligation("audit") permit(principal, action, resource);',
        layer=Layer.PLATFORM,
    ),
    Policy(
        id="eu/broken",
        cedar="forbid(principal, action, resource) when { context.nothing };",
        layer=Layer.JURISDICTION,
        jurisdiction="EU",
    ),
]


def explained(*, frozen: bool) -> Explanation:
    program = make.program(*EXPLAINED, platform=EXPLAINED_PLATFORM)
    sent = [make.entity("User::ann", {"level": 9, "device": "phone"})]
    return explanation(program, make.request(context={"frozen": frozen}, entities=sent))


def layer(explained: Explanation, layer: Layer) -> LayerVerdict:
    (found,) = (verdict for verdict in explained.layers if verdict.layer is layer)
    return found


def ids(layer_verdict: LayerVerdict) -> tuple[list[str], list[str]]:
    return (
        [policy.id for policy in layer_verdict.matched],
        [failure.policy.id for failure in layer_verdict.failed],
    )


def test_explanation_has_every_layer_that_has_policies_in_order_of_authority() -> None:
    assert [found.layer for found in explained(frozen=True).layers] == [
        Layer.PLATFORM,
        Layer.JURISDICTION,
        Layer.TENANT,
        Layer.AGENT,
    ]


def test_explanation_shows_permits_that_a_forbid_outweighs() -> None:
    tenant = layer(explained(frozen=True), Layer.TENANT)

    assert ids(tenant) == (["a-permit", "b-forbid", "c-watch", "l-linked"], ["e-broken"])
    assert (tenant.outcome, tenant.policies) == (Outcome.DENY, 6)


def test_explanation_says_what_each_layer_would_answer_alone() -> None:
    outcomes = {found.layer: found.outcome for found in explained(frozen=False).layers}

    assert outcomes == {
        Layer.PLATFORM: Outcome.ALLOW,
        Layer.JURISDICTION: Outcome.DENY,
        Layer.TENANT: Outcome.ALLOW,
        Layer.AGENT: Outcome.DENY,
    }


def test_explanation_counts_policies_and_not_templates() -> None:
    counts = {found.layer: found.policies for found in explained(frozen=True).layers}

    assert counts == {
        Layer.PLATFORM: 1,
        Layer.JURISDICTION: 1,
        Layer.TENANT: 6,
        Layer.AGENT: 1,
    }


def test_explanation_shows_errors_of_a_layer() -> None:
    eu = layer(explained(frozen=False), Layer.JURISDICTION)

    assert ids(eu) == ([], ["eu/broken"])
    assert eu.failed[0].message == "record does not have the attribute `nothing`"


def test_explanation_has_the_entities_used_and_what_was_overridden() -> None:
    used = explained(frozen=True).slice

    (ann,) = used.entities
    assert ann.uid == make.uid("User::ann")
    assert ann.attributes == {"level": 2, "device": "phone"}
    assert used.overrides == ((make.uid("User::ann"), "level"),)


def test_explanation_tells_the_steps_in_words() -> None:
    assert list(explained(frozen=True).steps) == [
        "layer platform: 1 policy, 1 matched: permit `platform/audit`",
        "layer jurisdiction: 1 policy, 0 matched",
        "`eu/broken` could not be evaluated: record does not have the attribute `nothing`",
        "layer tenant: 6 policies, 3 matched: "
        "permit `a-permit`, forbid `b-forbid`, permit `l-linked`",
        "`c-watch` matched but does not count: it is log-only",
        "`e-broken` could not be evaluated: record does not have the attribute `nothing`",
        "layer agent: 1 policy, 0 matched",
        "`agent/yes` matched but does not count: a permit of layer agent cannot allow",
        "a forbid matched, which no permit undoes: deny",
    ]


CONCLUSIONS = {
    Cause.PERMITTED: (PERMIT, False, "allow"),
    Cause.NO_PERMIT: ("permit(principal, action, resource) when { false };", False, "deny"),
    Cause.FORBIDDEN: ("forbid(principal, action, resource);", False, "deny"),
    Cause.FORBID_ERROR: ("forbid(principal, action, resource) when { context.x };", False, "deny"),
    Cause.APPROVAL_NEEDED: (f'@approval("boss") {PERMIT}', False, "requires approval"),
    Cause.APPROVED: (f'@approval("boss") {PERMIT}', True, "allow"),
}


@pytest.mark.parametrize("cause", Cause)
def test_last_step_is_the_rule_that_decided(cause: Cause) -> None:
    cedar, approved, outcome = CONCLUSIONS[cause]
    program = make.program(Policy(id="p", cedar=cedar))

    found = explanation(program, make.request(approved=approved))

    assert found.verdict.cause is cause
    assert found.steps[-1].endswith(f": {outcome}")


WOULD_CHANGE = [
    (PERMIT, False, ["without permit `p0`: deny, for no permit matched"]),
    (
        f'{PERMIT} @approval("boss") {PERMIT}',
        False,
        ["without permit `p0`: requires approval"],
    ),
    (
        f'@approval("boss") {PERMIT} @approval("cfo, ceo") {PERMIT}',
        False,
        ["with an approval by `boss` or `ceo` or `cfo`: allow"],
    ),
    (f'@approval("boss") {PERMIT}', True, ["without the approval: requires approval"]),
    (
        f"{PERMIT} forbid(principal, action, resource); forbid(principal, action, resource);",
        False,
        ["without forbid `p1`, forbid `p2`: allow"],
    ),
    (
        f"{PERMIT} forbid(principal, action, resource) when {{ context.x }};",
        False,
        ["if forbid `p1` could be evaluated and did not match: allow"],
    ),
    (
        'permit(principal == User::"bob", action, resource);',
        False,
        ["with a permit about this subject, action and resource: there is none"],
    ),
    (
        "permit(principal, action, resource) when { context has x };" * 7
        + "permit(principal, action, resource) when { context.x };"
        + '@mode("log_only") permit(principal, action, resource) when { context has x };',
        False,
        [
            "if this could be evaluated, and matched: permit `p7`",
            "if a condition held that is false: that of permit `p0`, permit `p1`, permit `p2`, "
            "permit `p3`, permit `p4` and 2 more",
        ],
    ),
]


@pytest.mark.parametrize(("cedar", "approved", "expected"), WOULD_CHANGE)
def test_explanation_tells_what_would_have_led_to_another_outcome(
    cedar: str, approved: bool, expected: list[str]
) -> None:
    found = explanation(make.program(*make.policies(cedar)), make.request(approved=approved))

    assert list(found.would_change) == expected


def test_explanation_of_no_policies() -> None:
    found = explanation(make.program(), make.request())

    assert found.layers == ()
    assert list(found.steps) == [
        "no forbid matched and no permit of the tenant or the platform: deny"
    ]


@pytest.mark.parametrize("approved", [False, True])
@pytest.mark.parametrize(
    "request_",
    [
        lambda approved: make.request(context={"frozen": True}, approved=approved),
        lambda approved: make.request(context={"frozen": False}, approved=approved),
        lambda approved: make.request(context={}, approved=approved),
        lambda approved: make.request("User::bob", "Action::other", approved=approved),
    ],
)
def test_explanation_decides_as_judging_does(
    request_: Callable[[bool], Request], approved: bool
) -> None:
    for platform in (EXPLAINED_PLATFORM, EXPLAINED_PLATFORM[:1], []):
        program = make.program(*EXPLAINED, platform=platform)

        judged = program.judge(request_(approved))

        assert explanation(program, request_(approved)).verdict == judged


def test_explanations_of_one_request_are_equal() -> None:
    """Nothing in it depends on the order in which something was hashed."""
    assert explained(frozen=True) == explained(frozen=True)


def test_program_is_shared_between_threads() -> None:
    program = make.program(*EXPLAINED, platform=EXPLAINED_PLATFORM[:1])
    requests = [
        make.request(subject, context={"frozen": frozen})
        for subject in ("User::ann", "User::bob")
        for frozen in (False, True)
    ] * 25
    expected = [program.judge(request) for request in requests]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(program.judge, requests)) == expected
