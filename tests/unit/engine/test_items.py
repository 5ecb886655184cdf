from __future__ import annotations

import datetime
import hashlib
import json

import pytest

from placet_engine.items import (
    CHECKSUM_MODULUS,
    PLATFORM,
    Body,
    Item,
    ItemKey,
    ItemKind,
    NodeSettings,
    Placement,
    Policy,
    Revision,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
    body_from_json,
    body_to_json,
    canonical_json,
    checksum,
)
from placet_engine.model import EntityUid, Layer, Position
from placet_engine.placement.residency import ResidencyRule
from tests.unit.engine import make

ODD_ID = 'a"b\\c\n\0 /::😀'

BODIES: dict[str, Body] = {
    "policy": Policy(id="p", cedar=make.ANYBODY),
    "policy with everything": Policy(
        id="orders/read@1#a+b",
        cedar='// größer\n@reason("ünï 😀")\npermit(principal, action, resource);',
        layer=Layer.JURISDICTION,
        jurisdiction="EU",
        description='says "yes"',
        labels={"team": "orders", "a": ""},
        position=Position(file="orders.cedar", line=3, column=1),
    ),
    "policy with a file but no line": Policy(
        id="p", cedar=make.ANYBODY, position=Position(file="a.cedar")
    ),
    "link": TemplateLink(id="l", template_id="t"),
    "link of both slots": TemplateLink(
        id="l",
        template_id="t",
        principal=EntityUid("User", ODD_ID),
        resource=EntityUid("Acme::Doc", ""),
    ),
    "entity": make.stored("User::ann"),
    "entity with everything": StoredEntity(
        make.entity(
            "User::ann",
            {
                "yes": True,
                "one": 1,
                "least": -(2**63),
                "text": ODD_ID,
                "set": [1, "a", True, [], {"in": "a set"}],
                "record": {"type": "User", "id": "not a reference", "": {}},
                "manager": {"__entity": {"type": "User", "id": ODD_ID}},
                "limit": {"__extn": {"fn": "decimal", "arg": "12.50"}},
            },
            parents=["Group::a", "Group::b"],
            tags={"colour": "red", "refs": [make.ref("Doc::x")]},
        )
    ),
    "entity of an odd id": StoredEntity(make.entity(f"User::{ODD_ID}".replace("::😀", "😀"))),
    "entity of an empty id": make.stored("User::"),
    "schema": SchemaText("entity User;\n// größer\n"),
    "settings": Settings(),
    "settings with everything": Settings(
        schema_validation=SchemaValidation.WARN,
        jurisdictions=("EU", "US"),
        max_staleness_s=2.5,
        allow_empty_ids=True,
    ),
    "placement": Placement(tenant="acme"),
    "placement with everything": Placement(
        tenant="acme",
        rule=ResidencyRule.EU_ONLY,
        home_region="eu-west",
        affinity_regions=("eu-central", "eu-west"),
        update_time=datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC),
    ),
    "node settings": NodeSettings(node="eu1"),
    "node settings with everything": NodeSettings(node="eu1", weight=250, draining=False),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_body_survives_json(body: Body) -> None:
    document = json.loads(json.dumps(body_to_json(body)))

    assert body_from_json(body.key.kind, document) == body


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_digest_survives_json(body: Body) -> None:
    """Stores keep JSON; what they read has to have the digest of what was written."""
    item = Item("acme", Revision(7), body)
    document = json.loads(canonical_json(body_to_json(body)))

    read = Item("acme", Revision(7), body_from_json(body.key.kind, document))

    assert read.digest == item.digest


def test_no_two_bodies_share_a_digest() -> None:
    digests = {Item("acme", Revision(1), body).digest for body in BODIES.values()}

    assert len(digests) == len(BODIES)


