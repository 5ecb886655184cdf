"""Control nodes on one store tell each other which leases they granted, over its board of notices.

Each has one notice, under its id. It is written at once when a lease came, went or changed, and
otherwise once in a while; with it comes for how long it may be believed, which is counted from
when it was seen to change, so that clocks need not agree. Time in which the board could not be
read is nobody's silence: with the store away, everybody goes on with what was told last.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from placet_engine.items import Revision
from placet_engine.placement.nodes import (
    Condition,
    NodeHealth,
    NodeLoad,
    NodeRole,
    Registration,
)
from placet_server.clock import Clock
from placet_server.regions.leases import Holder, Lease
from placet_server.regions.registry import LOST_FOR_S, Registry
from placet_server.store.contract import Notice, Store, StoreError

log = logging.getLogger(__name__)

TOPIC = "topology"

_MISSED_TURNS = 3
"""A notice is believed for so many of the turns after which there should have been another."""
_LEASES_A_TURN = 200
_ALONE_TURNS = 10
"""With nobody there to listen, the store need not be written to each second."""
_TICK_S = 0.25
_CLEAN_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a control node tells."""

    node: str
    instance: str
    since: datetime.datetime
    """When its process began."""
    number: int
    """One more each time."""
    time: datetime.datetime
    lasts_s: float
    """How long it may be believed when nothing newer comes."""
    leases: tuple[Lease, ...]
    left: tuple[Holder, ...] = ()
    """Who gave a lease back."""

    def to_notice(self) -> Notice:
        """Return the form that is put up."""
        body = {
            "instance": self.instance,
            "since": self.since.isoformat(),
            "number": self.number,
            "lasts_s": self.lasts_s,
            "leases": [_to_document(lease) for lease in self.leases],
            "left": list(self.left),
        }
        return Notice(topic=TOPIC, name=self.node, time=self.time, body=body)

    @classmethod
    def from_notice(cls, notice: Notice) -> Told:
        """Read what :meth:`to_notice` wrote."""
        body = notice.body
        return cls(
            node=notice.name,
            instance=body["instance"],
            since=datetime.datetime.fromisoformat(body["since"]),
            number=body["number"],
            time=notice.time,
            lasts_s=body["lasts_s"],
            leases=tuple(map(_lease, body["leases"])),
            left=tuple(Holder(*holder) for holder in body["left"]),
        )


def _to_document(lease: Lease) -> dict[str, Any]:
    return {
        **asdict(lease),
        "register_time": lease.register_time.isoformat(),
        "renew_time": lease.renew_time.isoformat(),
    }


def _lease(document: Mapping[str, Any]) -> Lease:
    registration, condition = document["registration"], document["condition"]
    return Lease(
        registration=Registration(
            **{
                **registration,
                "role": NodeRole(registration["role"]),
                "upstreams": tuple(registration["upstreams"]),
            }
        ),
        condition=Condition(
            **{
                **condition,
                "health": NodeHealth(condition["health"]),
                "load": NodeLoad(**condition["load"]),
                "revision": Revision(condition["revision"]),
            }
        ),
        register_time=datetime.datetime.fromisoformat(document["register_time"]),
        renew_time=datetime.datetime.fromisoformat(document["renew_time"]),
        lease_s=document["lease_s"],
        is_lost=document["is_lost"],
        probe_failure=document["probe_failure"],
    )


_Version: TypeAlias = tuple[str, int]
"""Which of a control node's notices it is."""


def _version(notice: Notice) -> _Version:
    return notice.body["instance"], notice.body["number"]


@dataclass(slots=True)
class _Heard:
    """What is known of another control node's notice."""

    version: _Version
    silent_s: float
    is_doubted: bool = False


