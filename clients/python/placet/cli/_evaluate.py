"""``placet evaluate`` and ``placet explain``: ask a server, show the answer."""

from __future__ import annotations

from typing import Annotated

import typer

from placet import Decision, DecisionError, Outcome
from placet.cli import decisions, explanations, requests, terminal
from placet.cli.as_json import to_json
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import FilesRefused
from placet.cli.options import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    Address,
    Json,
    Tenant,
    Timeout,
    connected,
)

_Subject = Annotated[
    str | None,
    typer.Option("--subject", "-s", help="Who asks, such as User::alice.", metavar="TYPE::ID"),
]
_Action = Annotated[
    str | None,
    typer.Option("--action", "-a", help="What they want to do, such as view.", metavar="NAME"),
]
_Resource = Annotated[
    str | None,
    typer.Option("--resource", "-r", help="What to, such as Invoice::i-1.", metavar="TYPE::ID"),
]
_Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        "-c",
        help='A circumstance. What reads as JSON is JSON (true, 12, ["a"]), all else is text. '
        "Repeatable.",
        metavar="NAME=VALUE",
    ),
]
_ContextJson = Annotated[
    str | None,
    typer.Option("--context-json", help="All circumstances, or @ and a file.", metavar="JSON"),
]
_Property = Annotated[
    list[str] | None,
    typer.Option(
        "--property",
        "-p",
        help="What is known of the subject, action or resource: resource.amount=12. Repeatable.",
        metavar="PART.NAME=VALUE",
    ),
]
_MinRevision = Annotated[
    int,
    typer.Option("--min-revision", min=0, help="Wait until the server has this revision."),
]
_File = Annotated[
    str | None,
    typer.Option(
        "--file",
        "-f",
        help="Requests from a file, JSON, JSON lines or YAML; - is standard input.",
        metavar="FILE",
    ),
]


def evaluate(
    tenant: Tenant,
    subject: _Subject = None,
    action: _Action = None,
    resource: _Resource = None,
    context: _Context = None,
    context_json: _ContextJson = None,
    properties: _Property = None,
    file: _File = None,
    min_revision: _MinRevision = 0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Ask whether a subject may do an action on a resource.

    With --file, many requests at once: the answers come in their order, as JSON one on each line.
    The exit code then is that of the worst: no answer, denied, requires approval, allowed.
    """
    if file is not None:
        if any((subject, action, resource, context, context_json, properties)):
            raise Failure("`--file` has whole requests; leave the other parts out", ExitCode.USAGE)
        return _evaluate_file(
            file, tenant, address, timeout_s, min_revision=min_revision, as_json=as_json
        )
    request = requests.from_options(subject, action, resource, context, context_json, properties)
    with connected(address, tenant=tenant, timeout_s=timeout_s) as client:
        decision = client.evaluate(
            *requests.parts(request), request.context, min_revision=min_revision
        )
    if as_json:
        terminal.print_json(to_json(decision))
    else:
        terminal.out().print(decisions.panel(request, decision))
    return _code(decision)


def _evaluate_file(
    file: str, tenant: str, address: str, timeout_s: float, *, min_revision: int, as_json: bool
) -> int:
    try:
        asked = requests.from_file(file)
    except FilesRefused as refused:
        terminal.print_findings(refused.findings, refused.texts)
        return ExitCode.USAGE
    results: list[Decision | DecisionError] = []
    with connected(address, tenant=tenant, timeout_s=timeout_s) as client:
        for start in range(0, len(asked), _BATCH):
            chunk = asked[start : start + _BATCH]
            results += client.evaluate_batch(chunk, min_revision=min_revision)
    if as_json:
        for result in results:
            terminal.print_json(to_json(result))
    else:
        terminal.out().print(decisions.overview(asked, results))
    return max((_code(result) for result in results), key=_BADNESS.index, default=ExitCode.OK)


# What a server takes at a time.
_BATCH = 1000
_BADNESS = (ExitCode.OK, ExitCode.NEEDS_APPROVAL, ExitCode.DENIED, ExitCode.UNDECIDED)


def _code(result: Decision | DecisionError) -> ExitCode:
    if isinstance(result, DecisionError):
        return ExitCode.UNDECIDED
    return {
        Outcome.ALLOW: ExitCode.OK,
        Outcome.DENY: ExitCode.DENIED,
        Outcome.REQUIRES_APPROVAL: ExitCode.NEEDS_APPROVAL,
    }[result.outcome]


def explain(
    tenant: Tenant,
    subject: _Subject = None,
    action: _Action = None,
    resource: _Resource = None,
    context: _Context = None,
    context_json: _ContextJson = None,
    properties: _Property = None,
    min_revision: _MinRevision = 0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = DEFAULT_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Ask, and show how the answer came about.

    The layers top down, in each what matched or failed and where it is written; the rule that
    decided, and what would have changed the answer; and the entities that policies could reach.
    """
    request = requests.from_options(subject, action, resource, context, context_json, properties)
    with connected(address, tenant=tenant, timeout_s=timeout_s) as client:
        explanation = client.explain(
            *requests.parts(request), request.context, min_revision=min_revision
        )
    if as_json:
        terminal.print_json(to_json(explanation))
    else:
        console = terminal.out()
        console.print(decisions.panel(request, explanation.decision))
        for part in explanations.work(explanation):
            console.print(part)
    return _code(explanation.decision)
