"""The drawn world: where cities are is land, where oceans are is none; labels cover nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from placet import GeoPoint, Node, NodeHealth, NodeRole, Region
from placet.cli.fleet import NodeState, state_of, tallies
from placet.cli.world import NORTH, SOUTH, land_dots
from placet.cli.world_map import placed
from placet.cli.world_svg import world_svg

_NOW = datetime(2026, 5, 1, tzinfo=UTC)
_COLUMNS, _ROWS = 360, round(NORTH - SOUTH)


def _is_land(latitude: float, longitude: float) -> bool:
    dots = land_dots(_COLUMNS, _ROWS)
    return (int(longitude + 180), int(NORTH - latitude)) in dots


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        *((48.9, 2.4), (52.5, 13.4), (40.4, -3.7), (55.8, 37.6), (39.9, 116.4), (28.6, 77.2)),
        *((30.0, 31.2), (-1.3, 36.8), (-26.2, 28.0), (9.1, 7.5), (-15.8, -47.9), (4.7, -74.1)),
        *((39.7, -105.0), (41.8, -93.6), (51.0, -114.1), (19.4, -99.1), (-25.0, 134.0)),
        *((36.2, 138.2), (65.0, -18.5), (52.5, -1.9), (-19.0, 46.8), (72.0, -40.0), (62.0, 130.0)),
    ],
)
def test_people_live_on_land(latitude: float, longitude: float) -> None:
    assert _is_land(latitude, longitude)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        *((30.0, -40.0), (0.0, -25.0), (-30.0, -15.0), (0.0, -150.0), (30.0, 175.0)),
        *((-30.0, 80.0), (10.0, 65.0), (35.5, 18.0), (43.5, 34.0), (42.0, 51.0), (25.0, -90.0)),
        *((60.0, -85.0), (56.0, 3.0), (40.0, 134.0), (15.0, 114.0), (-50.0, 0.0)),
    ],
)
def test_the_sea_is_none(latitude: float, longitude: float) -> None:
    assert not _is_land(latitude, longitude)


def test_less_than_a_third_of_it_is_land() -> None:
    # Of a cylinder without the poles: large in the north, where land is.
    assert 0.28 < len(land_dots(_COLUMNS, _ROWS)) / (_COLUMNS * _ROWS) < 0.4


def _node(id_: str, region: str, **fields: object) -> Node:
    given = {
        "instance": "first",
        "role": NodeRole.EDGE,
        "address": "a:1",
        "weight": 100,
        "version": "1",
        "health": NodeHealth.SERVING,
        "revision": 1,
        "staleness": timedelta(),
        "register_time": _NOW,
        "renew_time": _NOW,
        "lease_expire_time": _NOW,
        "etag": "0",
        **fields,
    }
    return Node(id=id_, region=region, **given)  # type: ignore[arg-type]


def test_what_is_the_matter_with_a_node_is_one_word() -> None:
    assert NodeState.LOST is state_of(_node("n", "r", health=NodeHealth.LOST, draining=True))
    assert NodeState.DRAINING is state_of(_node("n", "r", draining=True))
    assert NodeState.NOT_SERVING is state_of(_node("n", "r", health=NodeHealth.UNKNOWN))


def test_a_region_is_as_good_as_its_nodes() -> None:
    counted = tallies(
        [
            _node("a", "all"),
            _node("b", "some"),
            _node("c", "some", draining=True),
            _node("d", "none", health=NodeHealth.LOST),
            _node("e", "none", draining=True),
        ]
    )
    assert {
        "all": NodeState.SERVING,
        "some": NodeState.DRAINING,
        "none": NodeState.LOST,
    } == {region: tally.state for region, tally in counted.items()}
    assert "0 of 2 serve, 1 draining, 1 lost" == counted["none"].words()


def test_regions_side_by_side_are_told_apart_and_names_are_text() -> None:
    regions = [
        Region(name=f"r{number}", location=GeoPoint(50 + number % 3, 8.0 + number))
        for number in range(6)
    ]
    strange = Region(name="<b>&", location=GeoPoint(89.0, 179.9))
    svg = world_svg(placed([*regions, strange], tallies([_node("n", "nowhere")])))
    root = ElementTree.fromstring(svg)

    boxes = [
        tuple(float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        for rect in root.iter("{http://www.w3.org/2000/svg}rect")
        if rect.attrib["class"] == "halo"
    ]
    assert 7 == len(boxes)
    for index, (x, y, width, height) in enumerate(boxes):
        for ox, oy, other_width, other_height in boxes[:index]:
            apart = x >= ox + other_width or ox >= x + width
            assert apart or y >= oy + other_height or oy >= y + height
    texts = ["".join(element.itertext()) for element in root.iter()]
    assert "<b>&" in texts
    assert "not on the map: nowhere: 1 of 1 serve, 0% busy" in texts
