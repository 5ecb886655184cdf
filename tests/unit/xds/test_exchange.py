"""The protocol, request by request: what is sent, when, and when nothing is."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import pytest

from placet_server.errors import XdsRequestRefused
from placet_server.xds.answers import Absent
from placet_server.xds.exchange import MAX_NAMES, Exchange, Nack, Response
from placet_server.xds.resources import Resource, Type
from placet_server.xds.v3 import core_pb2, discovery_pb2

_NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
CLUSTER, ENDPOINTS, LISTENER, ROUTES = (
    Type.CLUSTER,
    Type.ENDPOINTS,
    Type.LISTENER,
    Type.ROUTES,
)


class Client:
    """A client, and what there is for it."""

    def __init__(self, *there: tuple[Type, str]) -> None:
        self.exchange = Exchange("node")
        self.there = {(type_, name): self._resource(type_, name, "1") for type_, name in there}
        self.all: frozenset[str] = frozenset()
        self.nonces: dict[Type, str] = {}

    def _resource(self, type_: Type, name: str, state: str) -> Resource:
        return Resource.of(type_, name, core_pb2.Locality(region=name, zone=state))

    def change(self, type_: Type, name: str, state: str) -> None:
        self.there[type_, name] = self._resource(type_, name, state)

    def ask(
        self,
        type_: Type,
        *names: str,
        nonce: str | None = None,
        error: str | None = None,
    ) -> Nack | None:
        """Send a request, by itself with the nonce of the last response."""
        given = self.nonces.get(type_, "") if nonce is None else nonce
        request = discovery_pb2.DiscoveryRequest(
            type_url=type_.url, resource_names=names, response_nonce=given
        )
        if error is not None:
            request.error_detail.message = error
        return self.exchange.take(request, _NOW)

    def get(self) -> list[Response]:
        """Take what is sent now."""

        def find(type_: Type, name: str) -> Resource | Absent:
            return self.there.get((type_, name), Absent("there is none"))

        found = list(self.exchange.due(find, lambda type_: self.all))
        for response in found:
            self.nonces[response.type] = response.message.nonce
        return found


def sent(responses: Iterable[Response]) -> list[tuple[Type, list[str]]]:
    """Return the names in each response."""
    return [
        (
            response.type,
            sorted(
                core_pb2.Locality.FromString(one.value).region for one in response.message.resources
            ),
        )
        for response in responses
    ]


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    client = Client((CLUSTER, "a"), (LISTENER, "a"))
    assert [] == client.get()
    client.ask(CLUSTER, "a")
    assert [(CLUSTER, ["a"])] == sent(client.get())
    assert [] == client.get()


def test_what_is_new_comes_after_what_it_leads_to() -> None:
    client = Client(*((type_, "a") for type_ in Type))
    for type_ in (ROUTES, LISTENER, ENDPOINTS, CLUSTER):
        client.ask(type_, "a")
    assert [CLUSTER, ENDPOINTS, LISTENER, ROUTES] == [one.type for one in client.get()]


@pytest.mark.parametrize(("type_", "is_whole"), [(CLUSTER, True), (ENDPOINTS, False)])
def test_what_has_changed_is_sent(type_: Type, is_whole: bool) -> None:
    client = Client((type_, "a"), (type_, "b"), (type_, "c"))
    client.ask(type_, "a", "b")
    first = client.get()
    client.ask(type_, "a", "b")
    # Made anew, and the same.
    client.change(type_, "a", "1")
    # Not asked for.
    client.change(type_, "c", "2")
    assert [] == client.get()
    client.change(type_, "b", "2")
    second = client.get()
    assert [(type_, ["a", "b"])] == sent(first)
    assert [(type_, ["a", "b"] if is_whole else ["b"])] == sent(second)
    assert first[0].message.version_info != second[0].message.version_info


def test_versions_are_of_what_there_is_and_nonces_of_the_stream() -> None:
    clients = [Client((CLUSTER, "a")), Client((CLUSTER, "a"))]
    messages = []
    for client in clients:
        client.ask(CLUSTER, "a")
        messages += [response.message for response in client.get()]
    assert messages[0] == messages[1]
    assert ("1", "node") == (messages[0].nonce, messages[0].control_plane.identifier)


def test_what_is_gone_is_left_out_of_what_is_sent_whole() -> None:
    client = Client((LISTENER, "a"), (LISTENER, "b"))
    client.ask(LISTENER, "a", "b")
    client.get()
    client.ask(LISTENER, "a", "b")
    del client.there[LISTENER, "b"]
    (response,) = client.get()
    assert [(LISTENER, ["a"])] == sent([response])
    (why,) = response.message.resource_errors
    assert ("b", "there is none") == (why.resource_name.name, why.error_detail.message)


@pytest.mark.parametrize("type_", Type)
def test_what_is_not_there_is_answered_all_the_same(type_: Type) -> None:
    client = Client()
    client.ask(type_, "a")
    (response,) = client.get()
    assert [(type_, [])] == sent([response])
    assert ["a"] == [one.resource_name.name for one in response.message.resource_errors]
    client.ask(type_, "a")
    assert [] == client.get()
    # One more that is not there has to be told of as well.
    client.ask(type_, "a", "b")
    assert 1 == len(client.get())
    client.ask(type_, "a", "b")
    client.change(type_, "a", "1")
    assert [(type_, ["a"])] == sent(client.get())


def test_what_is_added_to_is_sent_and_what_comes_back_is_sent_again() -> None:
    client = Client((ENDPOINTS, "a"), (ENDPOINTS, "b"))
    for names, expected in (
        (["a"], ["a"]),
        (["a", "b"], ["b"]),
        (["b"], None),
        (["a", "b"], ["a"]),
        ([], None),
        (["a"], ["a"]),
    ):
        client.ask(ENDPOINTS, *names)
        assert ([(ENDPOINTS, expected)] if expected else []) == sent(client.get())


def test_what_is_let_go_of_while_it_is_being_written_is_sent_again() -> None:
    """A client may have read a response, and answered it, before its writing has come to an end."""
    client = Client((ENDPOINTS, "a"), (ENDPOINTS, "b"))
    client.ask(ENDPOINTS, "a", "b")
    writing = client.exchange.due(
        lambda type_, name: client.there[type_, name], lambda _: client.all
    )
    client.nonces[ENDPOINTS] = next(writing).message.nonce
    client.ask(ENDPOINTS, "a")
    assert [] == list(writing)
    client.ask(ENDPOINTS, "a", "b")
    assert [(ENDPOINTS, ["b"])] == sent(client.get())


def test_who_never_names_any_gets_all_there_is() -> None:
    client = Client((CLUSTER, "a"), (CLUSTER, "b"))
    client.all = frozenset({"a", "b"})
    client.ask(CLUSTER)
    assert [(CLUSTER, ["a", "b"])] == sent(client.get())
    client.ask(CLUSTER)
    client.all = frozenset({"a"})
    assert [(CLUSTER, ["a"])] == sent(client.get())
    client.ask(CLUSTER, "b")
    assert [(CLUSTER, ["b"])] == sent(client.get())
    client.ask(CLUSTER, "*")
    assert [(CLUSTER, ["a"])] == sent(client.get())


def test_with_nothing_there_at_all_it_is_told_so_once() -> None:
    client = Client()
    client.ask(LISTENER)
    assert [(LISTENER, [])] == sent(client.get())
    client.ask(LISTENER)
    assert [] == client.get()


def test_a_request_from_before_the_last_response_changes_nothing() -> None:
    client = Client((ENDPOINTS, "a"), (ENDPOINTS, "b"))
    client.ask(ENDPOINTS, "a")
    client.get()
    client.change(ENDPOINTS, "a", "2")
    client.get()
    # Its names are from before, too: those that count come with the answer to the second.
    client.ask(ENDPOINTS, "b", nonce="1")
    assert [] == client.get()
    assert {"a"} == client.exchange.subscriptions[ENDPOINTS].names
    client.ask(ENDPOINTS, "a", "b", nonce="2")
    assert [(ENDPOINTS, ["b"])] == sent(client.get())


@pytest.mark.parametrize("nonce", ["7", "-1", "x", "²"])
def test_a_nonce_of_nobodys_is_passed_over(nonce: str) -> None:
    client = Client((CLUSTER, "a"))
    client.ask(CLUSTER, "a")
    client.get()
    client.ask(CLUSTER, "b", nonce=nonce)
    assert {"a"} == client.exchange.subscriptions[CLUSTER].names


def test_what_is_refused_is_not_sent_again_until_something_changes() -> None:
    client = Client((CLUSTER, "a"))
    client.ask(CLUSTER, "a")
    (first,) = client.get()
    nack = client.ask(CLUSTER, "a", error="no such policy")
    assert Nack(CLUSTER, first.message.version_info, "no such policy", _NOW) == nack
    assert [] == client.get()
    state = client.exchange.subscriptions[CLUSTER]
    assert ("", nack) == (state.accepted, state.refused)

    client.change(CLUSTER, "a", "2")
    (second,) = client.get()
    assert client.ask(CLUSTER, "a") is None
    assert (second.message.version_info, None) == (state.accepted, state.refused)


def test_a_refusal_is_told_of_once() -> None:
    client = Client((CLUSTER, "a"))
    client.ask(CLUSTER, "a")
    client.get()
    assert client.ask(CLUSTER, "a", error="no") is not None
    # The same nonce again: only the names have changed.
    assert client.ask(CLUSTER, "a", "b", error="no") is None


def test_a_client_that_answers_nothing_gets_no_more_and_then_the_newest() -> None:
    client = Client((ENDPOINTS, "a"))
    client.ask(ENDPOINTS, "a")
    got = []
    for number in range(10):
        client.change(ENDPOINTS, "a", str(number))
        got += client.get()
    assert 4 == len(got)
    client.ask(ENDPOINTS, "a")
    (newest,) = client.get()
    assert core_pb2.Locality(region="a", zone="9") == core_pb2.Locality.FromString(
        newest.message.resources[0].value
    )


@pytest.mark.parametrize("names", [["a"] * (MAX_NAMES + 1), ["a" * 257]])
def test_what_asks_for_too_much_is_refused(names: list[str]) -> None:
    with pytest.raises(XdsRequestRefused, match="ask for less"):
        Client().ask(CLUSTER, *names)


def test_types_of_nobodys_are_passed_over() -> None:
    exchange = Exchange()
    request = discovery_pb2.DiscoveryRequest(type_url="type.googleapis.com/envoy.Secret")
    assert exchange.take(request, _NOW) is None
    assert {} == exchange.subscriptions
