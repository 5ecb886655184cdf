"""Which nodes whom is told of: by tenant and rule, wherever the client is, and as they move."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

import pytest

from placet_engine.changes import ItemSet
from placet_engine.items import TOPOLOGY, Item, Placement, Revision
from placet_engine.placement.nodes import (
    Condition,
    Node,
    NodeHealth,
    NodeRole,
    Registration,
)
from placet_engine.placement.regions import DEFAULT_REGIONS, Region, Regions
from placet_engine.placement.residency import ResidencyRule, allows
from placet_server.policies.residency import Residency
from placet_server.regions.directory import Directory
from placet_server.regions.endpoints import Endpoints
from placet_server.regions.moves import Moves
from placet_server.regions.nodes import NodeView
from placet_server.xds.answers import Absent, Answers
from placet_server.xds.clients import Balancing, Client, Kind
from placet_server.xds.names import Scope
from placet_server.xds.resources import Resource, Type
from placet_server.xds.v3 import endpoint_pb2

_NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_NAMES = [region.name for region in DEFAULT_REGIONS]
_RULES = list(ResidencyRule)


def client(
    region: str = "",
    *,
    bound: ResidencyRule | None = None,
    default: Scope | None = None,
    balancing: Balancing | None = None,
) -> Client:
    place = next((one.location for one in DEFAULT_REGIONS if one.name == region), None)
    return Client(
        id="c",
        kind=Kind.GO,
        agent="gRPC Go",
        version="1.72",
        region=region,
        place=place,
        default=default or Scope(rule=bound or ResidencyRule.ANY),
        bound=bound,
        balancing=balancing,
    )


class World:
    """A control node in each region, and an edge beside it."""

    def __init__(self, regions: Sequence[Region] = DEFAULT_REGIONS) -> None:
        self.routes = Moves()
        self.regions = Regions(regions)
        self.residency = Residency(self.regions)
        self.view = NodeView(membership=[self.routes])
        self.known = {"acme"}
        self.visible = {"acme", "other"}
        self.numbers: dict[str, tuple[str, ...]] = {}
        self.answers = Answers(
            directory=Directory(self.residency, Endpoints(self.view, self.regions)),
            is_known=lambda tenant: tenant in self.known,
            addresses=lambda host: self.numbers.get(host, (host,)),
            routes=self.routes,
            balancing=Balancing.ROUND_ROBIN,
        )
        for number, region in enumerate(DEFAULT_REGIONS):
            self.put(region.name, f"10.{number}.0.1:7717", NodeRole.CONTROL)
            self.put(region.name, f"10.{number}.0.2:7717", NodeRole.EDGE)

    def put(self, region: str, address: str, role: NodeRole, *, serves: bool = True) -> None:
        registration = Registration(
            id=address, instance="1", region=region, role=role, address=address
        )
        self.view.put(
            Node(
                registration=registration,
                condition=Condition(),
                health=NodeHealth.SERVING if serves else NodeHealth.LOST,
                health_reason="",
                weight=100,
                draining=False,
                register_time=_NOW,
                renew_time=_NOW,
                lease_s=1.0,
            )
        )

    def place(self, tenant: str, rule: ResidencyRule, home: str = "") -> None:
        body = Placement(tenant=tenant, rule=rule, home_region=home)
        item = Item(TOPOLOGY, Revision(1), body)
        self.residency.take(ItemSet(owner=TOPOLOGY, items={body.key: item}))
        self.known.add(tenant)

    def find(self, who: Client, type_: Type, name: str) -> Resource | Absent:
        return self.answers.find(who, type_, name, self.visible.__contains__)

    def led_to(
        self, who: Client, target: str = "placet", part: str = "nodes"
    ) -> dict[str, list[str]]:
        """Return addresses by region, in order."""
        found = self.find(who, Type.ENDPOINTS, f"{target}/{part}")
        assert isinstance(found, Resource)
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(found.packed.value)
        assert list(range(len(assignment.endpoints))) == [e.priority for e in assignment.endpoints]
        return {
            locality.locality.region: [
                endpoint.endpoint.address.socket_address.address
                for endpoint in locality.lb_endpoints
            ]
            for locality in assignment.endpoints
        }


@pytest.fixture(name="world")
def world_fixture() -> World:
    return World()


def _allowed(rule: ResidencyRule) -> set[str]:
    return {region.name for region in DEFAULT_REGIONS if allows(rule, region.jurisdiction)}


def _everything(world: World, who: Client) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield each target there can be, with what it leads to."""
    for target in (
        "placet",
        "acme.tenant.placet",
        *(f"{rule.name}.residency.placet" for rule in ResidencyRule),
    ):
        for part in ("nodes", "control"):
            yield target, world.led_to(who, target, part)


