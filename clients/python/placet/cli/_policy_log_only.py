"""``placet policy log-only``: what log-only policies would have changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from placet.cli import credentials, terminal
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.folders import read_policies
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Json,
    Logs,
    Since,
    Tenant,
    Timeout,
    Until,
    connected,
)

if TYPE_CHECKING:
    from placet_engine.program import Program


def log_only(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="The policies, folders or files, to tell which of them were never met.",
            metavar="[PATH...]",
            show_default=False,
        ),
    ] = None,
    logs: Logs = None,
    server: Annotated[
        bool, typer.Option("--server", help="Take the policies --tenant has on a server.")
    ] = False,
    tenant: Tenant = "",
    since: Since = None,
    until: Until = None,
    examples: Annotated[
        int, typer.Option(min=0, max=100, help="Decisions to show of each policy.", metavar="N")
    ] = 3,
    top: Annotated[
        int,
        typer.Option(min=0, max=100, help="Subjects, actions and resources to name.", metavar="N"),
    ] = 3,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Show what policies under @mode("log_only") would have changed of recorded decisions.

    With the policies at hand, from folders or from --server, recorded requests are asked again as
    well: then it is also told which of them saw no traffic or matched nothing, and what each
    would change as it is today.
    """
    if not logs:
        raise Failure("which decisions? name a decision log with --log", ExitCode.USAGE)
    if paths and server:
        raise Failure("the policies are in folders or on --server; name one", ExitCode.USAGE)
    with needs_extra("local", "the log-only report"):
        from placet.cli.replay.log_only import Shadows
        from placet.cli.replay.log_only_report import print_shadows, to_document
        from placet.cli.replay.reading import records_with_progress, wanted_records
        from placet.cli.replay.recordings import Recordings
    recordings = Recordings(logs, wanted_records(tenant, since, until, None))
    program = _program(paths, tenant, address, timeout_s, server=server)
    shadows = Shadows(program, examples=examples)
    for record in records_with_progress(recordings):
        shadows.take(record)
    if as_json:
        terminal.print_json(to_document(shadows, recordings.passed_over, top=top))
    else:
        print_shadows(shadows, recordings.passed_over, top=top)
    if not shadows.decisions:
        raise Failure(
            f"no decision of `{tenant}` is recorded there; --since and --until choose the records"
        )
    return ExitCode.OK


def _program(
    paths: list[Path] | None, tenant: str, address: str, timeout_s: float, *, server: bool
) -> Program | None:
    """Return the policies of today, if they were named."""
    from placet.cli.compiling import compile_documents
    from placet.cli.contents import Documents
    from placet.cli.replay.versions import Compiling, Sets
    from placet.local._published import published_sets

    if paths:
        with terminal.working("reading"):
            folder = read_policies(paths)
        with folder.quoting():
            return compile_documents(folder.documents)[0]
    if not server:
        return None
    with connected(address, tenant=tenant, timeout_s=timeout_s) as client:
        # Asked first, since it says at once when there is no server.
        next(client.list_items(page_size=1), None)
        with terminal.working("fetching what is published"):
            published = published_sets(
                address, tenant=tenant, timeout_s=timeout_s, credentials=credentials.current()
            )
    sets = Sets(*published)
    return Compiling().version(sets, Documents()).program
