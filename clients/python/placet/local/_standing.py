"""Whether what a local evaluator knows is good enough to decide by. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from placet._errors import StaleNode
from placet.local._judging import Judge
from placet.local._options import LocalOptions


class Recourse(Enum):
    """Who decides."""

    LOCAL = 1
    LOCAL_THOUGH_STALE = 2
    REMOTE = 3


class Standing(NamedTuple):
    """Who decides a request that came now, and how old what they know is."""

    recourse: Recourse
    staleness_s: float


def standing(judge: Judge, staleness_s: float, options: LocalOptions) -> Standing:
    """Choose who decides.

    The tenant's own maximum staleness binds whoever decides for it: past it,
    not even an evaluator that was told to serve does.

    Raises:
        StaleNode: nobody may.
    """
    tenant_max_s = judge.edition.stable.program.settings.max_staleness_s
    past_own = staleness_s > options.max_staleness_s
    past_tenants = tenant_max_s is not None and staleness_s > tenant_max_s
    if not past_own and not past_tenants:
        return Standing(Recourse.LOCAL, staleness_s)
    if options.when_stale == "remote":
        return Standing(Recourse.REMOTE, staleness_s)
    if options.when_stale == "serve" and not past_tenants:
        return Standing(Recourse.LOCAL_THOUGH_STALE, staleness_s)
    limit_s = tenant_max_s if past_tenants else options.max_staleness_s
    raise StaleNode(
        f"what is known is {staleness_s:.1f} s old, and the limit is {limit_s} s; "
        "is the server reachable?",
        reason="NODE_STALE",
    )
