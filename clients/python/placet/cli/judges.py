"""Who decides test cases: the engine in this process, or a server.

Both read requests with the same code and run the same engine, so that they come to the same
decisions. A server also knows the platform's policies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from placet import Client, Decision, DecisionError, InvalidRequest, Request
from placet import _convert as convert
from placet._requests import whole_request
from placet.cli.compiling import TENANT, compile_documents
from placet.cli.contents import Documents
from placet.cli.findings import Finding
from placet.wire import Malformed, Reader, verdict_to_wire
from placet_engine.model import Undecidable


class Judge(Protocol):
    """Decides requests against a set of documents, and notes which policies matched."""

    def decide(
        self, requests: Sequence[Request], *, on_decided: Callable[[int], None]
    ) -> list[Decision | DecisionError]:
        """Decide requests, in their order; ``on_decided`` is told how many more are done."""
        ...

    @property
    def uncovered(self) -> frozenset[str]:
        """Ids of the policies that matched none of the requests so far."""
        ...


class LocalJudge:
    """Decides with the engine, in this process."""

    def __init__(self, documents: Documents) -> None:
        """Compile the documents.

        Raises:
            FilesRefused: they do not compile.
        """
        self._program, self.warnings = compile_documents(documents)
        self._unmatched = {policy.id for policy in self._program.policies}

    def decide(
        self, requests: Sequence[Request], *, on_decided: Callable[[int], None]
    ) -> list[Decision | DecisionError]:
        """Decide requests, in their order."""
        results = []
        for request in requests:
            results.append(self._decide(request))
            on_decided(1)
        return results

    def _decide(self, request: Request) -> Decision | DecisionError:
        reader = Reader()
        try:
            read = reader.request(whole_request(TENANT, request))
            reader.finish()
        except (Malformed, InvalidRequest) as error:
            first = error.violations[0] if error.violations else None
            return DecisionError(
                str(error),
                code="INVALID_ARGUMENT",
                reason="REQUEST_MALFORMED",
                field=first.field if first else "",
            )
        explanation = self._program.explain(read)
        if isinstance(explanation, Undecidable):
            return DecisionError(
                explanation.message,
                code="INVALID_ARGUMENT",
                reason=explanation.reason,
                field=explanation.field or "request",
            )
        for layer in explanation.layers:
            self._unmatched -= {policy.id for policy in layer.matched}
            # What could not be evaluated was tried as well.
            self._unmatched -= {failure.policy.id for failure in layer.failed}
        return convert.decision(verdict_to_wire(explanation.verdict))

    @property
    def uncovered(self) -> frozenset[str]:
        """Ids of the policies that matched none of the requests so far."""
        return frozenset(self._unmatched)


class ServerJudge:
    """Asks a server what would be if the documents were published. Nothing is."""

    def __init__(self, client: Client, documents: Documents) -> None:
        self._client = client
        # Without any policies, the question is what the published ones say.
        self._change_set = (
            None
            if documents.is_empty
            else documents.change_set(replace_all=bool(documents.policies))
        )
        self._unmatched: frozenset[str] | None = None
        self.warnings: list[Finding] = []

    def decide(
        self, requests: Sequence[Request], *, on_decided: Callable[[int], None]
    ) -> list[Decision | DecisionError]:
        """Decide requests, in their order.

        Raises:
            PlacetError: the server does not take the documents or a request, or does not answer.
        """
        results: list[Decision | DecisionError] = []
        for start in range(0, len(requests), _MAX_REQUESTS):
            chunk = requests[start : start + _MAX_REQUESTS]
            report = self._client.test(chunk, self._change_set)
            results.extend(report.results)
            unmatched = frozenset(report.unmatched_policy_ids)
            self._unmatched = unmatched if self._unmatched is None else self._unmatched & unmatched
            on_decided(len(chunk))
        return results

    @property
    def uncovered(self) -> frozenset[str]:
        """Ids of the policies that matched none of the requests so far."""
        return self._unmatched or frozenset()


# A server takes 1,000 at a time; fewer, so that progress can be seen.
_MAX_REQUESTS = 200
