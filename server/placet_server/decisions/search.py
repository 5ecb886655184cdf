"""Which known subjects, resources or actions would be allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from placet_engine.model import EntityUid, Outcome, Request, Undecidable, Verdict
from placet_engine.program import Program


class SearchTarget(IntEnum):
    """Which part of the request is left open. Numbers as on the wire."""

    SUBJECT = 1
    RESOURCE = 2
    ACTION = 3


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One entity for which the request is not denied."""

    uid: EntityUid
    verdict: Verdict


def candidates(program: Program, target: SearchTarget, type_name: str) -> list[EntityUid]:
    """List what the open part may be, in order of type and id."""
    if target is SearchTarget.ACTION:
        found = (uid for uid in program.action_uids() if uid.type == type_name)
    else:
        found = (entity.uid for entity in program.entities if entity.uid.type == type_name)
    return sorted(found)


def hits(
    judge: Callable[[Request], Verdict | Undecidable],
    request: Request,
    target: SearchTarget,
    uids: list[EntityUid],
) -> Iterator[SearchHit | None]:
    """Judge the request for each uid; yield a hit, or nothing where there is none.

    What cannot be asked (an action that does not apply to the resource's type,
    say) is no hit: the question is what would be allowed.
    """
    for uid in uids:
        verdict = judge(_filled(request, target, uid))
        if isinstance(verdict, Undecidable) or verdict.outcome is Outcome.DENY:
            yield None
        else:
            yield SearchHit(uid, verdict)


def _filled(request: Request, target: SearchTarget, uid: EntityUid) -> Request:
    match target:
        case SearchTarget.SUBJECT:
            return replace(request, subject=uid)
        case SearchTarget.RESOURCE:
            return replace(request, resource=uid)
        case SearchTarget.ACTION:
            return replace(request, action=uid)
