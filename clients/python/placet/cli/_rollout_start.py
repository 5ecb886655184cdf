"""``placet rollout start``: a candidate, and how it goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from placet import ChangeSet, Client, ItemDiff, ItemKey, RolloutPlan, StartedRollout
from placet.cli import items, rollouts, terminal
from placet.cli._policy_push import size_text
from placet.cli.candidates import candidate_changes
from placet.cli.compiling import findings_of, to_engine
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import FilesRefused
from placet.cli.folders import Folder, read_policies
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Actor,
    Address,
    DryRun,
    ExpectedRevision,
    Groups,
    Json,
    Message,
    Platform,
    Replace,
    Tenant,
    Timeout,
    connected,
    owner,
)
from placet.cli.publish_reports import change_to_json, finding_to_json, show_trial
from placet.cli.publishing import naming_places, try_folder
from placet.cli.rollout_plans import GUARDS, PlanOptions, plan_text
from placet.cli.rollout_watching import Plain, follow

_HOW = "How it goes"
_WATCHED = "What stops it"


def start(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of policies, or single files, as for `placet policy push`.",
            metavar="PATH...",
            show_default=False,
        ),
    ] = None,
    tenant: Tenant = "",
    platform: Platform = False,
    restore: Annotated[
        int | None,
        typer.Option(
            "--restore", min=1, help="Bring back this revision, instead of files.", metavar="N"
        ),
    ] = None,
    replace: Replace = None,
    message: Message = "",
    canary: Annotated[
        str | None,
        typer.Option(
            help="Step by step: shares in percent that rise to 100. The usual way, with the "
            "server's steps.",
            metavar="N,N,100",
            rich_help_panel=_HOW,
        ),
    ] = None,
    bake: Annotated[
        str | None,
        typer.Option(
            help="How long each step is held at least; or one duration a step, with commas.",
            metavar="TIME",
            rich_help_panel=_HOW,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Shares of whom: subject, as usual, or node.",
            metavar="UNIT",
            rich_help_panel=_HOW,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="All at once at a time, 2026-12-01T09:00Z, or in a while, 2h.",
            metavar="TIME",
            rich_help_panel=_HOW,
        ),
    ] = None,
    manual: Annotated[
        bool,
        typer.Option(
            "--manual",
            help="All at once when somebody else has approved it.",
            rich_help_panel=_HOW,
        ),
    ] = False,
    approvers: Annotated[
        str | None,
        typer.Option(
            help="With --manual: groups whose members may approve; all but you without.",
            metavar="NAME,...",
            rich_help_panel=_HOW,
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            help="With --manual: undo it when nobody has approved until then, as for --at.",
            metavar="TIME",
            rich_help_panel=_HOW,
        ),
    ] = None,
    immediate: Annotated[
        bool, typer.Option("--immediate", help="All at once, now.", rich_help_panel=_HOW)
    ] = False,
    guards: Annotated[
        list[str] | None,
        typer.Option(
            "--guard",
            help="A bound of your own: errors=1%, denies=5% (up or down), latency=10ms, "
            "rejections=0. Repeatable.",
            metavar="NAME=BOUND",
            rich_help_panel=_WATCHED,
        ),
    ] = None,
    no_guards: Annotated[
        list[str] | None,
        typer.Option(
            "--no-guard",
            help=f"Measure, but let it pass: {', '.join(GUARDS)}. Repeatable.",
            metavar="NAME",
            rich_help_panel=_WATCHED,
        ),
    ] = None,
    min_samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many requests a guard needs in a step before it says anything.",
            metavar="N",
            rich_help_panel=_WATCHED,
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(
            help="How many of the live requests both revisions decide, to compare them.",
            metavar="N%",
            rich_help_panel=_WATCHED,
        ),
    ] = None,
    expected_revision: ExpectedRevision = None,
    watch: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Go on showing it, until it has ended.")
    ] = False,
    plain: Plain = False,
    dry_run: DryRun = False,
    actor: Actor = "",
    groups: Groups = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Bring a change of policies to subjects step by step, and take it back if it misbehaves.

    Nothing else can change the tenant's policies until the rollout has ended. What does not
    compile is not started.

    With --watch it ends with 0 when the rollout was completed, with 7 when it was rolled back,
    and with 5 when Ctrl-C ended the watching, which does not end the rollout.
    """
    whose = owner(tenant, platform=platform)
    plan = PlanOptions(
        canary=canary,
        bake=bake,
        by=by,
        at=at,
        manual=manual,
        approvers=approvers,
        deadline=deadline,
        immediate=immediate,
        guards=guards or (),
        no_guards=no_guards or (),
        min_samples=min_samples,
        shadow=shadow,
    ).plan()
    wish = _Wish(
        plan=plan,
        message=message,
        expected_revision=expected_revision,
        dry_run=dry_run,
        as_json=as_json,
    )
    if bool(paths) is (restore is not None):
        raise Failure(
            "what is to be rolled out? name folders or files, or a revision with --restore",
            ExitCode.USAGE,
        )
    connection = connected(address, tenant=whose, timeout_s=timeout_s, actor=actor, groups=groups)
    if restore is not None:
        with connection as client:
            started = _restore(client, restore, wish)
            return _after(client, started, watch=watch, plain=plain, as_json=as_json)
    with terminal.working("reading"):
        folder = read_policies(paths or ())
    replace_all = replace if replace is not None else all(path.is_dir() for path in paths or ())
    change_set = folder.documents.change_set(replace_all=replace_all)
    with folder.quoting(), connection as client:
        to_engine(folder.documents, whose)
        with terminal.working(f"checking {size_text(change_set)}"):
            validation, planned = try_folder(client, change_set, whose)
        if dry_run:
            _tell_plan(wish)
            return show_trial(validation, planned, folder, as_json=as_json)
        if not validation.valid:
            raise FilesRefused(findings_of(validation.problems, folder.documents))
        started = _start(client, change_set, planned, folder, wish)
        return _after(client, started, watch=watch, plain=plain, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What was asked for, apart from the candidate."""

    plan: RolloutPlan
    message: str
    expected_revision: int | None
    dry_run: bool
    as_json: bool


def _tell_plan(wish: _Wish) -> None:
    if not wish.as_json:
        terminal.note(f"plan: {plan_text(wish.plan)}")


def _start(
    client: Client,
    change_set: ChangeSet,
    planned: list[tuple[str, ItemKey]],
    folder: Folder,
    wish: _Wish,
) -> StartedRollout:
    """Start what files hold, and tell what it changes before that."""
    if not wish.as_json:
        for change, key in planned:
            terminal.line(items.change_line(change, key))
    with naming_places(client, change_set, folder):
        started = client.start_rollout(
            change_set,
            plan=wish.plan,
            message=wish.message,
            expected_revision=wish.expected_revision,
        )
    warnings = findings_of(started.warnings, folder.documents)
    if wish.as_json:
        told = [finding_to_json(finding, folder) for finding in warnings]
        _print_started(started, planned, warnings=told)
    else:
        terminal.print_findings(warnings, folder.texts)
    return started


def _print_started(
    started: StartedRollout, planned: list[tuple[str, ItemKey]], *, warnings: list[dict[str, Any]]
) -> None:
    """Print what was started, for programs."""
    terminal.print_json(
        {
            "rollout": rollouts.rollout_to_json(started.rollout),
            "changes": [change_to_json(change, key) for change, key in planned],
            "warnings": warnings,
        }
    )


def _restore(client: Client, revision: int, wish: _Wish) -> StartedRollout | None:
    """Start what leads back to a revision, and tell what that changes before. None: a dry run."""
    changes = _changes_back_to(client, revision)
    planned: list[tuple[str, ItemKey]] = [
        (items.change_word(change.before, change.after), present.key)
        for change in changes
        if (present := change.after or change.before) is not None
    ]
    if not wish.as_json:
        for line in items.diff_lines(changes):
            terminal.line(line)
    if wish.dry_run:
        _tell_plan(wish)
        if wish.as_json:
            told = [change_to_json(change, key) for change, key in planned]
            terminal.print_json({"valid": True, "changes": told, "problems": []})
        else:
            what = terminal.counted(len(planned), "change", "changes")
            terminal.line(f"dry run: {what}; nothing was started")
        return None
    started = client.start_rollout(
        restore_revision=revision,
        plan=wish.plan,
        message=wish.message,
        expected_revision=wish.expected_revision,
    )
    if wish.as_json:
        _print_started(started, planned, warnings=[])
    return started


def _changes_back_to(client: Client, revision: int) -> list[ItemDiff]:
    newest = next(iter(client.history(page_size=1)), None)
    changes = client.diff(newest.revision if newest else 0, revision).items
    # The revision of a candidate that was rolled back holds it beside the stable content.
    return list(changes) or candidate_changes(client, revision)


def _after(
    client: Client, started: StartedRollout | None, *, watch: bool, plain: bool, as_json: bool
) -> ExitCode:
    """Watch what was started, or say how to."""
    if started is None:
        return ExitCode.OK
    rollout = started.rollout
    if not as_json:
        terminal.line(f"started: {plan_text(rollout.plan)}")
    if watch:
        return follow(client, rollout, plain=plain, as_json=as_json)
    if not as_json:
        terminal.line(rollouts.summary(rollout))
        terminal.note(rollouts.advice(rollout))
    return ExitCode.OK
