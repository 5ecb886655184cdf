"""``placet policy list``, ``get``, ``history`` and ``diff``: what a server has."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Annotated

import typer

from placet import Client, Item, ItemKey, ItemKind, NotFound, Policy, Schema, TemplateLink
from placet.cli import items, terminal
from placet.cli.as_json import to_json
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import did_you_mean
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

_Revision = Annotated[
    int, typer.Option("--revision", min=0, help="As it was then; 0: now.", metavar="N")
]


def list_(
    tenant: Tenant = "",
    platform: Platform = False,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", "-k", help=f"Only {', '.join(items.KINDS)}. Repeatable.", metavar="KIND"
        ),
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Only policies and links whose id starts so.", metavar="TEXT")
    ] = "",
    revision: _Revision = 0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List what a tenant has: policies, links, entities, schema, settings."""
    whose = owner(tenant, platform=platform)
    wanted = [_kind(word) for word in kinds or ()]
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        listed = list(
            client.list_items(kinds=wanted, id_prefix=prefix, revision=revision, page_size=1000)
        )
    if as_json:
        terminal.print_json([items.item_to_json(item) for item in listed])
        return
    table = terminal.table("kind", "name", "layer", "revision", "about")
    for item in listed:
        table.add_row(
            items.kind_word(item.key.kind),
            terminal.safe(items.name_of(item.key)),
            items.layer_word(item),
            str(item.revision),
            terminal.safe(items.about(item)),
        )
    if listed:
        terminal.out().print(table)
    else:
        terminal.note("nothing; `placet policy push` publishes a folder")


def _kind(word: str) -> ItemKind:
    kind = items.KINDS.get(word.lower())
    if kind is None:
        hint = did_you_mean(word.lower(), items.KINDS)
        raise Failure(f"`{word}` is no kind of item; {hint}", ExitCode.USAGE)
    return kind


def get(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of policies or links.", metavar="ID...", show_default=False),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="The schema instead.")] = False,
    tenant: Tenant = "",
    platform: Platform = False,
    revision: _Revision = 0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Print the Cedar text of policies, just as it was published."""
    whose = owner(tenant, platform=platform)
    if bool(ids) is schema:
        raise Failure("name policies by their ids, or --schema", ExitCode.USAGE)
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        if schema:
            found = client.get([ItemKey(ItemKind.SCHEMA)], revision=revision)
        else:
            found = [_item(client, id_, revision) for id_ in ids or ()]
    if as_json:
        terminal.print_json([items.item_to_json(item) for item in found])
        return
    text = "\n\n".join(_text(item, len(found)) for item in found)
    # A file gets what was published, to the letter.
    print(terminal.safe(text) if sys.stdout.isatty() else text)


def _item(client: Client, id_: str, revision: int) -> Item:
    """Find a policy, or else the link of that id."""
    try:
        return client.get([ItemKey(ItemKind.POLICY, id_)], revision=revision)[0]
    except NotFound as error:
        if error.reason != "ITEM_UNKNOWN":
            raise
    try:
        return client.get([ItemKey(ItemKind.TEMPLATE_LINK, id_)], revision=revision)[0]
    except NotFound as error:
        named = (ItemKind.POLICY, ItemKind.TEMPLATE_LINK)
        known = [
            item.key.id
            for item in client.list_items(kinds=named, revision=revision, page_size=1000)
        ]
        hint = did_you_mean(id_, known)
        if not hint.startswith("did"):
            hint = "`placet policy list` shows what is"
        raise Failure(f"no policy or link `{id_}` is there; {hint}") from error


def _text(item: Item, count: int) -> str:
    match item.body:
        case Policy() as policy:
            return f"// {policy.id}\n{policy.cedar}" if count > 1 else policy.cedar
        case TemplateLink() as link:
            return f"// link {link.id} {items.about(item)}"
        case Schema() as schema:
            return schema.text.rstrip()
    raise AssertionError("only these were asked for")


def history(
    tenant: Tenant = "",
    platform: Platform = False,
    id_: Annotated[
        str | None, typer.Option("--id", help="Only what touched this policy.", metavar="ID")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.", metavar="N")] = 20,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show what was published, newest first."""
    whose = owner(tenant, platform=platform)
    key = ItemKey(ItemKind.POLICY, id_) if id_ is not None else None
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        revisions = list(islice(client.history(key=key, page_size=min(limit, 1000)), limit))
    if as_json:
        terminal.print_json([to_json(revision) for revision in revisions])
        return
    table = terminal.table("revision", "when", "changes", "by", "why")
    for revision in revisions:
        table.add_row(
            str(revision.revision),
            revision.time.astimezone().isoformat(sep=" ", timespec="seconds"),
            f"+{revision.upserts} -{revision.deletes}",
            terminal.safe(revision.author),
            terminal.safe(revision.message),
        )
    if revisions:
        terminal.out().print(table)
    else:
        terminal.note(f"nothing touched `{id_}`" if id_ else "nothing was published")


def diff(
    tenant: Tenant = "",
    platform: Platform = False,
    from_revision: Annotated[
        int | None,
        typer.Option(
            "--from",
            min=0,
            help="Revision to start from. Without: the one before the last change.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    to_revision: Annotated[
        int,
        typer.Option("--to", min=0, help="Revision to arrive at; 0: the newest.", metavar="N"),
    ] = 0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show what differs between two revisions, policy by policy."""
    whose = owner(tenant, platform=platform)
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        if from_revision is None:
            from_revision = _before_last(client, to_revision)
        found = client.diff(from_revision, to_revision)
    if as_json:
        terminal.print_json(
            {
                "from_revision": found.from_revision,
                "to_revision": found.to_revision,
                "changes": [
                    {
                        "before": items.item_to_json(change.before) if change.before else None,
                        "after": items.item_to_json(change.after) if change.after else None,
                    }
                    for change in found.items
                ],
            }
        )
        return
    terminal.note(f"revision {found.from_revision} to {found.to_revision}")
    for line in items.diff_lines(found.items):
        terminal.line(line)
    if not found.items:
        terminal.note("they are the same")


def _before_last(client: Client, to_revision: int) -> int:
    """Return the revision before the last change up to a revision."""
    for revision in client.history():
        if not to_revision or revision.revision <= to_revision:
            return revision.revision - 1
    return 0
