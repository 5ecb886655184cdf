"""``placet template apply``: fill a template in and publish it, with its links, as one revision."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from placet import InvalidRequest
from placet.cli import items, options, terminal
from placet.cli._template_read import TemplateName
from placet.cli.applications import as_document, folder_of, named
from placet.cli.compiling import findings_of
from placet.cli.completing import parameters
from placet.cli.failures import ExitCode, Failure
from placet.cli.publish_reports import (
    change_to_json,
    finding_to_json,
    show_trial,
    summary,
)
from placet.cli.targets import Applied, Target
from placet.templates import Application, Template


def apply(
    name: TemplateName,
    tenant: options.Tenant = "",
    platform: options.Platform = False,
    id_: Annotated[
        str,
        typer.Option(
            "--id",
            help="What the ids of its policies begin with; one is made unless given.",
            metavar="ID",
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="What to fill in: name=value. Several values with commas between them, or as a "
            "JSON list. Repeatable.",
            metavar="NAME=VALUE",
            autocompletion=parameters,
        ),
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(
            help="The same as --set, for what fills ?principal.",
            metavar="ENTITY",
            show_default=False,
        ),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(
            help="The same as --set, for what fills ?resource.",
            metavar="ENTITY",
            show_default=False,
        ),
    ] = None,
    message: options.Message = "",
    expected_revision: options.ExpectedRevision = None,
    dry_run: options.DryRun = False,
    print_: Annotated[
        bool,
        typer.Option("--print", help="Print it as YAML for a policy folder; ask no server."),
    ] = False,
    address: options.Address = options.DEFAULT_ADDRESS,
    timeout_s: options.Timeout = options.MANAGING_TIMEOUT_S,
    as_json: options.Json = False,
) -> int:
    """Fill a template in and publish what comes of it: policies and links, as one revision.

    Applying the same again changes nothing. With the same --id and other values it changes that
    application, with another --id it adds one. Where policies are pushed from a folder, put it
    there with --print: a push of the folder removes what is not in it.
    """
    template = named(name)
    whose = "" if print_ else options.owner(tenant, platform=platform)
    slots = {"principal": principal, "resource": resource}
    application = _filled_in(template, settings or (), slots, id_, platform=platform)
    if print_:
        print(as_document(application), end="")
        return ExitCode.OK
    if not as_json:
        _note(template, application, is_named=bool(id_))
    target = Target(application, folder_of(application), whose, may_change=bool(id_))
    with (
        target.folder.quoting(),
        options.connected(address, tenant=whose, timeout_s=timeout_s) as client,
    ):
        if dry_run:
            with terminal.working("checking"):
                validation, changes = target.try_(client)
            return show_trial(validation, changes, target.folder, as_json=as_json)
        why = message or f"apply template {template.name} as {application.id}"
        with terminal.working("publishing"):
            applied = target.publish(client, why, expected_revision)
    show_applied(applied, target, as_json=as_json)
    return ExitCode.OK


def _note(template: Template, application: Application, *, is_named: bool) -> None:
    """Say what nobody chose, and what else has to be there for the policies to work."""
    if not is_named:
        terminal.note(f"named `{application.id}`; --id gives it another name")
    needed = ", ".join(reliance.name for reliance in template.relies_on)
    terminal.note(f"relies on {needed}; see `placet template show {template.name}`")


def show_applied(applied: Applied, target: Target, *, as_json: bool) -> None:
    """Show what a publish changed, and how it can be looked at."""
    publication, application = applied.publication, target.application
    warnings = findings_of(publication.warnings, target.folder.documents)
    if as_json:
        terminal.print_json(
            {
                "template": application.template,
                "id": application.id,
                "revision": publication.revision,
                "upserts": publication.upserts,
                "deletes": publication.deletes,
                "changes": [change_to_json(change, key) for change, key in applied.changes],
                "warnings": [finding_to_json(finding, target.folder) for finding in warnings],
            }
        )
        return
    terminal.print_findings(warnings, target.folder.texts)
    for change in applied.changes:
        terminal.line(items.change_line(*change))
    if applied.changes:
        terminal.line(summary(publication, target.owner))
    else:
        name = f"tenant `{target.owner}`" if target.owner else "the platform"
        terminal.line(f"nothing to change: {name} has it so, at revision {publication.revision}")
    whose = ["-t", target.owner] if target.owner else ["--platform"]
    ids = [item.id for item in application.items]
    if ids:
        terminal.note(f"see it: {shlex.join(['placet', 'policy', 'get', *whose, *ids])}")


# ---------------------------------------------------------------------------------- options


def _filled_in(
    template: Template,
    settings: Sequence[str],
    slots: Mapping[str, str | None],
    id_: str,
    *,
    platform: bool,
) -> Application:
    """Bring together what was given for parameters, and fill it in.

    Raises:
        Failure: something is wrong with it. All of it is said.
    """
    given, wrong = _given(template, settings, slots)
    try:
        application = template.apply(given, id_=id_, platform=platform)
    except InvalidRequest as error:
        wrong.extend(f"`{bad.field}` {bad.message}" for bad in error.violations)
    else:
        if not wrong:
            return application
    hint = f"see `placet template show {template.name}`"
    raise Failure("\n".join(wrong) + f"; {hint}", ExitCode.USAGE)


def _given(
    template: Template, settings: Sequence[str], slots: Mapping[str, str | None]
) -> tuple[dict[str, str], list[str]]:
    """Return what was given by name, and what was given twice or cannot be told what for."""
    given: dict[str, str] = {}
    wrong: list[str] = []
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            wrong.append(f"--set is `{setting}`; write it as name=value")
        elif name in given:
            wrong.append(f"`{name}` is given twice; keep one")
        else:
            given[name] = value
    for slot, entity in slots.items():
        fillers = template.fillers(slot)
        if entity is None:
            continue
        if not fillers:
            wrong.append(f"--{slot}: `{template.name}` has no ?{slot}; leave it out")
        elif len(fillers) > 1:
            listed = ", ".join(f"`{name}`" for name in fillers)
            wrong.append(f"--{slot} could be any of {listed}; use --set to say which")
        elif fillers[0] in given:
            wrong.append(f"`{fillers[0]}` is given with --{slot} as well; keep one")
        else:
            given[fillers[0]] = entity
    return given, wrong
