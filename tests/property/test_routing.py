"""Routes: always allowed, always in order, and there whenever any region is."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet_engine.placement.countries import COUNTRIES
from placet_engine.placement.geography import GeoPoint, distance_km
from placet_engine.placement.regions import DEFAULT_REGIONS, LOCAL, Region, Regions
from placet_engine.placement.residency import ResidencyRule, allows
from placet_engine.placement.routing import (
    NoRegionAllowed,
    RouteReason,
    RouteRegion,
    find_route,
)

_NAMES = st.sampled_from([*"abcdef", LOCAL])
_PLACES = st.builds(GeoPoint, st.floats(-90, 90), st.floats(-180, 180))
_REGIONS = st.builds(
    Regions,
    st.lists(
        st.builds(
            Region,
            name=_NAMES,
            jurisdiction=st.sampled_from(["EU", "US", "APAC", "elsewhere", ""]),
            location=st.none() | _PLACES,
        ),
        max_size=7,
    ),
    here=st.just("") | _NAMES,
)
_RULES = st.sampled_from(ResidencyRule)


@given(
    _REGIONS,
    _RULES,
    st.just("") | _NAMES,
    st.lists(_NAMES, max_size=4),
    st.none() | _PLACES,
)
def test_a_route_is_all_that_is_allowed_and_in_order(
    regions: Regions,
    rule: ResidencyRule,
    home: str,
    affinity: list[str],
    place: GeoPoint | None,
) -> None:
    allowed = {region.name for region in regions if allows(rule, region.jurisdiction)}
    if not allowed:
        with pytest.raises(NoRegionAllowed):
            find_route(regions, rule=rule, home=home, affinity=affinity, place=place)
        return

    route = find_route(regions, rule=rule, home=home, affinity=affinity, place=place)

    # Nothing that is not allowed, nothing twice, nothing left out.
    assert sorted(each.region.name for each in route) == sorted(allowed)
    preferred = [each for each in route if each.reason is RouteReason.AFFINITY]
    assert list(route[: len(preferred)]) == preferred
    assert [each.region.name for each in preferred] == [
        name for name in dict.fromkeys(affinity) if name in allowed
    ]
    _check_order(route[len(preferred) :], place)
    _check_reasons(route, home, place)


def _check_order(rest: tuple[RouteRegion, ...], place: GeoPoint | None) -> None:
    """After affinity nothing comes before what is nearer, nor what has no place before any."""
    known = [each.distance_km for each in rest if each.distance_km is not None]
    assert all(near <= far for near, far in pairwise(known))
    if place is not None:
        assert all(each.distance_km is None for each in rest[len(known) :])
    for each in rest:
        location = each.region.location
        if place is not None and location is not None:
            assert each.distance_km == distance_km(place, location)
        else:
            assert each.distance_km is None


def _check_reasons(route: tuple[RouteRegion, ...], home: str, place: GeoPoint | None) -> None:
    nearest = [each for each in route if each.reason is RouteReason.NEAREST]
    at_home = [each for each in route if each.reason is RouteReason.HOME]
    assert len(nearest) + len(at_home) <= 1
    for each in nearest:
        apart = [other.distance_km for other in route if other.distance_km is not None]
        assert each.distance_km == min(apart)
    if place is None and home:
        found = [each for each in route if each.region.name == home]
        assert all(each in at_home or each.reason is RouteReason.AFFINITY for each in found)
    if place is not None:
        assert not at_home


@pytest.mark.parametrize("rule", ResidencyRule)
def test_there_is_a_route_from_every_country_under_every_rule(rule: ResidencyRule) -> None:
    regions = Regions(DEFAULT_REGIONS, here=LOCAL)
    for country, affinity in product(sorted(COUNTRIES), ([], ["apac-northeast", "eu-west"])):
        route = find_route(regions, rule=rule, affinity=affinity, place=COUNTRIES[country])
        assert route, country
        assert all(allows(rule, each.region.jurisdiction) for each in route)


@given(_PLACES, _PLACES, _PLACES)
def test_distances_are_distances(a: GeoPoint, b: GeoPoint, c: GeoPoint) -> None:
    assert distance_km(a, b) == pytest.approx(distance_km(b, a), abs=1e-6)
    assert distance_km(a, a) == 0
    assert distance_km(a, c) <= distance_km(a, b) + distance_km(b, c) + 1e-3
