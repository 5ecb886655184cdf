"""What is found about policies at random: it is true, and it is found again after a change."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from placet_engine.changes import ItemSet
from placet_engine.compiled_items import CompiledItems
from placet_engine.compiling import Compiler
from placet_engine.findings import Change, find
from placet_engine.items import PLATFORM, ItemKey, ItemKind, Revision, TemplateLink
from placet_engine.model import Request, Undecidable, Verdict
from placet_engine.precedence import EffectivePolicy
from placet_engine.program import Program
from tests.property import strategies
from tests.property.strategies import Case
from tests.property.test_slicing import moved, typed_or_not
from tests.unit.engine import make

COMPILER = Compiler()
"""Remembers policies from one example to the next."""


@st.composite
def cases(draw: st.DrawFn, *, typed: bool) -> Case:
    """Make a case; most of the time its policies have much to do with each other."""
    case = draw(strategies.cases(typed=typed, approvals=True, max_requests=4))
    if draw(st.sampled_from([False, False, False, True])):
        return case
    return replace(case, written=draw(strategies.kindred_policies()), requests=CLOSE_REQUESTS)


GROUPED = make.entity("User::ann", parents=["Acme::Group::red"])
CLOSE_REQUESTS = tuple(
    Request(
        subject=subject,
        action=action,
        resource=strategies.DOCS[0],
        context=context,
        entities=(GROUPED,),
        approved=approved,
    )
    for subject, action in itertools.product(strategies.USERS[:2], strategies.ACTIONS[:2])
    for context, approved in itertools.product(({}, {"level": 1}, {"level": 2}), (False, True))
)
"""All there is to ask about kindred policies."""


def compiled(platform: ItemSet, own: ItemSet) -> CompiledItems:
    result = COMPILER.compile(platform, own)
    assert result.own is not None
    assert result.program is not None, result.problems
    return result.own


def program(platform: ItemSet, own: ItemSet) -> Program:
    result = COMPILER.compile(platform, own).program
    assert result is not None
    return result


def without(items: ItemSet, removed: Iterable[ItemKey]) -> ItemSet:
    """Remove items, and the links of templates that are among them."""
    gone = set(removed)
    ids = {key.id for key in gone if key.kind is ItemKind.POLICY}
    kept = {
        key: item
        for key, item in items.items.items()
        if key not in gone
        and not (isinstance(item.body, TemplateLink) and item.body.template_id in ids)
    }
    return replace(items, items=kept)


def gist(verdict: Verdict | Undecidable, apart_from: set[str]) -> object:
    """Return a verdict as if some policies had not been named in it."""
    assert isinstance(verdict, Verdict), verdict
    return replace(
        verdict,
        reasons=tuple(each for each in verdict.reasons if each.policy_id not in apart_from),
        errors=tuple(each for each in verdict.errors if each.policy_id not in apart_from),
    )


@typed_or_not
@settings(max_examples=150)
@given(data=st.data())
def test_what_is_found_can_be_removed_and_no_decision_changes(
    typed: bool, data: st.DataObject
) -> None:
    case = data.draw(cases(typed=typed))
    platform = make.item_set(PLATFORM, case.platform)
    own = make.item_set(make.TENANT, case.tenant)
    of_platform = compiled(platform, platform)
    found = {
        PLATFORM: list(find(of_platform)),
        make.TENANT: list(find(compiled(platform, own), of_platform)),
    }
    before = program(platform, own)
    verdicts = [before.judge(request) for request in case.requests]

    for owner, findings in found.items():
        for removed in (*([each] for each in findings), findings):
            for finding in removed:
                event(finding.kind.name)
            keys = [finding.key for finding in removed]
            items = without(platform if owner == PLATFORM else own, keys)
            left = program(items, own) if owner == PLATFORM else program(platform, items)
            gone = {policy.id for policy in before.policies} - {p.id for p in left.policies}
            for request, verdict in zip(case.requests, verdicts, strict=True):
                assert gist(left.judge(request), gone) == gist(verdict, gone), removed


@typed_or_not
@settings(max_examples=100)
@given(data=st.data())
def test_a_change_tells_what_looking_at_all_tells_about_it(
    typed: bool, data: st.DataObject
) -> None:
    steps = data.draw(st.lists(cases(typed=typed), min_size=2, max_size=3))
    own = make.item_set(make.TENANT, ())
    platform = make.item_set(PLATFORM, steps[0].platform)
    of_platform = compiled(platform, platform)

    for number, case in enumerate(steps):
        before, own = own, moved(own, case.tenant, Revision(number + 2))
        edited = {
            key
            for key in before.items.keys() | own.items.keys()
            if before.items.get(key) is not own.items.get(key)
        }
        now = compiled(platform, own)
        written = data.draw(st.sets(st.sampled_from(sorted(own.items))))
        change = Change(written=written | edited, edited=edited)

        told = list(find(now, of_platform, change))

        is_told = {
            (finding.kind, finding.key, id(finding.by))
            for finding in find(now, of_platform)
            if change.concerns_all
            or concerns(finding.key, now, change.written)
            or (finding.by is not None and concerns(key_of(finding.by), now, edited))
        }
        event(f"{min(len(is_told), 3)} told")
        assert len(told) == len({finding.key for finding in told})
        assert {(each.kind, each.key, id(each.by)) for each in told} == is_told


def key_of(policy: EffectivePolicy) -> ItemKey:
    kind = ItemKind.TEMPLATE_LINK if policy.template_id else ItemKind.POLICY
    return ItemKey(kind, policy.id)


def concerns(key: ItemKey, now: CompiledItems, keys: Iterable[ItemKey]) -> bool:
    """Whether an item of the set, or the template it is made from, is among some."""
    policy = now.effective.get(key)
    template = ItemKey(ItemKind.POLICY, policy.template_id) if policy else key
    is_own = policy is None or now.items.items.get(key) is not None
    return is_own and (key in keys or template in keys)
