"""One client's stream: what it wants, what it was sent, and what is to be sent next.

The protocol is the state of the world of Envoy's "xDS REST and gRPC protocol", as gRPC's clients
speak it. Pure: requests go in, responses come out, and nothing queues up. What is sent is the
difference between what there is and what was sent last, so that a slow client gets the newest.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from placet_server.errors import XdsRequestRefused
from placet_server.xds.answers import Absent
from placet_server.xds.resources import TYPES, Resource, Type, version_of
from placet_server.xds.v3 import discovery_pb2

Find = Callable[[Type, str], Resource | Absent]
"""Returns what there is of a type and name."""

MAX_NAMES = 500
"""How many resources of one type a stream may ask for."""
_MAX_NAME_CHARS = 256
_MAX_UNANSWERED = 4
"""A client that has so many responses to answer gets no more until it has answered one."""
_NOT_FOUND = 5
_ANYTHING = "*"


@dataclass(frozen=True, slots=True)
class Nack:
    """A response that the client did not take over."""

    type: Type
    version: str
    message: str
    """Why, in the client's words."""
    time: datetime.datetime


@dataclass(slots=True)
class Subscription:
    """What a client wants of one type, and what it has of it."""

    names: frozenset[str] = frozenset()
    is_wildcard: bool = False
    has_named: bool = False
    told: dict[str, Resource | Absent] = field(default_factory=dict)
    nonce: int = 0
    """Of the response that was sent last."""
    answered: int = 0
    """Nonce of the last response that the client took over or refused."""
    versions: dict[int, str] = field(default_factory=dict)
    """Of the responses that it has not answered."""
    sent: str = ""
    """Version of the response that was sent last."""
    accepted: str = ""
    """Version of the last response that it took over."""
    refused: Nack | None = None
    """What it refused, if it has not taken over anything since."""

    @property
    def is_behind(self) -> bool:
        """Whether it has enough to answer."""
        return self.nonce - self.answered >= _MAX_UNANSWERED


class Exchange:
    """The state of one stream."""

    def __init__(self, identifier: str = "") -> None:
        self._identifier = identifier
        self._subscriptions: dict[Type, Subscription] = {}

    @property
    def subscriptions(self) -> Mapping[Type, Subscription]:
        """What the client wants and has, by type. Not to be changed."""
        return self._subscriptions

    def take(self, request: discovery_pb2.DiscoveryRequest, now: datetime.datetime) -> Nack | None:
        """Take note of a request that came now; return what it refuses, if it does.

        Raises:
            XdsRequestRefused: it asks for too much.
        """
        type_ = TYPES.get(request.type_url)
        if type_ is None:
            # It waits for what will not come, as it would have to anyway.
            return None
        subscription = self._subscriptions.setdefault(type_, Subscription())
        nack = None
        if request.response_nonce:
            nonce = int(request.response_nonce) if request.response_nonce.isdecimal() else 0
            nack = _answer(type_, subscription, nonce, request, now)
            if nonce != subscription.nonce:
                # It was sent before the last response was read; the answer to that one follows.
                return nack
        _subscribe(subscription, request)
        return nack

    def due(self, find: Find, wildcard: Callable[[Type], frozenset[str]]) -> Iterator[Response]:
        """Yield what is to be sent now, in order; what was yielded counts as sent."""
        for type_ in Type:
            subscription = self._subscriptions.get(type_)
            if subscription is None or subscription.is_behind:
                continue
            names = subscription.names
            if subscription.is_wildcard:
                names |= wildcard(type_)
            found = {name: find(type_, name) for name in sorted(names)}
            changed = {
                name: one for name, one in found.items() if not _is_told(subscription, name, one)
            }
            is_first = subscription.nonce == 0 and (names or subscription.is_wildcard)
            gone = type_.is_whole and subscription.is_wildcard and subscription.told.keys() - names
            # Before it is written: the answer may be read before the writing has come to an end.
            subscription.told = found
            if changed or is_first or gone:
                yield self._response(type_, subscription, found, changed)

    def _response(
        self,
        type_: Type,
        subscription: Subscription,
        found: Mapping[str, Resource | Absent],
        changed: Mapping[str, Resource | Absent],
    ) -> Response:
        present = [one for one in found.values() if isinstance(one, Resource)]
        version = version_of(present)
        subscription.nonce += 1
        subscription.versions[subscription.nonce] = subscription.sent = version
        sent = found if type_.is_whole else changed
        message = discovery_pb2.DiscoveryResponse(
            version_info=version,
            type_url=type_.url,
            nonce=str(subscription.nonce),
            resources=[one.packed for one in sent.values() if isinstance(one, Resource)],
            resource_errors=[
                discovery_pb2.ResourceError(
                    resource_name=discovery_pb2.ResourceName(name=name),
                    error_detail=discovery_pb2.Status(code=_NOT_FOUND, message=one.reason),
                )
                for name, one in sent.items()
                if isinstance(one, Absent)
            ],
        )
        if self._identifier:
            message.control_plane.identifier = self._identifier
        return Response(type_, message)


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent."""

    type: Type
    message: discovery_pb2.DiscoveryResponse


def _is_told(subscription: Subscription, name: str, one: Resource | Absent) -> bool:
    former = subscription.told.get(name)
    if isinstance(one, Resource):
        return isinstance(former, Resource) and former.digest == one.digest
    return isinstance(former, Absent)


def _answer(
    type_: Type,
    subscription: Subscription,
    nonce: int,
    request: discovery_pb2.DiscoveryRequest,
    now: datetime.datetime,
) -> Nack | None:
    version = subscription.versions.get(nonce)
    if version is None or nonce <= subscription.answered:
        # Not one of ours, or answered before: what follows is a change of names.
        return None
    subscription.answered = nonce
    for older in [each for each in subscription.versions if each <= nonce]:
        del subscription.versions[older]
    if request.HasField("error_detail"):
        subscription.refused = Nack(type_, version, request.error_detail.message, now)
        return subscription.refused
    subscription.accepted, subscription.refused = version, None
    return None


def _subscribe(subscription: Subscription, request: discovery_pb2.DiscoveryRequest) -> None:
    names = request.resource_names
    if len(names) > MAX_NAMES or any(len(name) > _MAX_NAME_CHARS for name in names):
        raise XdsRequestRefused(
            f"a request has more than {MAX_NAMES} resource names, or longer ones than "
            f"{_MAX_NAME_CHARS} characters; ask for less"
        )
    subscription.has_named = subscription.has_named or bool(names)
    # Who has never named any wants all there is; who has, and names none by now, wants nothing.
    subscription.is_wildcard = _ANYTHING in names or not (names or subscription.has_named)
    subscription.names = frozenset(names) - {_ANYTHING}
    # What comes back after it was let go of is sent again.
    for name in subscription.told.keys() - subscription.names:
        if not subscription.is_wildcard:
            del subscription.told[name]
