"""How this node fares, as it says with every renewal of its lease."""

from __future__ import annotations

import time
from collections.abc import Callable

from placet_engine.placement.nodes import Condition, NodeHealth, NodeLoad
from placet_server.admission.control import AdmissionControl
from placet_server.clock import Clock
from placet_server.policies.active import ActivePolicies
from placet_server.policies.hub import Hub

_MEASURED_OVER_S = 1.0
# What JSON and protobuf can both write down, for a node that never was current.
_NEVER_CURRENT_S = 1e9


class OwnCondition:
    """Tells how busy the node is, and how far it has come.

    Args:
        admission: knows how many calls came, and whether there are too many.
        hub: knows the subscribers.
        active: knows the revision.
        clock: measures.
        thread_time: processor time of the thread that decides, in seconds.
    """

    def __init__(
        self,
        *,
        admission: AdmissionControl,
        hub: Hub,
        active: ActivePolicies,
        clock: Clock,
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._admission = admission
        self._hub = hub
        self._active = active
        self._clock = clock
        self._thread_time = thread_time
        self._began_s = clock.monotonic()
        self._busy_s = thread_time()
        self._calls = 0
        self._measured = (0.0, 0.0)

    def __call__(self) -> Condition:
        """Return how the node fares now."""
        utilization, requests_per_second = self._measure()
        return Condition(
            health=NodeHealth.SERVING,
            load=NodeLoad(
                utilization=1.0 if self._admission.is_shedding else utilization,
                requests_per_second=requests_per_second,
                subscribers=len(self._hub),
            ),
            revision=self._active.revision,
            staleness_s=min(self._active.node_staleness_s(), _NEVER_CURRENT_S),
        )

    def _measure(self) -> tuple[float, float]:
        """Return the part of one processor that is used, and the calls a second, of late.

        All decisions are made on one thread: what that has left, the node has left.
        """
        now_s = self._clock.monotonic()
        passed_s = now_s - self._began_s
        if passed_s >= _MEASURED_OVER_S:
            busy_s, calls = self._thread_time(), self._admission.statistics().admitted
            self._measured = (
                min((busy_s - self._busy_s) / passed_s, 1.0),
                (calls - self._calls) / passed_s,
            )
            self._began_s, self._busy_s, self._calls = now_s, busy_s, calls
        return self._measured
