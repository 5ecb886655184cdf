"""Tells of callers who were refused: all are counted, and of each some are in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cachetools import TTLCache

from placet_server.identity.principals import Principal
from placet_server.telemetry.recorders import Metrics

log = logging.getLogger(__name__)

_QUIET_S = 60.0
_REMEMBERED = 1000


class RefusedCalls:
    """Counts refusals by reason, and logs the first of a caller and reason in a minute.

    Args:
        monotonic: a clock that does not jump, in seconds.
        metrics: where the numbers are read. None: nowhere.
    """

    def __init__(self, monotonic: Callable[[], float], metrics: Metrics | None = None) -> None:
        self._counts: dict[str, int] = {}
        self._told: TTLCache[tuple[str, str], bool] = TTLCache(_REMEMBERED, _QUIET_S, monotonic)
        if metrics is not None:
            metrics.observe(
                "placet.identity.refused",
                "{call}",
                "Calls and messages that were refused for who sent them, by reason.",
                lambda: [(n, {"reason": reason}) for reason, n in self._counts.copy().items()],
                monotonic=True,
            )

    def tell(self, reason: str, principal: Principal | None = None, detail: str = "") -> None:
        """Tell of a call that was refused.

        Args:
            reason: stable upper-case identifier.
            principal: who called, where that is known.
            detail: what else is known. No secrets.
        """
        self._counts[reason] = self._counts.get(reason, 0) + 1
        name = principal.name if principal is not None else ""
        self._told.expire()
        if (name, reason) in self._told:
            return
        if len(self._told) >= _REMEMBERED:
            # As long as so many different ones come, counting has to do.
            return
        self._told[name, reason] = True
        log.warning(
            "a caller was refused", extra={"caller": name, "reason": reason, "detail": detail}
        )
