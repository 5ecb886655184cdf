"""``placet template remove``: take away what an application of a template brought."""

from __future__ import annotations

from typing import Annotated

import typer

from placet import InvalidRequest
from placet.cli import options, terminal
from placet.cli._template_apply import show_applied
from placet.cli._template_read import TemplateName
from placet.cli.applications import folder_of, named
from placet.cli.failures import ExitCode, Failure
from placet.cli.publish_reports import show_trial
from placet.cli.targets import Target


def remove(
    name: TemplateName,
    id_: Annotated[str, typer.Option("--id", help="What it was applied as.", metavar="ID")],
    tenant: options.Tenant = "",
    platform: options.Platform = False,
    message: options.Message = "",
    dry_run: options.DryRun = False,
    address: options.Address = options.DEFAULT_ADDRESS,
    timeout_s: options.Timeout = options.MANAGING_TIMEOUT_S,
    as_json: options.Json = False,
) -> int:
    """Take away what a template brought under an id, as one revision.

    What its applications share stays for the others, and has no effect without their links.
    """
    template = named(name)
    whose = options.owner(tenant, platform=platform)
    try:
        nothing = template.removal(id_)
    except InvalidRequest as error:
        raise Failure(error.message, ExitCode.USAGE) from error
    target = Target(nothing, folder_of(nothing), whose, may_change=True)
    with options.connected(address, tenant=whose, timeout_s=timeout_s) as client:
        if dry_run:
            validation, changes = target.try_(client)
            if changes or not validation.valid:
                return show_trial(validation, changes, target.folder, as_json=as_json)
        else:
            why = message or f"remove {id_}, of template {template.name}"
            with terminal.working("publishing"):
                applied = target.publish(client, why, None)
            if applied.changes:
                show_applied(applied, target, as_json=as_json)
                return ExitCode.OK
    raise Failure(
        f"`{template.name}` is not applied as `{id_}`; `placet policy list` shows what there is"
    )