def test_digest_covers_owner_and_revision() -> None:
    body = BODIES["policy"]
    items = [
        Item("acme", Revision(1), body),
        Item("acme", Revision(2), body),
        Item(PLATFORM, Revision(1), body),
    ]

    assert len({item.digest for item in items}) == 3


def test_digest_does_not_depend_on_the_order_of_names() -> None:
    one = make.stored("User::a", {"x": 1, "y": {"a": 1, "b": 2}})
    other = make.stored("User::a", {"y": {"b": 2, "a": 1}, "x": 1})

    assert Item("acme", Revision(1), one).digest == Item("acme", Revision(1), other).digest


def test_digest_tells_true_from_one() -> None:
    """They are equal in Python and differ in Cedar."""
    one, true = make.stored("User::a", {"x": 1}), make.stored("User::a", {"x": True})

    assert Item("acme", Revision(1), one).digest != Item("acme", Revision(1), true).digest


def test_digest_is_of_the_number_of_seconds_not_of_its_python_type() -> None:
    """A staleness of `30` comes back from the wire as `30.0`."""
    whole, float_ = Settings(max_staleness_s=30), Settings(max_staleness_s=30.0)

    assert Item("acme", Revision(1), whole).digest == Item("acme", Revision(1), float_).digest


def test_digest_is_the_documented_one() -> None:
    """Other implementations and stored digests depend on every byte of this form."""
    item = Item("acme", Revision(7), Policy(id="größe", cedar="permit(principal);"))

    text = '["acme",7,1,"größe","",{"cedar":"permit(principal);","id":"größe","layer":3}]'
    assert item.digest == hashlib.sha256(text.encode()).digest()


def test_fields_without_a_value_are_left_out() -> None:
    assert body_to_json(BODIES["policy"]).keys() == {"id", "cedar", "layer"}
    assert body_to_json(BODIES["link"]).keys() == {"id", "template_id"}
    assert body_to_json(BODIES["entity"]).keys() == {"uid", "attrs", "parents"}
    assert body_to_json(BODIES["settings"]).keys() == {"schema_validation"}


def test_fields_of_other_versions_are_read_over() -> None:
    document = {**body_to_json(BODIES["policy"]), "from_the_future": 1}

    assert body_from_json(ItemKind.POLICY, document) == BODIES["policy"]


def test_canonical_json_is_sorted_dense_and_utf8() -> None:
    document = {"b": [1, True, None], "a": {"ü": "\n", "A": "😀"}}

    assert canonical_json(document) == '{"a":{"A":"😀","ü":"\\n"},"b":[1,true,null]}'.encode()


@pytest.mark.parametrize(
    ("body", "key", "text"),
    [
        (BODIES["policy"], ItemKey(ItemKind.POLICY, "p"), "policy p"),
        (BODIES["link"], ItemKey(ItemKind.TEMPLATE_LINK, "l"), "template link l"),
        (
            BODIES["entity"],
            ItemKey(ItemKind.ENTITY, "ann", "User"),
            'entity User::"ann"',
        ),
        (BODIES["schema"], ItemKey(ItemKind.SCHEMA), "schema"),
        (BODIES["settings"], ItemKey(ItemKind.SETTINGS), "settings"),
    ],
)
def test_key_names_the_item(body: Body, key: ItemKey, text: str) -> None:
    assert Item("acme", Revision(1), body).key == key
    assert str(key) == text


def test_a_policy_and_a_link_of_one_id_are_two_items() -> None:
    assert Policy(id="x", cedar=make.ANYBODY).key != TemplateLink(id="x", template_id="t").key


def test_checksum_is_the_sum_of_digests_in_any_order() -> None:
    items = [Item("acme", Revision(1), body) for body in BODIES.values()]

    total = sum(int.from_bytes(item.digest, "big") for item in items)

    assert total % CHECKSUM_MODULUS == checksum(items) == checksum(reversed(items))
    assert checksum([]) == 0
    assert total >= CHECKSUM_MODULUS, "the sample is too small to see the modulus at work"
