"""``placet tenant put``, ``get``, ``list`` and ``clear``: where tenants' data may be."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Annotated, TypeAlias

import typer
from rich.console import RenderableType

from placet import (
    ChangeSet,
    Client,
    Conflict,
    ItemKey,
    ItemKind,
    NotFound,
    Placement,
    ResidencyRule,
)
from placet.cli import items, terminal
from placet.cli.amounts import moment_text
from placet.cli.as_json import to_json
from placet.cli.completing import region_names
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import did_you_mean
from placet.cli.live import show
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Actor,
    Address,
    Json,
    Message,
    Timeout,
    connected,
)

Name: TypeAlias = Annotated[
    str, typer.Argument(envvar="PLACET_TENANT", help="The tenant.", metavar="NAME")
]

_RULES = {rule.name: rule for rule in ResidencyRule if rule.value}


def _rule_words() -> list[str]:
    return list(_RULES)


def put(
    name: Name,
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            "-r",
            help=f"Where its data may be: {', '.join(_RULES)}.",
            metavar="RULE",
            autocompletion=_rule_words,
        ),
    ],
    home: Annotated[
        str,
        typer.Option(
            help="Region of its resident records, where callers go that nobody knows the place of.",
            metavar="REGION",
            autocompletion=region_names,
        ),
    ] = "",
    affinity: Annotated[
        list[str] | None,
        typer.Option(
            help="Region its callers go to before nearer ones. Repeatable, in order.",
            metavar="REGION",
            autocompletion=region_names,
        ),
    ] = None,
    etag: Annotated[
        str | None,
        typer.Option(
            help="Only if it is still placed as it was then; empty: only if it never was. Without, "
            "whatever there is is replaced.",
            metavar="ETAG",
            show_default=False,
        ),
    ] = None,
    actor: Actor = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Say where a tenant's data may be, and where its callers go. Replaces what was said before.

    Nodes that the rule forbids drop what they have of the tenant; callers are told where to go.
    """
    placement = Placement(
        tenant=name,
        residency=_rule(rule),
        home_region=home,
        affinity_regions=tuple(affinity or ()),
    )
    with connected(address, timeout_s=timeout_s, actor=actor) as client:
        known = etag if etag is not None else _etag(client, name)
        try:
            placed = client.put_tenant(replace(placement, etag=known))
        except Conflict as error:
            raise Failure(f"{error.message}: `placet tenant get {name}`") from error
    show(placed, view=_view, document=to_json, as_json=as_json)


def _rule(word: str) -> ResidencyRule:
    rule = _RULES.get(word.upper().replace("-", "_"))
    if rule is None:
        hint = did_you_mean(word.upper(), _RULES)
        raise Failure(f"`--rule` is `{word}`, which is none; {hint}", ExitCode.USAGE)
    return rule


def _etag(client: Client, tenant: str) -> str:
    try:
        return client.get_tenant(tenant=tenant).etag
    except NotFound:
        return ""


def get(
    name: Name,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show where a tenant's data may be, and where its callers go."""
    with connected(address, timeout_s=timeout_s) as client:
        placement = client.get_tenant(tenant=name)
    show(placement, view=_view, document=to_json, as_json=as_json)


def list_(
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many.", metavar="N")
    ] = 1000,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List where tenants' data may be, in order of name; those that were never placed too."""
    with connected(address, timeout_s=timeout_s) as client:
        listed = list(islice(client.tenants(page_size=min(limit, 1000)), limit + 1))
    shown = listed[:limit]
    if as_json:
        terminal.print_json(to_json(shown))
        return
    if not shown:
        terminal.note("no tenants; `placet tenant put` places one")
        return
    table = terminal.table("tenant", "rule", "home", "affinity", "placed")
    for placement in shown:
        table.add_row(
            terminal.safe(placement.tenant),
            placement.residency.name,
            terminal.safe(placement.home_region) or "-",
            terminal.safe(", ".join(placement.affinity_regions)) or "-",
            moment_text(placement.update_time) if placement.update_time else "never",
        )
    terminal.out().print(table)
    if len(listed) > limit:
        terminal.note(f"and more; --limit {limit * 10} shows more")


def _view(placement: Placement) -> RenderableType:
    placed = placement.update_time
    return terminal.pairs(
        [
            ("tenant", placement.tenant),
            ("rule", placement.residency.name),
            ("home", placement.home_region or "-"),
            ("affinity", ", ".join(placement.affinity_regions) or "-"),
            ("placed", moment_text(placed) if placed else "never: it may be anywhere"),
            ("etag", placement.etag or "-"),
        ]
    )


# ---------------------------------------------------------------------------------- clearing

# A change set may have so many edits. What others refer to goes after what refers to it.
_EDITS_AT_ONCE = 10_000
_ORDER = (
    ItemKind.TEMPLATE_LINK,
    ItemKind.POLICY,
    ItemKind.ENTITY,
    ItemKind.SCHEMA,
    ItemKind.SETTINGS,
)


def clear(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    message: Message = "",
    actor: Actor = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Delete all that a tenant has at a server, as the last step of moving it elsewhere.

    Before that, take it along: `placet bundle export`, and `placet bundle import` where it goes.
    """
    with connected(address, tenant=name, timeout_s=timeout_s, actor=actor) as client:
        keys = sorted(
            (item.key for item in client.list_items(page_size=1000)),
            key=lambda key: _ORDER.index(key.kind),
        )
        if keys and not yes:
            _ask(name, keys, address)
        revision = 0
        for start in range(0, len(keys), _EDITS_AT_ONCE):
            some = ChangeSet(deletes=keys[start : start + _EDITS_AT_ONCE])
            with terminal.working(f"deleting {start + len(some.deletes)} of {len(keys)} items"):
                why = message or "cleared"
                revision = client.publish(some, message=why).revision
    if as_json:
        terminal.print_json({"tenant": name, "deleted": len(keys), "revision": revision})
    elif keys:
        deleted = terminal.counted(len(keys), "item", "items")
        terminal.line(f"{deleted} of {name} deleted at revision {revision}")
    else:
        terminal.note(f"{name} has nothing here")


def _ask(name: str, keys: list[ItemKey], address: str) -> None:
    """Go on after a person's yes only."""
    if not sys.stdin.isatty():
        raise Failure(
            "there is nobody to ask whether to delete it all; --yes does so without asking",
            ExitCode.USAGE,
        )
    counts = Counter(items.kind_word(key.kind) for key in keys)
    listed = ", ".join(f"{count} of kind {word}" for word, count in counts.items())
    if not typer.confirm(f"delete all of {name} at {address} ({listed})?", err=True):
        raise Failure("nothing was deleted")
