"""Regions, rules, distances and routes: where data may be, and who goes where."""

from __future__ import annotations

import math

import pytest

from placet_engine.placement.countries import COUNTRIES, CountryUnknown, place_of
from placet_engine.placement.geography import EARTH_RADIUS_KM, GeoPoint, distance_km
from placet_engine.placement.regions import DEFAULT_REGIONS, LOCAL, Region, Regions
from placet_engine.placement.residency import ResidencyRule, allows
from placet_engine.placement.routing import NoRegionAllowed, RouteReason, find_route

DUBLIN, SYDNEY = GeoPoint(53.35, -6.26), GeoPoint(-33.87, 151.21)
REGIONS = Regions(DEFAULT_REGIONS)

# ISO 3166-1 as of 2024, written down apart from the table.
ISO_3166_1 = """\
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""

# ------------------------------------------------------------------------------------ rules


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (ResidencyRule.ANY, {"EU", "US", "APAC", "elsewhere", ""}),
        (ResidencyRule.EU_ONLY, {"EU"}),
        (ResidencyRule.US_ONLY, {"US"}),
        (ResidencyRule.APAC_ONLY, {"APAC"}),
        (ResidencyRule.NO_US, {"EU", "APAC", "elsewhere"}),
    ],
)
def test_what_a_rule_allows(rule: ResidencyRule, allowed: set[str]) -> None:
    jurisdictions = ("EU", "US", "APAC", "elsewhere", "")
    assert {each for each in jurisdictions if allows(rule, each)} == allowed


def test_a_jurisdiction_nobody_stated_may_be_any_and_so_is_none() -> None:
    here = Regions(DEFAULT_REGIONS, here=LOCAL)

    assert LOCAL in here
    assert here.jurisdiction(LOCAL) == here.jurisdiction("no such region") == ""
    assert [rule.name for rule in ResidencyRule if allows(rule, here.jurisdiction(LOCAL))] == [
        "ANY"
    ]


# ---------------------------------------------------------------------------------- regions


def test_the_six_regions_are_under_three_laws() -> None:
    assert [(region.name, region.jurisdiction) for region in REGIONS] == [
        ("apac-northeast", "APAC"),
        ("apac-southeast", "APAC"),
        ("eu-central", "EU"),
        ("eu-west", "EU"),
        ("us-east", "US"),
        ("us-west", "US"),
    ]
    assert all(region.location and region.regulations and region.title for region in REGIONS)


def test_a_region_of_the_file_is_not_made_anew_by_a_node_in_it() -> None:
    assert list(Regions(DEFAULT_REGIONS, here="eu-west")) == list(REGIONS)


# -------------------------------------------------------------------------------- geography


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        # Airports, by the great circle mapper: 5,540 (JFK-LHR), 10,872 (SIN-LHR).
        (GeoPoint(40.6398, -73.7789), GeoPoint(51.4706, -0.4619), 5540),
        (GeoPoint(1.3502, 103.9943), GeoPoint(51.4706, -0.4619), 10872),
        (DUBLIN, DUBLIN, 0),
        (GeoPoint(0, 179), GeoPoint(0, -179), 2 * math.pi * EARTH_RADIUS_KM / 180),
        (GeoPoint(90, 0), GeoPoint(-90, 77), math.pi * EARTH_RADIUS_KM),
    ],
)
def test_distances_are_those_of_the_great_circle(one: GeoPoint, other: GeoPoint, km: float) -> None:
    assert distance_km(one, other) == pytest.approx(km, rel=0.005)
    assert distance_km(other, one) == pytest.approx(distance_km(one, other))


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        (90.1, 0, "`latitude` is 90.1; use degrees from -90 to 90"),
        (0, -180.5, "`longitude` is -180.5; use degrees from -180 to 180"),
        (math.nan, 0, "`latitude` is nan"),
        (0, math.inf, "`longitude` is inf"),
    ],
)
def test_a_place_that_is_not_on_earth_is_refused(
    latitude: float, longitude: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GeoPoint(latitude, longitude)


# -------------------------------------------------------------------------------- countries


def test_no_country_is_missing_and_none_is_made_up() -> None:
    assert sorted(COUNTRIES) == ISO_3166_1.split()
    assert len(COUNTRIES) == 249


@pytest.mark.parametrize(
    ("country", "region"),
    [
        ("US", "us-east"),
        ("CA", "us-east"),
        ("MX", "us-east"),
        ("BR", "us-east"),
        ("IE", "eu-west"),
        ("GB", "eu-west"),
        ("PT", "eu-west"),
        ("DE", "eu-central"),
        ("FR", "eu-central"),
        ("PL", "eu-central"),
        ("IT", "eu-central"),
        ("EG", "eu-central"),
        ("AE", "eu-central"),
        ("JP", "apac-northeast"),
        ("KR", "apac-northeast"),
        ("SG", "apac-southeast"),
        ("IN", "apac-southeast"),
        ("AU", "apac-southeast"),
        ("ID", "apac-southeast"),
    ],
)
def test_countries_go_where_anybody_expects(country: str, region: str) -> None:
    nearest = find_route(REGIONS, place=place_of(country))[0]

    assert (nearest.region.name, nearest.reason) == (region, RouteReason.NEAREST)


def test_a_country_is_known_in_either_case_and_others_are_refused() -> None:
    assert place_of("ie") == place_of("IE")
    for unknown in ("XX", "", "IRL", "I", "é"):
        with pytest.raises(CountryUnknown, match="is no country; use a code of two letters"):
            place_of(unknown)
    with pytest.raises(CountryUnknown, match="did you mean `GB`"):
        place_of("uk")


# ----------------------------------------------------------------------------------- routes


def names(*, regions: Regions = REGIONS, **asked: object) -> list[tuple[str, str]]:
    route = find_route(regions, **asked)  # type: ignore[arg-type]  # as given below
    return [(each.region.name, each.reason.name) for each in route]


def test_the_nearest_allowed_region_comes_first_and_the_others_by_distance() -> None:
    assert names(place=DUBLIN) == [
        ("eu-west", "NEAREST"),
        ("eu-central", "FALLBACK"),
        ("us-east", "FALLBACK"),
        ("us-west", "FALLBACK"),
        ("apac-northeast", "FALLBACK"),
        ("apac-southeast", "FALLBACK"),
    ]
    assert names(place=DUBLIN, rule=ResidencyRule.US_ONLY) == [
        ("us-east", "NEAREST"),
        ("us-west", "FALLBACK"),
    ]


def test_affinity_comes_before_what_is_nearer_in_its_own_order() -> None:
    assert names(
        place=SYDNEY,
        rule=ResidencyRule.NO_US,
        affinity=("eu-central", "us-east", "gone", "apac-northeast", "eu-central"),
    ) == [
        ("eu-central", "AFFINITY"),
        ("apac-northeast", "AFFINITY"),
        ("apac-southeast", "NEAREST"),
        ("eu-west", "FALLBACK"),
    ]


def test_what_comes_after_a_nearer_affinity_is_not_called_the_nearest() -> None:
    assert names(place=DUBLIN, rule=ResidencyRule.EU_ONLY, affinity=["eu-west"]) == [
        ("eu-west", "AFFINITY"),
        ("eu-central", "FALLBACK"),
    ]


def test_callers_nobody_knows_the_place_of_go_home() -> None:
    assert names(home="apac-northeast", rule=ResidencyRule.NO_US) == [
        ("apac-northeast", "HOME"),
        ("apac-southeast", "FALLBACK"),
        ("eu-central", "FALLBACK"),
        ("eu-west", "FALLBACK"),
    ]
    assert names(home="eu-west", affinity=["us-west"], rule=ResidencyRule.ANY)[:2] == [
        ("us-west", "AFFINITY"),
        ("eu-west", "HOME"),
    ]
    assert {each.distance_km for each in find_route(REGIONS, home="eu-west")} == {None}


@pytest.mark.parametrize("home", ["", "gone", "us-east"])
def test_without_a_home_that_is_allowed_they_stay_near_the_node_they_asked(home: str) -> None:
    here = Regions(DEFAULT_REGIONS, here="eu-west")

    assert names(regions=here, home=home, rule=ResidencyRule.EU_ONLY) == [
        ("eu-west", "FALLBACK"),
        ("eu-central", "FALLBACK"),
    ]


def test_a_region_without_a_place_is_the_last_resort() -> None:
    here = Regions(DEFAULT_REGIONS, here=LOCAL)

    assert find_route(here, place=DUBLIN)[-1].region.name == LOCAL
    assert find_route(here, place=DUBLIN)[-1].distance_km is None
    assert names(regions=Regions([], here=LOCAL), place=DUBLIN) == [(LOCAL, "FALLBACK")]


def test_who_is_in_a_region_is_no_distance_from_it() -> None:
    here = REGIONS.get("eu-central")
    assert here is not None

    assert find_route(REGIONS, place=here.location)[0].distance_km == 0


def test_no_region_is_allowed() -> None:
    regions = Regions([Region(name="va", jurisdiction="US")], here=LOCAL)

    with pytest.raises(NoRegionAllowed) as refused:
        find_route(regions, rule=ResidencyRule.EU_ONLY)

    assert str(refused.value) == (
        "the rule EU_ONLY allows no region: there are `local` (jurisdiction not known), "
        "`va` (US); add one to the file of regions, or place the tenant under another rule"
    )
