"""What both local evaluators do once there is nothing to wait for."""

from __future__ import annotations

from collections.abc import Callable

from placet import _requests as building
from placet._decisions import Decision
from placet._errors import DecisionError, InvalidRequest
from placet._requests import BatchSemantics
from placet.local._judging import Judge, Judged, Stamp
from placet.local._options import LocalOptions
from placet.local._programs import Programs
from placet.local._standing import Recourse, standing
from placet.v1 import evaluate_service_pb2 as pb


class Deciding:
    """Answers by the program in use, or says that the server has to. Thread-safe; never waits."""

    def __init__(self, programs: Programs, options: LocalOptions) -> None:
        self._programs = programs
        self._options = options
        self._stamp = Stamp(options.region)

    def tenant(self, tenant: str | None) -> str:
        """Check that a call is about the tenant that is followed."""
        if tenant is not None and tenant != self._options.tenant:
            raise InvalidRequest(
                f"`tenant` is `{tenant}`, and this evaluator follows `{self._options.tenant}`; "
                "make one for each tenant, or ask the server"
            )
        return self._options.tenant

    def can_answer(self, min_revision: int) -> bool:
        """Whether there is an answer without waiting, if only that the server has to be asked."""
        if self._programs.judge is None:
            return self._options.when_stale == "remote"
        return self._programs.covers(min_revision)

    def patience_s(self, timeout_s: float | None) -> float:
        """Return how long a call waits: longer while the first policies are on their way."""
        if self._programs.judge is None:
            return self._options.start_timeout_s
        return self._options.timeout_s if timeout_s is None else timeout_s

    def recall(self, key: bytes | None, min_revision: int) -> Decision | None:
        """Return the answer to a request that was written the same before, if there is one.

        Raises:
            StaleNode: what is known is too old.
        """
        judge = self._programs.judge
        if key is None or judge is None or judge.revision < min_revision:
            return None
        known = judge.recall(key)
        if known is None:
            return None
        return self._stamped(judge, lambda: Judged(known, True))

    def evaluate(self, message: pb.EvaluateRequest, key: bytes | None) -> Decision | None:
        """Decide a request; None leaves it to the server.

        Args:
            message: the request.
            key: what :meth:`recall` finds the answer by the next time.

        Raises:
            InvalidRequest: it is malformed, or the engine cannot judge it.
            StaleNode: what is known is too old.
        """
        judge = self._programs.judge
        if judge is None:
            return None
        return self._stamped(judge, lambda: judge.decide(message, key))

    def _stamped(self, judge: Judge, decide: Callable[[], Judged]) -> Decision | None:
        """Decide, if what is known is good enough for that."""
        staleness_s = self._programs.staleness_s()
        if staleness_s is None:
            return None
        now = standing(judge, staleness_s, self._options)
        if now.recourse is Recourse.REMOTE:
            return None
        return self._stamp(
            decide(),
            staleness_s=now.staleness_s,
            is_stale=now.recourse is Recourse.LOCAL_THOUGH_STALE,
        )

    def evaluate_batch(
        self, message: pb.EvaluateBatchRequest, semantics: BatchSemantics
    ) -> list[Decision | DecisionError] | None:
        """Decide a batch by one program; None leaves it to the server. Raises as ``evaluate``."""
        judge = self._programs.judge
        staleness_s = self._programs.staleness_s()
        if judge is None or staleness_s is None:
            return None
        now = standing(judge, staleness_s, self._options)
        if now.recourse is Recourse.REMOTE:
            return None
        results: list[Decision | DecisionError] = []
        is_stale = now.recourse is Recourse.LOCAL_THOUGH_STALE
        for judged in judge.decide_batch(message):
            results.append(
                judged
                if isinstance(judged, DecisionError)
                else self._stamp(judged, staleness_s=now.staleness_s, is_stale=is_stale)
            )
            if building.stops_after(semantics, is_allowed=results[-1].allowed):
                break
        return results
