"""``placet policy sync``: a tenant follows a folder or a git repository."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer

from placet import Client, PlacetError
from placet.cli import credentials, terminal
from placet.cli.durations import read_duration
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import FilesRefused
from placet.cli.following import Following, Target
from placet.cli.opening import opened
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Json,
    Platform,
    Tenant,
    Timeout,
    connected,
    owner,
)
from placet.cli.sources import Source, SourceAway
from placet.cli.stopping import until_stopped
from placet.cli.sync_reports import Reporter


def sync(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, or the address or path of a git repository.",
            metavar="SOURCE",
            show_default=False,
        ),
    ],
    tenant: Tenant = "",
    platform: Platform = False,
    watch: Annotated[
        bool, typer.Option("--watch/--once", help="Go on following, or end when it is done.")
    ] = False,
    interval: Annotated[
        str | None,
        typer.Option(
            help="Pause between two looks, such as 30s. Without: 1s for folders, 10s for "
            "repositories.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    ref: Annotated[
        str,
        typer.Option(
            "--ref",
            "--branch",
            help="Branch, tag or commit. Without: the default branch; of a folder, its files as "
            "they are.",
            metavar="NAME",
        ),
    ] = "",
    path: Annotated[
        str,
        typer.Option(
            "--path", help="Folder within the source that has the policies.", metavar="DIR"
        ),
    ] = "",
    message: Annotated[
        str,
        typer.Option("--message", "-m", help="Goes before what the history says.", metavar="TEXT"),
    ] = "",
    heal: Annotated[
        bool, typer.Option("--heal", help="With --watch: undo what others publish meanwhile.")
    ] = False,
    verify_signatures: Annotated[
        bool,
        typer.Option(
            "--verify-signatures", help="Only commits that `git verify-commit` finds good."
        ),
    ] = False,
    status_file: Annotated[
        Path | None,
        typer.Option(
            help="Keep how it stands in this file, as JSON, for probes.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    fetch_timeout_s: Annotated[
        float,
        typer.Option("--fetch-timeout", help="How long one git command may take.", metavar="S"),
    ] = 120.0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Bring a tenant to what a folder or a git repository has; with --watch, keep it there.

    What the source has is what the tenant gets, as one revision, as `placet policy push FOLDER`
    does. The history says which commit it was. Nothing is published when nothing changed, so it
    can be run as often as one likes, and by several at once.
    """
    whose = owner(tenant, platform=platform)
    if not (timeout_s > 0 and fetch_timeout_s > 0):
        raise Failure("`--timeout` and `--fetch-timeout` need some seconds", ExitCode.USAGE)
    interval_s = _seconds(interval) if interval is not None else None

    def run() -> None:
        with opened(
            source, ref=ref, within=path, verify=verify_signatures, timeout_s=fetch_timeout_s
        ) as found:
            reporter = Reporter(found.shown, whose, as_json=as_json, status_file=status_file)
            if not watch:
                with connected(address, tenant=whose, timeout_s=timeout_s) as client:
                    _once(found, Target(client, address, whose, message), reporter)
                return
            with Client(
                address,
                tenant=whose,
                management_timeout_s=timeout_s,
                credentials=credentials.current(),
            ) as client:
                target = Target(client, address, whose, message)
                _follow(found, target, reporter, interval_s=interval_s, heals=heal)

    if watch:
        with until_stopped():
            run()
    else:
        run()


def _once(source: Source, target: Target, reporter: Reporter) -> None:
    try:
        with terminal.working(f"reading {source.shown}"):
            source.look()
        with terminal.working("publishing"):
            brought = target.bring(source)
    except SourceAway as error:
        reporter.failed(str(error))
        raise Failure(str(error)) from error
    except (FilesRefused, Failure, PlacetError) as error:
        reporter.failed(str(error))
        raise
    reporter.brought(brought)


def _follow(
    source: Source, target: Target, reporter: Reporter, *, interval_s: float | None, heals: bool
) -> None:
    if interval_s is None:
        interval_s = source.interval_s
    # It keeps followers apart, and guards nothing.
    rng = random.Random()  # noqa: S311
    following = Following(source, target, reporter, interval_s=interval_s, heals=heals, rng=rng)
    reporter.watching(interval_s)
    try:
        following.run()
    except KeyboardInterrupt:
        reporter.stopped()
        raise


def _seconds(interval: str) -> float:
    """Read a pause; a bare number is one of seconds."""
    found = read_duration(f"{interval}s" if interval.isdecimal() else interval)
    if found is None or not found:
        raise Failure(
            f"`--interval` is `{interval}`; write it like 10s, 1m30s or 500ms", ExitCode.USAGE
        )
    return found.total_seconds()
