"""Policies, entities and requests at random, out of a vocabulary small enough that they meet.

A `Case` is what a tenant and the platform publish, and requests to decide. It
can be put to the engine or to a server: everything in it may be published and
sent. Beside it stand the policies as plain text, for an oracle to judge.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from placet_engine.items import (
    Content,
    Policy,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import Attributes, Entity, EntityUid, Layer, Position, Request, Value

# -------------------------------------------------------------------------------- vocabulary

USERS = [EntityUid("User", id_) for id_ in ("ann", "bob", 'odd "é\n😀\\')]
GROUPS = [EntityUid("Acme::Group", id_) for id_ in ("all", "red", "blue", "a;b//c")]
DOCS = [EntityUid("Doc", id_) for id_ in ("plan", "7", "*")]
FOLDERS = [EntityUid("Folder", id_) for id_ in ("root", "sub", "leaf")]
ACTION_GROUP = EntityUid("Action", "any")
ACTIONS = [EntityUid("Action", id_) for id_ in ("view", "edit", "odd\taction")]
EVERYONE = [*USERS, *GROUPS, *DOCS, *FOLDERS]

# What may be whose parent. In each list parents come first, so that there are no circles.
PARENTS = {
    **dict.fromkeys(USERS, GROUPS),
    **dict.fromkeys(DOCS, FOLDERS),
    **{group: GROUPS[:place] for place, group in enumerate(GROUPS)},
    **{folder: FOLDERS[:place] for place, folder in enumerate(FOLDERS)},
    **{action: [ACTION_GROUP] for action in ACTIONS},
}

_DECLARED = """{
  level?: Long, name?: String, owner?: User, friends?: Set<User>,
  info?: { level?: Long, owner?: User }, home?: ipaddr, limit?: decimal,
}"""
SCHEMA = f"""
namespace Acme {{ entity Group in [Group] {_DECLARED} tags String; }}
entity User in [Acme::Group] {_DECLARED} tags String;
entity Folder in [Folder] {_DECLARED} tags String;
entity Doc in [Folder] {_DECLARED} tags String;
action "any";
action view, edit, "odd\\taction" in ["any"] appliesTo {{
  principal: [User, Acme::Group], resource: [Doc, Folder], context: {_DECLARED}
}};
"""
"""Declares the vocabulary. References to users may then be written without `__entity`."""


def quoted(text: str) -> str:
    """Write a Cedar string with every character that could mean something as its number."""
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in " -_") else f"\\u{{{ord(char):x}}}"
        for char in text
    )
    return f'"{plain}"'


def named(uid: EntityUid) -> str:
    """Write an entity's name in Cedar."""
    return f"{uid.type}::{quoted(uid.id)}"


# ------------------------------------------------------------------------------------ values

WORDS = ["", "red", "blue", "a*b", 'say "yes";', "// grün 😀"]
_NUMBERS = st.one_of(st.integers(-3, 5), st.sampled_from([-(2**63), 2**63 - 1]))
_TEXTS = st.sampled_from(WORDS)
_IPS = st.sampled_from(["10.0.0.1", "10.0.0.0/8", "192.168.1.7", "::1", "2001:db8::/32"])
_DECIMALS = st.sampled_from(["0.0", "1.5", "-2.75", "922337203685477.5807"])


def reference(uid: EntityUid) -> dict[str, Value]:
    """Return a reference as an attribute's value."""
    return {"__entity": uid.to_json()}


def _extension(function: str, arguments: SearchStrategy[str]) -> SearchStrategy[Value]:
    return arguments.map(lambda argument: {"__extn": {"fn": function, "arg": argument}})


def _attributes(owners: SearchStrategy[Value]) -> SearchStrategy[Attributes]:
    """Make attributes of the right types, with `owners` as references."""
    return st.fixed_dictionaries(
        {},
        optional={
            "level": _NUMBERS,
            "name": _TEXTS,
            "owner": owners,
            "friends": st.lists(owners, max_size=3),
            "info": st.fixed_dictionaries({}, optional={"level": _NUMBERS, "owner": owners}),
            "home": _extension("ip", _IPS),
            "limit": _extension("decimal", _DECIMALS),
        },
    )