class Sharing:
    """Tells what this control node granted, and has its registry know what the others tell.

    Args:
        store: where the board is.
        registry: this node's.
        clock: its.
        node: this node's id.
        instance: of this start of the process.
        share_s: how often to tell what is no news, in seconds.
        listened: is called when it is known what the others tell, as of now.
    """

    def __init__(
        self,
        *,
        store: Store,
        registry: Registry,
        clock: Clock,
        node: str,
        instance: str,
        share_s: float = 1.0,
        listened: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._node = node
        self._instance = instance
        self._share_s = share_s
        self._listened = listened
        self._since = clock.now()
        self._heard: dict[str, _Heard] = {}
        self._former: _Version | None = None
        self._number = 0
        self._is_outdone = False
        self._is_alone = True
        self._looked_at_s: float | None = None
        self._written: object = None
        self._written_at_s = float("-inf")
        self._cleaned_at_s = float("-inf")

    async def run(self) -> None:
        """Tell and listen until cancelled."""
        while True:
            seen = self._registry.view.membership.count
            try:
                await self.tick()
            except StoreError:
                log.warning("the store does not answer; nodes are taken for what they were")
            except Exception:  # nodes must not stop hearing of each other in silence
                log.exception("what control nodes tell each other could not be exchanged")
                await asyncio.sleep(_TICK_S)
            await self._registry.view.membership.past(seen, _TICK_S)
            # Of several that come together, one notice is enough.
            await asyncio.sleep(_TICK_S / 10)

    async def tick(self) -> None:
        """Read the board once, and write to it what is due."""
        notices = await self._store.notices(TOPIC)
        now_s = self._clock.monotonic()
        # One step however long it took: that nothing was read does not mean nothing was there.
        step_s = min(now_s - self._looked_at_s, 2 * _TICK_S) if self._looked_at_s else 0.0
        is_first = self._looked_at_s is None
        self._looked_at_s = now_s
        for notice in notices:
            if notice.name == self._node:
                self._read_own_name(notice, step_s, is_first=is_first)
            else:
                self._listen(notice, step_s)
        for name in self._heard.keys() - {notice.name for notice in notices}:
            del self._heard[name]
            self._registry.forget(name)
        self._listened()
        is_alone = all(heard.is_doubted for heard in self._heard.values())
        if is_alone is not self._is_alone:
            # Who has come has to know that it will hear more often from now on.
            self._is_alone, self._written = is_alone, None
        if not self._is_outdone:
            await self._tell(now_s)
        await self._clean(now_s)

    async def leave(self) -> None:
        """Tell for the last time. The others have yet to find another control node: they are
        believed to be there for as long as if this one had died.
        """
        if not self._is_outdone:
            await self._store.put_up(self._told().to_notice())

    # -------------------------------------------------------------------------------- listen

    def _listen(self, notice: Notice, step_s: float) -> None:
        heard = self._heard.get(notice.name)
        if heard is None or heard.version != _version(notice):
            told = Told.from_notice(notice)
            self._registry.believe(told.node, told.leases, told.left)
            silent_s = 0.0 if heard else told.lasts_s - self._left_s(told)
            heard = self._heard[notice.name] = _Heard(_version(notice), silent_s)
        else:
            heard.silent_s += step_s
        if heard.silent_s >= notice.body["lasts_s"] and not heard.is_doubted:
            heard.is_doubted = True
            self._registry.doubt(notice.name)

    def _left_s(self, told: Told) -> float:
        """Return for how long to believe what was told before this node began to listen.

        Whoever is there will tell more as soon as it sees that it is not alone.
        """
        silent_s = max((self._clock.now() - told.time).total_seconds(), 0.0)
        return min(told.lasts_s - silent_s, _MISSED_TURNS * self._share_s)

    def _read_own_name(self, notice: Notice, step_s: float, *, is_first: bool) -> None:
        """Take over from a former process of this node's; notice another that has its name."""
        if notice.body["instance"] == self._instance:
            self._resume(notice)
            return
        told = Told.from_notice(notice)
        if is_first:
            self._former = _version(notice)
            others = [lease for lease in told.leases if lease.id != self._node]
            self._registry.take_over(others, grace_s=self._left_s(told))
        elif _version(notice) == self._former:
            return
        elif self._is_outdone or (told.since, told.instance) < (self._since, self._instance):
            self._give_way()
            self._listen(notice, step_s)
            heard = self._heard[notice.name]
            if heard.is_doubted:
                self._resume(notice)
        else:
            # It came later. It sees so as soon as this node's notice is there again.
            self._written = None

    def _give_way(self) -> None:
        if not self._is_outdone:
            self._is_outdone = True
            log.error(
                "another control node on this store has this node's id and had it before; "
                "this one is not listed: give it another id with --node",
                extra={"node": self._node},
            )

    def _resume(self, notice: Notice) -> None:
        self._is_outdone = False
        self._former = _version(notice)
        if self._heard.pop(self._node, None) is not None:
            self._registry.forget(self._node)
            log.info("this node has its id for itself", extra={"node": self._node})

    # ---------------------------------------------------------------------------------- tell

    async def _tell(self, now_s: float) -> None:
        leases = self._registry.leases()
        left = tuple(self._registry.left())
        news = ([_standing(lease) for lease in leases], left)
        if news == self._written and now_s - self._written_at_s < self._turn_s(len(leases)):
            return
        await self._store.put_up(self._told().to_notice())
        self._written, self._written_at_s = news, now_s

    def _told(self) -> Told:
        self._number += 1
        leases = tuple(self._registry.leases())
        return Told(
            node=self._node,
            instance=self._instance,
            since=self._since,
            number=self._number,
            time=self._clock.now(),
            lasts_s=_MISSED_TURNS * self._turn_s(len(leases)),
            leases=leases,
            left=tuple(self._registry.left()),
        )

    def _turn_s(self, leases: int) -> float:
        """Return how often to tell what is no news: less often the more it is, and to nobody."""
        turns = _ALONE_TURNS if self._is_alone else 1
        return self._share_s * turns * max(1.0, leases / _LEASES_A_TURN)

    async def _clean(self, now_s: float) -> None:
        """Take down what control nodes left that are long gone, once an hour."""
        if now_s - self._cleaned_at_s >= _CLEAN_EVERY_S:
            self._cleaned_at_s = now_s
            lost_for = datetime.timedelta(seconds=LOST_FOR_S)
            await self._store.take_down(TOPIC, before=self._clock.now() - lost_for)


def _standing(lease: Lease) -> tuple[object, ...]:
    """Return what of a lease others are to learn at once."""
    said = lease.condition
    return (
        lease.registration,
        lease.is_lost,
        lease.probe_failure,
        said.health,
        said.health_reason,
        said.draining,
    )
