"""What a publish would change, as commands work it out before they ask for it."""

from __future__ import annotations

import pytest

from placet import (
    ChangeSet,
    Entity,
    EntityRef,
    InvalidRequest,
    Item,
    ItemKey,
    ItemKind,
    Layer,
    Policy,
)
from placet.cli.failures import Failure
from placet.cli.plan import planned_changes
from placet.wire import LIMITS

ALLOW = "permit (principal, action, resource);"
VIEW = Policy(id="view", cedar=ALLOW)
MANY = LIMITS.max_change_items + 1


def entity(number: int) -> Entity:
    return Entity(EntityRef("User", f"u{number}"))


def stored(*bodies: Policy | Entity) -> list[Item]:
    return [Item(owner="acme", revision=1, digest=b"", body=body) for body in bodies]


def test_what_is_written_differently_is_changed_and_what_is_not_written_removed() -> None:
    other = Policy(id="view", cedar="forbid (principal, action, resource);")
    gone = Policy(id="gone", cedar=ALLOW)

    planned = planned_changes(
        ChangeSet(policies=[other, Policy(id="new", cedar=ALLOW)], replace_all=True),
        stored(VIEW, gone),
        owner="acme",
    )

    assert planned == [
        ("removed", ItemKey(ItemKind.POLICY, "gone")),
        ("added", ItemKey(ItemKind.POLICY, "new")),
        ("changed", ItemKey(ItemKind.POLICY, "view")),
    ]


def test_a_tenant_may_have_more_than_is_published_at_a_time() -> None:
    """All of it was taken for absent, and a sync published at every look."""
    has = stored(VIEW, *map(entity, range(MANY)))

    planned = planned_changes(ChangeSet(policies=[VIEW], replace_all=True), has, owner="acme")

    assert planned == []


def test_what_a_server_would_refuse_is_no_plan_without_changes() -> None:
    """Nothing was to be published, it said, and nothing was."""
    change_set = ChangeSet(entities=[entity(number) for number in range(MANY)])

    with pytest.raises(InvalidRequest, match=f"has {MANY} items"):
        planned_changes(change_set, (), owner="acme")


def test_what_cannot_be_read_is_not_guessed() -> None:
    newer = Policy(id="view", cedar=ALLOW, layer=Layer.PLATFORM)

    with pytest.raises(Failure, match=r"upgrade placet: .*layer"):
        planned_changes(ChangeSet(policies=[VIEW]), stored(newer), owner="acme")