_WELL_TYPED = _attributes(st.sampled_from(EVERYONE).map(reference))
_IMPLICIT = _attributes(
    st.sampled_from(USERS).flatmap(lambda u: st.sampled_from([reference(u), {**u.to_json()}]))
)
_MIXED_UP = st.dictionaries(
    st.sampled_from(["level", "name", "owner", "friends", "info", "home", "limit"]),
    st.one_of(st.booleans(), _NUMBERS, _TEXTS, st.sampled_from(EVERYONE).map(reference)),
    max_size=3,
)
_ANY_TYPES = st.one_of(_WELL_TYPED, _WELL_TYPED, _WELL_TYPED, _MIXED_UP)


def values() -> SearchStrategy[Value]:
    """Make any values that Cedar has, nested."""
    uids = st.builds(EntityUid, st.sampled_from(["User", "Acme::Sub::Group"]), st.text(min_size=1))
    leaves: SearchStrategy[Value] = st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(),
        uids.map(reference),
        _extension("ip", _IPS),
        _extension("decimal", _DECIMALS),
        _extension("duration", st.sampled_from(["1h30m", "-7d"])),
        st.just(_OFFSET),
    )
    return st.recursive(leaves, _nested, max_leaves=12)


_OFFSET: Value = {
    "__extn": {
        "fn": "offset",
        "args": [
            {"__extn": {"fn": "datetime", "arg": "2026-11-23"}},
            {"__extn": {"fn": "duration", "arg": "400000d"}},
        ],
    }
}


def _nested(inner: SearchStrategy[Value]) -> SearchStrategy[Value]:
    names = st.text().filter(lambda name: name not in ("__entity", "__extn", "__expr"))
    lookalike = st.fixed_dictionaries({"type": inner, "id": inner})
    return st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4), lookalike
    )


# ---------------------------------------------------------------------------------- entities


@st.composite
def entities(draw: st.DrawFn, *, typed: bool = False) -> list[Entity]:
    """Make entities of the vocabulary, each at most once and without circles of parents.

    ``typed``: such that :data:`SCHEMA` takes them. Actions are then its own.
    """
    names = EVERYONE if typed else [*EVERYONE, *ACTIONS]
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=8))
    made = []
    for uid in chosen:
        above = PARENTS.get(uid)
        parents = (
            st.lists(st.sampled_from(above), unique=True, max_size=2) if above else st.just([])
        )
        tags: SearchStrategy[Attributes] = st.dictionaries(
            st.sampled_from(["colour", "team"]), _TEXTS, max_size=2
        )
        made.append(
            Entity(
                uid=uid,
                attributes=draw(_IMPLICIT if typed else _ANY_TYPES),
                parents=tuple(draw(parents)),
                tags=draw(tags) if uid.type != "Action" else {},
            )
        )
    return made


# -------------------------------------------------------------------------------- conditions

_VARIABLES = ["principal", "resource", "action"]
_LITERALS = [named(uid) for uid in EVERYONE]
_SOMEONE = st.sampled_from([*_VARIABLES * 5, *_LITERALS])
_HOLDER = st.sampled_from([*_VARIABLES * 5, *["context"] * 5, *_LITERALS])
_GROUPS_LISTED = ["[]", *(f"[{named(group)}, {named(FOLDERS[0])}]" for group in GROUPS)]
_NEAR_LIMIT = 2**63 - 4


def _about(paths: Sequence[str], *claims: SearchStrategy[str]) -> SearchStrategy[str]:
    """Claim something of an attribute, most of the time asking first whether it is there."""
    return st.builds(
        _of_attribute, _HOLDER, st.sampled_from(paths), st.one_of(*claims), st.integers(0, 3)
    )


def _of_attribute(holder: str, path: str, claim: str, asked: int) -> str:
    steps = path.split(".")
    has = [f"{'.'.join([holder, *steps[:place]])} has {step}" for place, step in enumerate(steps)]
    return f"({' && '.join([*(has if asked else []), f'{holder}.{path}{claim}'])})"


