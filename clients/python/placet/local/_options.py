"""How a local evaluator behaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from placet._errors import InvalidRequest
from placet._freshness import StateChange

WhenStale: TypeAlias = Literal["raise", "serve", "remote"]
"""What happens past the maximum staleness.

``raise``: ``StaleNode``, which is not an allow. ``serve``: the answer is given
and marked ``is_stale``, unless the tenant's own maximum is passed as well,
which raises. ``remote``: the server is asked.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How a local evaluator behaves. Times are in seconds."""

    tenant: str
    max_staleness_s: float
    when_stale: WhenStale
    start_timeout_s: float
    timeout_s: float
    cache_entries: int
    stale_after_s: float
    subscriber: str
    region: str
    on_state_change: Callable[[StateChange], None] | None

    def __post_init__(self) -> None:
        if not self.tenant:
            raise InvalidRequest("`tenant` is empty; say whose policies to follow")
        if self.when_stale not in get_args(WhenStale):
            known = ", ".join(f"`{name}`" for name in get_args(WhenStale))
            raise InvalidRequest(f"`when_stale` is `{self.when_stale}`; use one of {known}")