# -------------------------------------------------------------------------------- residency


@pytest.mark.parametrize("region", ["", *_NAMES])
@pytest.mark.parametrize("rule", _RULES)
def test_no_target_leads_where_its_rule_forbids(
    world: World, rule: ResidencyRule, region: str
) -> None:
    world.place("acme", rule)
    told = dict(_everything(world, client(region)))
    assert _allowed(rule) == set(told["acme.tenant.placet"])
    for each in ResidencyRule:
        assert _allowed(each) == set(told[f"{each.name}.residency.placet"])


@pytest.mark.parametrize("region", ["", *_NAMES])
@pytest.mark.parametrize("tenants", _RULES)
@pytest.mark.parametrize("own", _RULES)
def test_a_client_that_is_bound_gets_nothing_forbidden_whatever_it_asks_for(
    world: World, own: ResidencyRule, tenants: ResidencyRule, region: str
) -> None:
    world.place("acme", tenants)
    for who in (client(region, bound=own), client(region, bound=own, default=Scope("acme"))):
        for _, led_to in _everything(world, who):
            assert set(led_to) <= _allowed(own)
    assert _allowed(own) == set(world.led_to(client(region, bound=own)))
    both = world.led_to(client(region, bound=own, default=Scope("acme")))
    assert _allowed(own) & _allowed(tenants) == set(both)


def test_a_tenant_that_moves_takes_its_callers_along_at_once(world: World) -> None:
    who = client("us-east", default=Scope("acme"))
    for rule in (*_RULES, *reversed(_RULES)):
        # Before anybody was woken: it is the placement that counts, not what was remembered.
        world.place("acme", rule)
        for target in ("placet", "acme.tenant.placet"):
            assert _allowed(rule) == set(world.led_to(who, target))


def test_where_no_region_is_allowed_nobody_is_named() -> None:
    world = World([region for region in DEFAULT_REGIONS if region.jurisdiction == "US"])
    world.place("acme", ResidencyRule.EU_ONLY)
    assert {} == world.led_to(client("us-east"), "acme.tenant.placet")
    assert isinstance(world.find(client(), Type.LISTENER, "acme.tenant.placet"), Resource)


# --------------------------------------------------------------------------- order and nodes


def test_nearest_regions_come_first(world: World) -> None:
    order = list(world.led_to(client("apac-northeast")))
    assert ("apac-northeast", "apac-southeast") == (order[0], order[1])
    assert "eu-west" == next(iter(world.led_to(client("eu-west"))))


def test_changes_go_to_control_nodes(world: World) -> None:
    assert ["10.2.0.1", "10.2.0.2"] == world.led_to(client("eu-west"))["eu-west"]
    assert ["10.2.0.1"] == world.led_to(client("eu-west"), part="control")["eu-west"]


def test_nodes_that_do_not_serve_and_regions_without_nodes_are_left_out(world: World) -> None:
    world.put("eu-west", "10.2.0.1:7717", NodeRole.CONTROL, serves=False)
    assert ["10.2.0.2"] == world.led_to(client("eu-west"))["eu-west"]
    world.put("eu-west", "10.2.0.2:7717", NodeRole.EDGE, serves=False)
    assert "eu-west" not in world.led_to(client("eu-west"))


