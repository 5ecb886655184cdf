"""``placet watch``: a tenant's policies, as they change."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from placet import (
    DeadlineExceeded,
    Delta,
    Item,
    ItemKey,
    PlacetError,
    Rollout,
    Snapshot,
    State,
    StateChange,
    Unavailable,
)
from placet.aio import Client, Subscription
from placet.cli import credentials, items, rollouts, terminal
from placet.cli.amounts import percent_text
from placet.cli.completing import region_names
from placet.cli.options import DEFAULT_ADDRESS, Address, Json, Tenant, unanswered


def watch(
    tenant: Tenant,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            help="Only policies and links of this id, or with this prefix: orders/*. Repeatable.",
            metavar="ID",
        ),
    ] = None,
    region: Annotated[
        str,
        typer.Option(
            help="Region you are in, which a tenant's rule has to allow.",
            metavar="REGION",
            autocompletion=region_names,
        ),
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Follow a tenant's policies live: each change, and how long ago it was published.

    Goes on until Ctrl-C. A lost connection is made anew. With --json, one event a line.
    """
    reporter = _Reporter(address, as_json=as_json)
    asyncio.run(_until_interrupted(_follow(tenant, filters or [], region, address, reporter)))


async def _until_interrupted(following: Coroutine[Any, Any, None]) -> None:
    """Run until done, or until Ctrl-C or SIGTERM, which are a good end."""
    task = asyncio.create_task(following)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _follow(
    tenant: str, filters: Sequence[str], region: str, address: str, reporter: _Reporter
) -> None:
    async with Client(address, tenant=tenant, credentials=credentials.current()) as client:
        subscription = client.subscribe(
            policy_ids=filters,
            subscriber="placet watch",
            region=region,
            on_state_change=reporter.state,
        )
        async with subscription:
            try:
                await _wait_for_first(subscription, reporter)
                async for event in subscription:
                    if isinstance(event, Snapshot):
                        reporter.snapshot(event)
                    else:
                        reporter.delta(event)
            finally:
                # That the subscription ends is no news to who ends it.
                reporter.is_done = True


async def _wait_for_first(subscription: Subscription[Item], reporter: _Reporter) -> None:
    """Say why there is nothing yet, once for each reason."""
    told = ""
    beyond = [state for state in State if state is not State.CONNECTING]
    while subscription.state is State.CONNECTING:
        try:
            await subscription.wait_for(beyond, timeout_s=1.0)
        except DeadlineExceeded:
            error = subscription.last_error
            if error is not None and error.message != told:
                told = error.message
                reporter.waiting(error)


class _Reporter:
    """Prints events: lines for people, or JSON."""

    def __init__(self, address: str, *, as_json: bool) -> None:
        self._address = address
        self._as_json = as_json
        self._known: dict[tuple[str, ItemKey], Item] = {}
        self.is_done = False

    def waiting(self, error: PlacetError) -> None:
        """Tell that nothing is known yet."""
        self._tell_state(State.CONNECTING, 0, error)

    def state(self, change: StateChange) -> None:
        """Tell where the subscription stands now."""
        ends = change.after is State.ERROR and change.before is State.CONNECTING
        # An error at the start is told when the command ends with it.
        if ends or self.is_done:
            return
        self._tell_state(change.after, change.revision, change.error)

    def _tell_state(self, state: State, revision: int, error: PlacetError | None) -> None:
        why = self._why(state, error)
        if self._as_json:
            document = {"event": "state", "state": state.value, "revision": revision}
            terminal.print_json(document | ({"error": why} if why else {}))
            return
        text = Text(state.value, _STYLES[state])
        text.append(f" at revision {revision}" if revision else "", "not bold")
        text.append(f": {terminal.safe(why)}" if why else "", "not bold")
        terminal.line(text)

    def _why(self, state: State, error: PlacetError | None) -> str:
        if error is None:
            return ""
        if state is State.CONNECTING and isinstance(error, Unavailable):
            return unanswered(self._address, error)
        return error.message if state is State.READY else f"{error.message}; trying again"

    def snapshot(self, event: Snapshot[Item]) -> None:
        """Tell what there is, in numbers."""
        self._known = {(item.owner, item.key): item for item in event.items}
        kinds = (item.key.kind for item in event.items)
        counts = Counter(items.kind_word(kind) for kind in kinds if kind.is_content)
        if self._as_json:
            terminal.print_json(
                {
                    "event": "snapshot",
                    "revision": event.revision,
                    "items": dict(counts),
                    "checksum": event.checksum.hex(),
                }
            )
            return
        listed = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        terminal.line(f"snapshot of revision {event.revision}: {listed or 'nothing'}")

    def delta(self, event: Delta[Item]) -> None:
        """Tell what changed."""
        lag_s = _since(event.commit_time)
        changed = [*map(self._upsert, event.upserts), *map(self._removal, event.removals)]
        # What rollouts write for themselves is told in their own words.
        changes = [change for change in changed if change[2].kind.is_content]
        moved = [item.body for item in event.upserts if isinstance(item.body, Rollout)]
        if self._as_json:
            terminal.print_json(
                {
                    "event": "delta",
                    "from_revision": event.from_revision,
                    "to_revision": event.to_revision,
                    "lag_s": lag_s,
                    "changes": [
                        {
                            "change": change,
                            "owner": owner,
                            "kind": items.kind_word(key.kind),
                            "name": items.name_of(key),
                        }
                        for change, owner, key, _ in changes
                    ],
                    "rollouts": [
                        {
                            "id": rollout.id,
                            "state": rollout.state.name,
                            "share_percent": rollout.share_percent,
                        }
                        for rollout in moved
                    ],
                }
            )
            return
        lag = f", {lag_s * 1000:.0f} ms after it was published" if lag_s is not None else ""
        terminal.line(Text(f"revision {event.to_revision}{lag}", "bold"))
        for change, owner, key, remark in changes:
            whose = "" if owner else "of the platform"
            told = ", ".join(part for part in (whose, remark) if part)
            terminal.line(Text("  ").append_text(items.change_line(change, key, told)))
        for rollout in moved:
            state = rollouts.state_text(rollout.state)
            share = f", {percent_text(rollout.share_percent)}"
            terminal.line(
                Text(f"  rollout {rollout.id} ").append_text(state).append(share, "not bold")
            )
        if not changes and not moved:
            terminal.line(Text("  nothing the filter lets through", "dim"))

    def _upsert(self, item: Item) -> tuple[str, str, ItemKey, str]:
        before = self._known.get((item.owner, item.key))
        self._known[item.owner, item.key] = item
        if before is None:
            return "added", item.owner, item.key, items.about(item)
        return "changed", item.owner, item.key, items.changed_parts(before.body, item.body)

    def _removal(self, name: tuple[str, Any]) -> tuple[str, str, ItemKey, str]:
        owner, key = name
        self._known.pop((owner, key), None)
        return "removed", owner, key, ""


_STYLES = {
    State.CONNECTING: "bold yellow",
    State.READY: "bold green",
    State.STALE: "bold yellow",
    State.ERROR: "bold red",
}


def _since(moment: datetime | None) -> float | None:
    """Return the seconds since a moment of the server's clock, as far as ours agrees with it."""
    if moment is None:
        return None
    return max((datetime.now(UTC) - moment).total_seconds(), 0.0)
