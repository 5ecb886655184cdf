"""``placet rollout list``, ``show``, ``watch`` and ``nodes``: how rollouts fare."""

from __future__ import annotations

import contextlib
from functools import partial
from itertools import islice
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from placet import NodeRevision, NodeRevisions, RolloutState
from placet.cli import items, rollouts, terminal
from placet.cli.amounts import duration_text, moment_text, percent_text
from placet.cli.as_json import to_json
from placet.cli.candidates import candidate_changes
from placet.cli.completing import rollout_ids
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import did_you_mean
from placet.cli.live import Interval, Watch, asked_again, show_on
from placet.cli.live import show as show_once
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
from placet.cli.rollout_watching import Plain, follow

RolloutId: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="Which rollout. Without: the one under way, or else the newest.",
        metavar="[ID]",
        show_default=False,
        autocompletion=rollout_ids,
    ),
]

_STATES = {state.name.lower().replace("_", "-"): state for state in RolloutState if state.value}


def list_(
    tenant: Tenant = "",
    platform: Platform = False,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help=f"Only {', '.join(_STATES)}. Repeatable.", metavar="STATE"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.", metavar="N")] = 20,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List a tenant's rollouts, newest first, those that have ended too."""
    whose = owner(tenant, platform=platform)
    wanted = [_state(word) for word in states or ()]
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        found = client.list_rollouts(states=wanted, page_size=min(limit, 1000))
        listed = list(islice(found, limit))
    if as_json:
        terminal.print_json([rollouts.rollout_to_json(rollout) for rollout in listed])
        return
    table = terminal.table("id", "state", "share", "stable", "candidate", "started", "by", "why")
    for rollout in listed:
        table.add_row(
            rollout.id,
            rollouts.state_text(rollout.state),
            percent_text(rollout.share_percent),
            str(rollout.stable_revision),
            str(rollout.candidate_revision),
            moment_text(rollout.create_time),
            terminal.safe(rollout.author),
            terminal.safe(rollout.message),
        )
    if listed:
        terminal.out().print(table)
    else:
        terminal.note("no rollouts; `placet rollout start` begins one")


def _state(word: str) -> RolloutState:
    state = _STATES.get(word.lower().replace("_", "-"))
    if state is None:
        raise Failure(
            f"`{word}` is no state of a rollout; {did_you_mean(word.lower(), _STATES)}",
            ExitCode.USAGE,
        )
    return state


def show(
    id_: RolloutId = "",
    tenant: Tenant = "",
    platform: Platform = False,
    with_diff: Annotated[
        bool, typer.Option("--diff", help="Also what its candidate changes.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show how a rollout fares: its step, its guards, its nodes, and why it was rolled back."""
    whose = owner(tenant, platform=platform)
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        rollout = client.get_rollout(id_)
        changes = candidate_changes(client, rollout.candidate_revision) if with_diff else []
    if as_json:
        document = rollouts.rollout_to_json(rollout)
        if with_diff:
            document["changes"] = [
                {
                    "before": items.item_to_json(change.before) if change.before else None,
                    "after": items.item_to_json(change.after) if change.after else None,
                }
                for change in changes
            ]
        terminal.print_json(document)
        return
    terminal.out().print(rollouts.view(rollout))
    for line in items.diff_lines(changes):
        terminal.line(line)
    if with_diff and not changes:
        terminal.note("what it changed is no longer kept apart; see `placet policy diff`")
    terminal.note(rollouts.advice(rollout))


def watch(
    id_: RolloutId = "",
    tenant: Tenant = "",
    platform: Platform = False,
    plain: Plain = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Follow a rollout live until it has ended: steps, guards with their numbers, nodes.

    Ends with 0 when it was completed and with 7 when it was rolled back, with a report of why.
    Ctrl-C ends the watching, not the rollout, with 5. A lost connection is made anew. With --json,
    one document a line.
    """
    whose = owner(tenant, platform=platform)
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        return follow(client, client.get_rollout(id_), plain=plain, as_json=as_json)


def nodes(
    tenant: Tenant = "",
    platform: Platform = False,
    region: Annotated[str, typer.Option(help="Only nodes of this region.", metavar="NAME")] = "",
    watch: Watch = False,
    interval_s: Interval = 2.0,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show who runs what: the revision each node decides by, and how far it is behind.

    The lag is how long there has been a newer revision that the node does not decide by yet; the
    propagation, how long its revision took from commit to enforcement. With --json and --watch,
    one document a line.
    """
    whose = owner(tenant, platform=platform)
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        ask = partial(client.node_revisions, region=region)
        if not watch:
            show_once(ask(), view=_nodes_view, document=_nodes_to_json, as_json=as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):
            reports = asked_again(ask, interval_s)
            show_on(reports, view=_nodes_view, document=_nodes_to_json, as_json=as_json)


def _nodes_view(listed: NodeRevisions) -> RenderableType:
    head = Text(f"the newest revision is {listed.revision}", "dim")
    if not listed.nodes:
        return Group(head, Text("no node has told where it stands", "yellow"))
    table = terminal.table(
        "node", "region", "revision", "lag", "last told", "propagation", "rollout", "rejects"
    )
    for node in listed.nodes:
        table.add_row(
            terminal.safe(node.node),
            terminal.safe(node.region),
            str(node.revision),
            Text(duration_text(node.lag), "bold yellow") if node.lag else "-",
            moment_text(node.acknowledge_time) if node.acknowledge_time else "-",
            duration_text(node.propagation) if node.propagation is not None else "-",
            _share_text(node),
            _rejection_text(node),
        )
    return Group(head, table)


def _share_text(node: NodeRevision) -> str:
    if not node.candidate_revision:
        return "-"
    return f"{percent_text(node.share_percent)} by {node.candidate_revision}"


def _rejection_text(node: NodeRevision) -> Text:
    rejection = node.rejection
    if rejection is None:
        return Text("-")
    told = f"{rejection.revision}: {rejection.reason}, {rejection.message}"
    return Text(terminal.safe(told), "bold red")


def _nodes_to_json(listed: NodeRevisions) -> dict[str, Any]:
    document: dict[str, Any] = to_json(listed)
    for node in document["nodes"]:
        # Under one name, whether it is known or not.
        node.setdefault("propagation_s", node.pop("propagation", None))
    return document
