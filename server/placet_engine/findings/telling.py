"""Says what was found, to whoever wrote the policy."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from placet_engine import checking
from placet_engine.changes import ItemSet
from placet_engine.findings.comparing import Kind
from placet_engine.findings.search import Finding
from placet_engine.items import PLATFORM_LAYERS, ItemKey, ItemKind, Policy
from placet_engine.model import NOWHERE, Position, Problem, Severity
from placet_engine.precedence import EffectivePolicy

MOST = 100
"""So many findings are told at a time: who has more does not read them one by one."""


def to_problems(
    findings: Iterable[Finding], own: ItemSet, platform: ItemSet | None = None
) -> Iterator[Problem]:
    """Put findings into words. They are looked for only as far as they are told.

    Args:
        findings: what was found.
        own: the items it is about.
        platform: the platform's, if the owner is a tenant.
    """
    findings = iter(findings)
    for finding in itertools.islice(findings, MOST):
        yield _problem(finding, own, platform)
    if next(findings, None) is not None:
        yield checking.problem(
            "MORE_FINDINGS",
            f"there are more findings than these {MOST}; mend some, and validate again",
            severity=Severity.WARNING,
        )


def _problem(finding: Finding, own: ItemSet, platform: ItemSet | None) -> Problem:
    key, position = finding.key, _position(finding.key, own)
    where = f" at {position}" if str(position) else ""
    message = _words(finding, own, platform)
    return Problem(
        severity=Severity.WARNING,
        reason=finding.kind.value,
        message=f"{_KIND_WORDS[key.kind]} `{key.id}` is doubtful: {message}{where}",
        subject=key.id,
        position=position,
    )


_KIND_WORDS = {ItemKind.POLICY: "policy", ItemKind.TEMPLATE_LINK: "template link"}


def _position(key: ItemKey, items: ItemSet) -> Position:
    item = items.items.get(key)
    return item.body.position if item is not None and isinstance(item.body, Policy) else NOWHERE


def _words(finding: Finding, own: ItemSet, platform: ItemSet | None) -> str:
    if finding.by is None:
        return (
            "it can never match, whatever the request; mend its scope or conditions, or remove it"
        )
    other = _named(finding.by, own, platform)
    match finding.kind:
        case Kind.CONFLICT:
            return (
                f"{other} forbids exactly what it permits, and a forbid wins; keep one of the two"
            )
        case Kind.SHADOWED:
            return f"{other} forbids all it permits; narrow the forbid, or remove the permit"
        case Kind.APPROVAL_NEVER_ASKED:
            return (
                f"the approval is never asked for: {other} allows all of this without; "
                "narrow that one, or ask for the approval there"
            )
        case Kind.DUPLICATE:
            return f"{other} says the same; remove one of the two"
    return f"{other} permits all of this as well; remove it, or narrow the other"


def _named(policy: EffectivePolicy, own: ItemSet, platform: ItemSet | None) -> str:
    """Name another policy so that it can be found."""
    source = own if platform is None or policy.layer not in PLATFORM_LAYERS else platform
    effect = policy.parsed.effect.name.lower()
    owner = ""
    if source is not own:
        place = f" for `{policy.jurisdiction}`" if policy.jurisdiction else ""
        owner = f" of the platform{place}"
    position = _position(ItemKey(ItemKind.POLICY, policy.template_id or policy.id), source)
    where = f" (at {position})" if str(position) else ""
    return f"{effect} `{policy.id}`{owner}{where}"
