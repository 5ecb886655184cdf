"""Who decides test cases: the engine in this process, or a server.

Both read requests with the same code and run the same engine, so that they come to the same
decisions. A server also knows the platform's policies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from placet import (
    CandidateReport,
    Client,
    Decision,
    DecisionError,
    InvalidRequest,
    Problem,
    Request,
)
from placet import _convert as convert
from placet._requests import whole_request
from placet.cli.compiling import TENANT, compile_documents, findings_of
from placet.cli.contents import Documents
from placet.cli.findings import FilesRefused, Finding
from placet.wire import Malformed, Reader, read_request, verdict_to_wire
from placet_engine import model


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
        read = request_to_engine(request)
        if isinstance(read, DecisionError):
            return read
        explanation = self._program.explain(read)
        if isinstance(explanation, model.Undecidable):
            return answer_of(explanation)
        for layer in explanation.layers:
            self._unmatched -= {policy.id for policy in layer.matched}
            # What could not be evaluated was tried as well.
            self._unmatched -= {failure.policy.id for failure in layer.failed}
        return answer_of(explanation.verdict)

    @property
    def uncovered(self) -> frozenset[str]:
        """Ids of the policies that matched none of the requests so far."""
        return frozenset(self._unmatched)


def request_to_engine(request: Request) -> model.Request | DecisionError:
    """Read a request as the server does, or say what it would answer to it."""
    reader = Reader()
    try:
        read = read_request(whole_request(TENANT, request), reader)
        reader.finish()
    except (Malformed, InvalidRequest) as error:
        first = error.violations[0] if error.violations else None
        return DecisionError(
            str(error),
            code="INVALID_ARGUMENT",
            reason="REQUEST_MALFORMED",
            field=first.field if first else "",
        )
    return read


def answer_of(found: model.Verdict | model.Undecidable) -> Decision | DecisionError:
    """Return what the engine says as a server tells it."""
    if isinstance(found, model.Undecidable):
        return DecisionError(
            found.message,
            code="INVALID_ARGUMENT",
            reason=found.reason,
            field=found.field or "request",
        )
    return convert.decision(verdict_to_wire(found))


class ServerJudge:
    """Asks a server what would be if the documents were published. Nothing is."""

    def __init__(self, client: Client, documents: Documents) -> None:
        self._client = client
        self._documents = documents
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
            FilesRefused: the documents do not compile.
            PlacetError: the server does not answer.
        """
        # One malformed request would fail the whole call.
        results: list[Decision | DecisionError | None] = [
            read if isinstance(read := request_to_engine(request), DecisionError) else None
            for request in requests
        ]
        good = [index for index, result in enumerate(results) if result is None]
        for start in range(0, len(good), _MAX_REQUESTS):
            chunk = good[start : start + _MAX_REQUESTS]
            report = self._test([requests[index] for index in chunk])
            for index, result in zip(chunk, report.results, strict=True):
                results[index] = result
            unmatched = frozenset(report.unmatched_policy_ids)
            self._unmatched = unmatched if self._unmatched is None else self._unmatched & unmatched
            on_decided(len(chunk))
        return [result for result in results if result is not None]

    def _test(self, requests: Sequence[Request]) -> CandidateReport:
        try:
            return self._client.test(requests, self._change_set)
        except InvalidRequest as error:
            problems: Sequence[Problem] = ()
            if self._change_set is not None:
                problems = self._client.validate(self._change_set).problems
            findings = findings_of(problems, self._documents)
            if not findings:
                raise
            raise FilesRefused(findings) from error

    @property
    def uncovered(self) -> frozenset[str]:
        """Ids of the policies that matched none of the requests so far."""
        return self._unmatched or frozenset()


# A server takes 1,000 at a time; fewer, so that progress can be seen.
_MAX_REQUESTS = 200