_SMALL = st.integers(-2, 4)
_CLAIMS: SearchStrategy[str] = st.one_of(
    st.sampled_from(["true", "false", "context has level", "principal has owner"]),
    st.builds("{} == {}".format, _SOMEONE, _SOMEONE),
    st.builds("{} in {}".format, _SOMEONE, _SOMEONE),
    st.builds("{} in {}".format, _SOMEONE, st.sampled_from(_GROUPS_LISTED)),
    st.builds("{} is {}".format, _SOMEONE, st.sampled_from(["User", "Acme::Group", "Doc"])),
    _about(
        ["level", "info.level", "owner.level"],
        st.builds(" {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _SMALL),
        st.builds(f" + {_NEAR_LIMIT} > {{}}".format, _SMALL),
    ),
    _about(
        ["name", "owner.name"],
        _TEXTS.map(lambda text: f" == {quoted(text)}"),
        st.sampled_from([' like "*"', ' like "r*d"', ' like "a\\**"', ' like "*e"', ' like ""']),
    ),
    _about(
        ["owner", "info.owner", "owner.owner"],
        st.builds(" {} {}".format, st.sampled_from(["==", "!=", "in"]), _SOMEONE),
    ),
    _about(["friends"], _SOMEONE.map(".contains({})".format), st.just(".isEmpty()")),
    _about(["home"], st.sampled_from(['.isInRange(ip("10.0.0.0/8"))', ".isIpv6()"])),
    _about(["limit"], st.just('.lessThan(decimal("1.0"))')),
    st.builds(
        lambda someone, asked, text: (
            f"({f'{someone}.hasTag({_COLOUR}) && ' if asked else ''}"
            f"{someone}.getTag({_COLOUR}) == {quoted(text)})"
        ),
        _SOMEONE,
        st.integers(0, 3),
        _TEXTS,
    ),
)
_COLOUR = '"colour"'
_COMBINED = st.one_of(
    _CLAIMS,
    _CLAIMS,
    _CLAIMS.map("!({})".format),
    st.builds("{} && {}".format, _CLAIMS, _CLAIMS),
    st.builds("{} || {}".format, _CLAIMS, _CLAIMS),
    st.builds("if {} then {} else ({} || {})".format, _CLAIMS, _CLAIMS, _CLAIMS, _CLAIMS),
)
_CLAUSES = st.builds(" {} {{ {} }}".format, st.sampled_from(["when", "unless"]), _COMBINED)


def conditions() -> SearchStrategy[str]:
    """Write what follows a policy's scope: nothing, or one or two clauses of claims."""
    nothing = st.just("")
    return st.one_of(nothing, nothing, _CLAUSES, st.builds("{}{}".format, _CLAUSES, _CLAUSES))


# ---------------------------------------------------------------------------------- policies


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPolicy:
    """A policy with its slots written out, and what its annotations say."""

    id: str
    layer: Layer
    permits: bool
    approval_groups: frozenset[str]
    obligations: frozenset[str]
    message: str
    log_only: bool
    cedar: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A policy as it is published, or a template and the links of it."""

    bodies: tuple[Content, ...]
    plain: tuple[PlainPolicy, ...]
    """What takes part in decisions if the policy's layer applies: itself, or the links."""

    @property
    def policy(self) -> Policy:
        """The policy or template itself."""
        policy = self.bodies[0]
        assert isinstance(policy, Policy)
        return policy


LAYERS = [Layer.TENANT, Layer.TENANT, Layer.TENANT, Layer.PLATFORM, Layer.JURISDICTION, Layer.AGENT]
_PRINCIPALS = [*USERS, *GROUPS]
_RESOURCES = [*DOCS, *FOLDERS]


def _scope(name: str, types: Sequence[str], uids: Sequence[EntityUid]) -> SearchStrategy[str]:
    """Write a principal or resource of a scope."""
    narrow = [
        *(f"{name} is {type_}" for type_ in types),
        *(f"{name} == {named(uid)}" for uid in uids),
        *(f"{name} in {named(uid)}" for uid in uids),
        *(f"{name} is {type_} in {named(uid)}" for type_, uid in itertools.product(types, uids)),
    ]
    # Mostly everybody: too narrow a policy is about nobody.
    return st.sampled_from([*([name] * 3 * len(narrow)), *narrow])


_ACTION_SCOPES = st.sampled_from(
    [
        *["action"] * 15,
        f"action in {named(ACTION_GROUP)}",
        *(f"action == {named(action)}" for action in ACTIONS),
        f"action in [{', '.join(map(named, ACTIONS[:2]))}]",
    ]
)
_SLOTTED_PRINCIPALS = ["principal == ?principal", "principal in ?principal"]
_SLOTTED_RESOURCES = ["resource == ?resource", "resource is Doc in ?resource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    """What a policy does when it matches, which is all that precedence looks at."""

    layer: Layer
    permits: bool
    approval_groups: frozenset[str] = frozenset()
    obligations: frozenset[str] = frozenset()
    log_only: bool = False


_GROUP_NAMES = [frozenset[str](), frozenset[str](), frozenset({"boss"}), frozenset({"boss", "g 7"})]
_OBLIGATIONS = [frozenset[str](), frozenset({"log"}), frozenset({"redact:ssn", "log"})]
# One draw out of all there are, and not a draw a part: precedence shows where
# many policies meet, and these have to be cheap then. Forbids are few, for one
# of them ends the matter.
_MEANINGS = st.sampled_from(
    [
        *(
            _Meaning(
                layer=layer,
                permits=True,
                approval_groups=groups,
                obligations=obligations,
                log_only=log_only,
            )
            for layer, groups, obligations, log_only in itertools.product(
                LAYERS, _GROUP_NAMES, _OBLIGATIONS, [False, False, True]
            )
        ),
        *(
            _Meaning(layer=layer, permits=False, log_only=log_only)
            for layer, log_only in itertools.product(LAYERS, [False, False, True])
        ),
    ]
)


@st.composite
def policies(draw: st.DrawFn, number: int) -> Written:
    """Write one policy, or a template with up to two links."""
    meaning, message = draw(_MEANINGS), draw(_TEXTS)
    principal = draw(_scope("principal", ["User", "Acme::Group"], _PRINCIPALS))
    resource = draw(_scope("resource", ["Doc", "Folder"], _RESOURCES))
    slots = draw(st.sampled_from(["", "", "", "p", "r", "pr"]))
    if "p" in slots:
        principal = draw(st.sampled_from(_SLOTTED_PRINCIPALS))
    if "r" in slots:
        resource = draw(st.sampled_from(_SLOTTED_RESOURCES))
    scope = f"{principal}, {draw(_ACTION_SCOPES)}, {resource}"
    written = _written(number, meaning, scope, draw(conditions()), message)
    if not slots:
        return written
    template = written.policy
    links = [
        TemplateLink(
            id=f"{template.id}-link{place}",
            template_id=template.id,
            principal=draw(st.sampled_from(_PRINCIPALS)) if "p" in slots else None,
            resource=draw(st.sampled_from(_RESOURCES)) if "r" in slots else None,
        )
        for place in range(draw(st.integers(0, 2)))
    ]
    (plain,) = written.plain
    return Written(
        bodies=(template, *links),
        plain=tuple(
            replace(plain, id=link.id, cedar=_written_out(plain.cedar, link)) for link in links
        ),
    )


MATCHES, DOES_NOT, FAILS = "", " when { false }", " when { context.missing }"


def broad_policies() -> SearchStrategy[tuple[Written, ...]]:
    """Write up to ten policies about everybody and everything, so that many match at once.

    What each comes to, without context, is told by how it ends.
    """
    clauses = st.sampled_from([MATCHES, MATCHES, MATCHES, DOES_NOT, FAILS])
    return st.lists(st.tuples(_MEANINGS, clauses), min_size=1, max_size=10).map(
        lambda drawn: tuple(
            _written(number, meaning, "principal, action, resource", clause, "")
            for number, (meaning, clause) in enumerate(drawn)
        )
    )


_NESTED_SCOPES = [
    "principal, action, resource",
    "principal is User, action, resource",
    f"principal == {named(USERS[0])}, action, resource is Doc",
    f"principal in {named(GROUPS[1])}, action in {named(ACTION_GROUP)}, resource",
    f"principal is User in {named(GROUPS[1])}, action == {named(ACTIONS[0])}, resource",
    f"principal == {named(USERS[0])}, action in [{', '.join(map(named, ACTIONS[:2]))}], resource",
    "principal, action in [], resource",
]
_NESTED_CLAUSES = [
    "",
    " when { true }",
    " when { false }",
    " when { context.level > 1 } unless { 1 < 2 }",
    " when { context has level }",
    " when { context has level && context.level > 1 }",
    " when { context.level > 1 } when { context has level }",
    f" when {{ principal == {named(USERS[0])} }}",
    f" when {{ principal == {named(USERS[1])} }}",
    " unless { resource is Doc || principal in resource }",
]
_PLAIN_MEANINGS = st.sampled_from(
    [
        _Meaning(layer=Layer.TENANT, permits=True),
        _Meaning(layer=Layer.TENANT, permits=True, approval_groups=frozenset({"boss"})),
        _Meaning(layer=Layer.TENANT, permits=False),
        _Meaning(layer=Layer.PLATFORM, permits=False),
    ]
)


@st.composite
def kindred_policies(draw: st.DrawFn) -> tuple[Written, ...]:
    """Write policies that cover, repeat and contradict each other."""
    scopes = draw(st.lists(st.sampled_from(_NESTED_SCOPES), min_size=1, max_size=2))
    return tuple(
        _written(
            number,
            draw(st.one_of(_PLAIN_MEANINGS, _MEANINGS)),
            draw(st.sampled_from(scopes)),
            draw(st.sampled_from(_NESTED_CLAUSES)),
            "",
        )
        for number in range(draw(st.integers(2, 8)))
    )


def _written(number: int, meaning: _Meaning, scope: str, clauses: str, message: str) -> Written:
    layer = meaning.layer
    effect = "permit" if meaning.permits else "forbid"
    policy = Policy(
        id=f"{layer.name.lower()}/{number}",
        cedar=f"{_annotations(meaning, message)}{effect}({scope}){clauses};",
        layer=layer,
        jurisdiction=("EU", "US")[number % 2] if layer is Layer.JURISDICTION else "",
    )
    plain = PlainPolicy(
        id=policy.id,
        layer=layer,
        permits=meaning.permits,
        approval_groups=meaning.approval_groups,
        obligations=meaning.obligations,
        message=message,
        log_only=meaning.log_only,
        cedar=policy.cedar,
    )
    return Written(bodies=(policy,), plain=(plain,))


def _annotations(meaning: _Meaning, message: str) -> str:
    texts = {
        "approval": ", ".join(sorted(meaning.approval_groups)),
        "obligation": ",".join(sorted(meaning.obligations)),
        "reason": message,
        "mode": "log_only" if meaning.log_only else "",
    }
    return "".join(f"@{name}({quoted(text)})\n" for name, text in texts.items() if text)


def _written_out(cedar: str, link: TemplateLink) -> str:
    for slot, uid in (("?principal", link.principal), ("?resource", link.resource)):
        if uid is not None:
            cedar = cedar.replace(slot, named(uid))
    return cedar


# -------------------------------------------------------------------------------------- cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is published, and requests to decide."""

    written: tuple[Written, ...]
    settings: Settings
    stored: tuple[Entity, ...]
    requests: tuple[Request, ...]
    schema: str = ""
    plain: tuple[PlainPolicy, ...] = field(init=False)
    """The policies that apply to the tenant."""

    def __post_init__(self) -> None:
        plain = tuple(
            plain
            for written in self.written
            if written.policy.jurisdiction in ("", *self.settings.jurisdictions)
            for plain in written.plain
        )
        object.__setattr__(self, "plain", plain)

    @property
    def platform(self) -> list[Content]:
        """What the platform publishes."""
        return [
            body for written in self.written for body in written.bodies if _of_platform(written)
        ]

    @property
    def tenant(self) -> list[Content]:
        """What the tenant publishes."""
        return [
            *(
                body
                for written in self.written
                for body in written.bodies
                if not _of_platform(written)
            ),
            *(StoredEntity(entity) for entity in self.stored),
            *([SchemaText(self.schema)] if self.schema else []),
            self.settings,
        ]


def _of_platform(written: Written) -> bool:
    return written.policy.layer in (Layer.PLATFORM, Layer.JURISDICTION)


@st.composite
def requests(draw: st.DrawFn, *, typed: bool = False, approvals: bool = False) -> Request:
    """Make a request of the vocabulary.

    ``typed``: such that :data:`SCHEMA` takes it. ``approvals``: also with an
    approval that was given, which only a server can say of a request.
    """
    context = draw(_IMPLICIT if typed else _ANY_TYPES)
    return Request(
        subject=draw(st.sampled_from(_PRINCIPALS if typed else [*USERS, *USERS, *EVERYONE])),
        action=draw(st.sampled_from(ACTIONS)),
        resource=draw(st.sampled_from(_RESOURCES if typed else [*DOCS, *DOCS, *EVERYONE])),
        context=context,
        entities=tuple(draw(entities(typed=typed))),
        approved=draw(st.booleans()) if approvals else False,
    )


@st.composite
def cases(
    draw: st.DrawFn, *, typed: bool = False, approvals: bool = False, max_requests: int = 2
) -> Case:
    """Make policies and requests that have something to do with each other."""
    written = (
        draw(broad_policies())
        if draw(st.sampled_from([False, False, False, True]))
        else tuple(draw(policies(number)) for number in range(draw(st.integers(1, 6))))
    )
    return Case(
        written=written,
        settings=Settings(
            # What is not typed right is published all the same, as in real life.
            schema_validation=SchemaValidation.WARN,
            jurisdictions=tuple(draw(st.sampled_from([["EU"], ["EU", "US"], []]))),
        ),
        stored=tuple(draw(entities(typed=typed))),
        requests=tuple(
            draw(
                st.lists(
                    requests(typed=typed, approvals=approvals), min_size=1, max_size=max_requests
                )
            )
        ),
        schema=SCHEMA if typed else "",
    )


@st.composite
def journeys(draw: st.DrawFn, *, typed: bool = False) -> Case:
    """Make a world of entities that refer to each other, and policies that go from one to the next.

    What is stored has a level below five and what is sent has one above, so
    that it shows which of the two a policy read.
    """
    known = draw(st.lists(_KNOWN, min_size=len(EVERYONE), max_size=len(EVERYONE)))
    refer = EntityUid.to_json if typed and draw(st.booleans()) else reference
    stored = [
        _well_connected(uid, facts.stored, refer, typed=typed)
        for uid, facts in zip(EVERYONE, known, strict=True)
        if facts.stored is not None
    ]
    sent = [
        _well_connected(uid, facts.sent, refer, typed=typed)
        for uid, facts in zip(EVERYONE, known, strict=True)
        if facts.sent is not None
    ]
    starts = ["principal", "resource", "context.owner", *map(named, EVERYONE)]
    steps = [".owner", ".info.owner"] if typed else [".owner", ".info.owner", '.getTag("keeper")']
    ends = [" in " + named(uid) for uid in (GROUPS[0], GROUPS[1], FOLDERS[0])]
    paths = st.builds(
        "{}{}{}".format,
        st.sampled_from(starts[:3] * 3 + starts),
        st.lists(st.sampled_from(steps), max_size=3).map("".join),
        st.sampled_from([".level < 5", ".level > 4", *ends]),
    )
    return Case(
        written=tuple(
            _written(number, _Meaning(layer=Layer.TENANT, permits=True), _ALL, clause, "")
            for number, clause in enumerate(
                f" when {{ {path} }}" for path in draw(st.lists(paths, min_size=1, max_size=4))
            )
        ),
        settings=Settings(schema_validation=SchemaValidation.WARN),
        stored=tuple(stored),
        requests=(
            Request(
                subject=draw(st.sampled_from(USERS)),
                action=ACTIONS[0],
                resource=draw(st.sampled_from(DOCS)),
                context={"owner": refer(draw(st.sampled_from(USERS)))},
                entities=tuple(sent),
            ),
        ),
        schema=SCHEMA if typed else "",
    )


_ALL = "principal, action, resource"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of an entity: its level, and places of others."""

    owner: int
    boss: int
    keeper: int
    parent: int
    level: int


@dataclass(frozen=True, slots=True)
class _KnownFacts:
    stored: _Facts | None
    sent: _Facts | None


def _facts(levels: range) -> SearchStrategy[_Facts]:
    places = st.integers(0, len(EVERYONE) - 1)
    return st.builds(_Facts, places, places, places, places, st.sampled_from(levels))


_KNOWN = st.one_of(
    st.builds(_KnownFacts, _facts(range(5)), st.none()),
    st.builds(_KnownFacts, st.none(), _facts(range(5, 10))),
    st.builds(_KnownFacts, _facts(range(5)), _facts(range(5, 10))),
)


def _well_connected(
    uid: EntityUid, facts: _Facts, refer: Callable[[EntityUid], Value], *, typed: bool
) -> Entity:
    others, above = USERS if typed else EVERYONE, PARENTS[uid]

    def other(place: int) -> Value:
        return refer(others[place % len(others)])

    return Entity(
        uid=uid,
        attributes={
            "level": facts.level,
            "owner": other(facts.owner),
            "info": {"owner": other(facts.boss)},
        },
        parents=(above[facts.parent % len(above)],) if above else (),
        tags={} if typed else {"keeper": other(facts.keeper)},
    )


# -------------------------------------------------------------------------------------- items

_ITEM_IDS = st.text("abcXYZ019._/:@#+-", min_size=1, max_size=12)
_TYPE_NAMES = st.sampled_from(["User", "Acme::Group", "_x::Y9"])
_ENTITY_IDS = st.text(max_size=20)
_UIDS = st.builds(EntityUid, _TYPE_NAMES, _ENTITY_IDS)
_NOT_BLANK = st.text(min_size=1).filter(lambda text: bool(text.strip()))
_POSITIONS = st.builds(
    Position,
    file=st.text(max_size=10),
    line=st.integers(0, 2**31 - 1),
    column=st.integers(0, 2**31 - 1),
)


def bodies(*, platform: bool = False) -> SearchStrategy[Content]:
    """Make items of every kind, with any text where any text may be.

    They are well formed, and need not compile.
    """
    layers = [Layer.PLATFORM, Layer.JURISDICTION] if platform else [Layer.TENANT, Layer.AGENT]
    any_policies = st.builds(
        Policy,
        id=_ITEM_IDS,
        cedar=_NOT_BLANK,
        layer=st.sampled_from(layers),
        description=st.text(),
        labels=st.dictionaries(st.text(), st.text(), max_size=3),
        position=_POSITIONS,
    )
    links = st.builds(
        TemplateLink,
        id=_ITEM_IDS,
        template_id=_ITEM_IDS,
        principal=st.none() | _UIDS,
        resource=st.none() | _UIDS,
    )
    settings = st.builds(
        Settings,
        schema_validation=st.sampled_from(SchemaValidation),
        jurisdictions=st.lists(st.text(), max_size=3).map(tuple),
        max_staleness_s=st.none() | durations_s(),
        allow_empty_ids=st.booleans(),
    )
    return st.one_of(
        any_policies.map(_with_jurisdiction),
        links,
        any_entities().map(StoredEntity),
        st.builds(SchemaText, _NOT_BLANK),
        settings,
    )


def durations_s() -> SearchStrategy[float]:
    """Make durations as they come from the wire: nanoseconds, and up to 10,000 years."""
    nanos = st.one_of(st.integers(1, 10**12), st.integers(1, 315_576_000_000 * 10**9))
    return nanos.map(lambda count: count // 10**9 + count % 10**9 / 1e9)


def few_bodies() -> SearchStrategy[Content]:
    """Make items out of so few that the same keys and contents come up again."""
    values_: list[Value] = [0, False, 1, True, [1], [True], {}]
    people = [
        StoredEntity(Entity(uid=user, attributes={"a": value}))
        for user, value in itertools.product(USERS[:2], values_)
    ]
    return st.one_of(
        st.builds(
            Policy,
            id=st.sampled_from(["p", "q", "r"]),
            cedar=st.sampled_from(["permit", "forbid"]),
            position=st.sampled_from([Position(), Position(line=1)]),
        ),
        st.builds(
            TemplateLink,
            id=st.sampled_from(["p", "l"]),
            template_id=st.just("t"),
            resource=st.none() | st.sampled_from(DOCS),
        ),
        st.sampled_from(people),
        st.sampled_from(people),
        st.sampled_from([SchemaText("entity User;"), SchemaText("entity Doc;")]),
        st.sampled_from([Settings(), Settings(max_staleness_s=1), Settings(max_staleness_s=1.0)]),
    )


def _with_jurisdiction(policy: Policy) -> Policy:
    if policy.layer is not Layer.JURISDICTION:
        return policy
    return Policy(
        id=policy.id,
        cedar=policy.cedar,
        layer=policy.layer,
        jurisdiction="EU",
        description=policy.description,
        labels=policy.labels,
        position=policy.position,
    )


def any_entities() -> SearchStrategy[Entity]:
    """Make entities with any ids, any values and any parents."""
    attributes: SearchStrategy[Mapping[str, Value]] = st.dictionaries(
        st.text().filter(lambda name: name not in ("__entity", "__extn", "__expr")),
        values(),
        max_size=4,
    )
    return st.builds(
        Entity,
        uid=_UIDS,
        attributes=attributes,
        parents=st.lists(_UIDS, max_size=3).map(tuple),
        tags=attributes,
    )