def test_where_all_nodes_are_another_control_planes_changes_go_there_too() -> None:
    elsewhere = Region(name="dublin", jurisdiction="EU", endpoints=("192.0.2.1:7443",))
    world = World([*(r for r in DEFAULT_REGIONS if r.jurisdiction == "US"), elsewhere])
    world.place("acme", ResidencyRule.EU_ONLY)
    target = "acme.tenant.placet"
    assert {"dublin": ["192.0.2.1"]} == world.led_to(client(), target)
    assert {"dublin": ["192.0.2.1"]} == world.led_to(client(), target, "control")
    # Where there are control nodes of this control plane, those are asked.
    assert "dublin" not in world.led_to(client(), part="control")


def test_names_become_numbers_and_no_number_comes_twice(world: World) -> None:
    world.numbers = {"eu.test": ("192.0.2.1", "192.0.2.2"), "new.test": ()}
    for address in ("eu.test:1", "192.0.2.1:1", "new.test:1", "192.0.2.1:2", "[::1]:3"):
        world.put("eu-west", address, NodeRole.EDGE)
    found = world.led_to(client("eu-west"))["eu-west"]
    assert ["192.0.2.1", "192.0.2.1", "192.0.2.2", "::1"] == sorted(
        one for one in found if not one.startswith("10.")
    )


# ------------------------------------------------------------------------------- who may ask


@pytest.mark.parametrize("type_", Type)
def test_what_a_client_may_not_know_of_or_nobody_knows_is_absent(world: World, type_: Type) -> None:
    part = "/nodes" if type_ in (Type.CLUSTER, Type.ENDPOINTS) else ""
    for name, reason in (
        ("other.tenant.placet", "is not known"),
        ("secret.tenant.placet", "may not be told"),
        ("else", "nothing of Placet's"),
    ):
        found = world.find(client(), type_, name + part)
        assert isinstance(found, Absent)
        assert reason in found.reason
    hidden = world.find(client(default=Scope("secret")), type_, f"placet{part}")
    assert isinstance(hidden, Absent)


def test_a_tenant_is_there_once_somebody_published_for_it(world: World) -> None:
    assert isinstance(world.find(client(), Type.LISTENER, "other.tenant.placet"), Absent)
    world.known.add("other")
    assert isinstance(world.find(client(), Type.LISTENER, "other.tenant.placet"), Resource)


# ----------------------------------------------------------------------------------- sharing


def test_clients_in_the_same_place_share_what_they_are_sent(world: World) -> None:
    key = (Type.ENDPOINTS, "placet/nodes")
    first = world.find(client("eu-west"), *key)
    assert first is world.find(client("eu-west"), *key)
    assert first is not world.find(client("us-east"), *key)
    # News that changes nothing for them has nothing made anew.
    world.routes.move()
    assert first is world.find(client("eu-west"), *key)
    world.put("eu-west", "10.2.0.1:7717", NodeRole.CONTROL, serves=False)
    assert first is not world.find(client("eu-west"), *key)


def test_what_a_client_says_of_balancing_goes_before_what_is_configured(world: World) -> None:
    for said, meant in ((None, Balancing.ROUND_ROBIN), (Balancing.RANDOM, Balancing.RANDOM)):
        assert meant is world.answers.balancing(client(balancing=said))
    key = (Type.CLUSTER, "placet/nodes")
    found = world.find(client(balancing=Balancing.RANDOM), *key)
    assert found != world.find(client(), *key)


def test_who_names_no_clusters_gets_those_of_its_own_target(world: World) -> None:
    assert {"placet/nodes", "placet/control"} == world.answers.wildcard(Type.CLUSTER)
    for type_ in (Type.ENDPOINTS, Type.LISTENER, Type.ROUTES):
        assert frozenset() == world.answers.wildcard(type_)
