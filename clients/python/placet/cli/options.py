"""Options that several commands have, and what comes of them."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from placet import PLATFORM, Client, DeadlineExceeded, Unavailable
from placet.cli import credentials
from placet.cli.failures import ExitCode, Failure

DEFAULT_ADDRESS = "127.0.0.1:7717"

Address: TypeAlias = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="PLACET_ADDRESS",
        help="Where the server is; several with commas, and the commands use those that answer.",
        metavar="HOST:PORT,...",
    ),
]
Tenant: TypeAlias = Annotated[
    str,
    typer.Option("--tenant", "-t", envvar="PLACET_TENANT", help="Whose policies.", metavar="NAME"),
]
Platform: TypeAlias = Annotated[
    bool, typer.Option("--platform", help="The platform's policies, which apply to every tenant.")
]
Timeout: TypeAlias = Annotated[
    float,
    typer.Option("--timeout", help="How long to wait for an answer, in seconds.", metavar="S"),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")
]
Paths: TypeAlias = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of policies, or single files.", metavar="PATH...", show_default=False
    ),
]
Message: TypeAlias = Annotated[
    str, typer.Option("--message", "-m", help="Why, for the history.", metavar="TEXT")
]
ExpectedRevision: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=0, help="Only on top of this revision; 0: only if the tenant is new.", metavar="N"
    ),
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Check, and show what would change; change nothing.")
]

Replace: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--replace/--no-replace",
        help="Remove what is not in the folder. Done when folders are given, not for files.",
        show_default=False,
    ),
]
Logs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        help="A decision log, with its rotated files; gzip will do; - is standard input. "
        "Repeatable.",
        metavar="FILE",
    ),
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--since",
        help="Records from then on: 2026-03-01, 2026-03-01T12:00:00Z, or 24h, 7d ago.",
        metavar="TIME",
    ),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option("--until", help="Records before then.", metavar="TIME")
]

Actor: TypeAlias = Annotated[
    str,
    typer.Option(
        "--as",
        envvar="PLACET_ACTOR",
        help="Who does it, for the history and for approvals. Said, not proved. Without: you at "
        "this machine.",
        metavar="NAME",
    ),
]
Groups: TypeAlias = Annotated[
    str,
    typer.Option(
        "--groups",
        envvar="PLACET_GROUPS",
        help="The groups you are in, for approvals that need one. Said, not proved.",
        metavar="NAME,...",
    ),
]

DEFAULT_TIMEOUT_S = 5.0
MANAGING_TIMEOUT_S = 30.0


def owner(tenant: str, *, platform: bool) -> str:
    """Return whose policies are meant. A tenant that is only in the environment gives way.

    Raises:
        Failure: neither or both were named.
    """
    if platform and tenant not in ("", os.environ.get("PLACET_TENANT")):
        raise Failure("`--tenant` and `--platform` exclude each other", ExitCode.USAGE)
    if not (platform or tenant):
        raise Failure("whose policies? name a tenant with --tenant, or --platform", ExitCode.USAGE)
    return PLATFORM if platform else tenant


def actor_or_user(actor: str) -> str:
    """Return who acts: who was named, or else the user of this machine."""
    actor = actor or os.environ.get("PLACET_ACTOR", "")
    if actor:
        return actor
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # Nobody has this number: a container that runs as any user.
        user = str(os.getuid())
    # Names go into metadata, which has room for ASCII only.
    return f"{user}@{socket.gethostname()}".encode("ascii", "replace").decode()


@contextmanager
def connected(
    address: str,
    *,
    tenant: str | None = None,
    timeout_s: float,
    actor: str = "",
    groups: str = "",
) -> Iterator[Client]:
    """Talk to a server for the length of the block; say what to do when none answers."""
    if not timeout_s > 0:
        raise Failure(f"`--timeout` is {timeout_s:g}; give it some seconds", ExitCode.USAGE)
    proofs = credentials.current()
    with Client(
        address,
        tenant=tenant,
        timeout_s=timeout_s,
        management_timeout_s=timeout_s,
        # Who is proved to be somebody is not called after this machine's user.
        actor=actor if proofs is not None and proofs.prove_somebody else actor_or_user(actor),
        groups=[group.strip() for group in groups.split(",") if group.strip()],
        credentials=proofs,
    ) as client:
        try:
            yield client
        except Unavailable as error:
            raise Failure(unanswered(address, error), ExitCode.UNDECIDED) from error
        except DeadlineExceeded as error:
            # With a reason it is the server that says what was not reached in time.
            message = error.message if error.reason else f"no answer within {timeout_s:g} s"
            raise Failure(f"{message}; --timeout allows more", ExitCode.UNDECIDED) from error


def unanswered(address: str, error: Unavailable) -> str:
    """Say that nobody answers, and what can be done about it."""
    if error.reason:
        return error.message
    hint = "see --tls-ca if it talks TLS"
    if credentials.current() is not None:
        hint = "check what --tls-ca and --tls-cert name if there is one"
    return (
        f"no server answers at `{address}` ({_short(error.message)}); start one with "
        f"`placet serve`, or name another with --address; {hint}"
    )


def _short(message: str) -> str:
    """Cut a transport's message down to what happened."""
    cause = message.rpartition(": ")[2].rstrip("].")
    return cause[:1].lower() + cause[1:]
