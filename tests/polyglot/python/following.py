"""Telling what a subscription brings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeAlias

import placet
from tests.polyglot.python.asking import told
from tests.polyglot.python.lines import input_ended, tell

Event: TypeAlias = "placet.Snapshot[placet.Item] | placet.Delta[placet.Item]"


async def run(target: str, tenant: str) -> None:
    """Tell every event until standard input ends, or there will be no more."""
    over = input_ended()
    teller = _Teller()
    async with (
        placet.aio.Client(target, tenant=tenant) as client,
        client.subscribe(on_state_change=teller.changed) as subscription,
    ):
        teller.subscription = subscription
        reading = asyncio.create_task(teller.read())
        ending = asyncio.create_task(over.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            reading.cancel()
            await asyncio.gather(reading, ending, return_exceptions=True)


class _Teller:
    """Knows what is to be told of a stream that follows another."""

    def __init__(self) -> None:
        self.subscription: placet.aio.Subscription[placet.Item] | None = None
        self._is_broken = False

    async def read(self) -> None:
        """Tell what comes."""
        assert self.subscription is not None
        try:
            async for event in self.subscription:
                self._tell(event)
        except placet.PlacetError as error:
            tell(event="failed", **told(error))

    def changed(self, change: placet.StateChange) -> None:
        """Take note that the stream broke, or tell that it is alive again."""
        if change.after is placet.State.READY:
            self._mend()
        elif change.before is placet.State.READY:
            self._is_broken = True

    def _mend(self) -> None:
        if not self._is_broken or self.subscription is None:
            return
        self._is_broken = False
        why = str(self.subscription.last_error)
        reset = next((reason for text, reason in _RESETS.items() if text in why), None)
        if reset is not None:
            tell(event="reset", reason=reset)
        else:
            tell(event="resumed", revision=self.subscription.revision)

    def _tell(self, event: Event) -> None:
        if isinstance(event, placet.Snapshot):
            policies = sorted(_ids(item.key for item in event.items))
            tell(event="snapshot", revision=event.revision, policies=policies)
            return
        # What was missed comes before the stream is known to be up to date.
        self._mend()
        tell(
            event="delta",
            revision=event.to_revision,
            upserts=_ids(item.key for item in event.upserts),
            removals=_ids(key for _, key in event.removals if isinstance(key, placet.ItemKey)),
        )


_RESETS = {
    "the changes are no longer kept": "COMPACTED",
    "this subscriber was too slow": "SLOW_READER",
    "the cursor is of another store": "UNKNOWN_CURSOR",
    "asking for a new snapshot": "GAP",
}
"""Why the SDK had to start over, by what it says about it."""


def _ids(keys: Iterable[placet.ItemKey]) -> list[str]:
    return [key.id for key in keys if key.kind is placet.ItemKind.POLICY]
