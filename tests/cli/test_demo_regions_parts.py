"""What the demo of regions is made of, without any process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from rich.cells import cell_len

from placet.cli.demo_regions.callers import Answered, Told
from placet.cli.demo_regions.choosing import Choice
from placet.cli.demo_regions.keys import names
from placet.cli.demo_regions.news import Line
from placet.cli.demo_regions.picture import draw, help_page
from placet.cli.demo_regions.scene import COUNTRIES, REGION_NAMES, NodeSpec, Scene, TenantSpec
from placet.cli.demo_regions.script import default_script, read_script
from placet.cli.demo_regions.sights import Destination, NodeSight, Sight, TenantSight
from placet.cli.demo_regions.traffic import Pace, Totals, Traffic, percentile
from placet.cli.demo_regions.world import NodeState
from placet.cli.failures import ExitCode, Failure
from placet_engine.placement import residency

_WORLD = Scene()

# ------------------------------------------------------------------------------------ scene


def test_every_region_has_two_nodes_and_every_law_one_control_node() -> None:
    assert [site.name for site in _WORLD.sites] == list(REGION_NAMES)
    assert all(len(_WORLD.nodes_in(region=site.name)) == 2 for site in _WORLD.sites)
    control = [node.name for node in _WORLD.nodes if node.is_control]
    assert control == ["us-east-1", "eu-west-1", "apac-southeast-1"]
    assert len({site.code for site in _WORLD.sites}) == len(_WORLD.sites)


def test_what_tenants_are_checked_by_is_what_their_rules_say() -> None:
    for tenant in _WORLD.tenants:
        rule = residency.ResidencyRule[tenant.rule.name]
        for site in _WORLD.sites:
            allowed = residency.allows(rule, site.jurisdiction)
            assert _WORLD.may_serve(tenant, site.name) is allowed, (tenant, site)


def test_of_some_regions_there_are_only_tenants_that_can_be_there() -> None:
    scene = Scene(["eu-central"])

    assert [tenant.name for tenant in scene.tenants] == ["fjord", "condor", "globe"]
    assert scene.control_of("EU").name == "eu-central-1"
    assert {scene.home_of(tenant) for tenant in scene.tenants} == {"", "eu-central"}


def test_bytes_are_late_by_the_distance() -> None:
    # 5,466 km; the cables there make some 75 ms of it, there and back.
    there_and_back_s = 2 * _WORLD.one_way_s("eu-west", "us-east")
    assert 0.07 < there_and_back_s < 0.09
    assert _WORLD.one_way_s("us-east", "eu-west") == _WORLD.one_way_s("eu-west", "us-east")
    assert _WORLD.one_way_s("JP", "apac-northeast") < 0.001
    assert _WORLD.nearest("BR").name == "us-east"


# ----------------------------------------------------------------------------------- script


@pytest.mark.parametrize("count", range(1, 7))
def test_there_is_a_script_for_any_number_of_regions(count: int) -> None:
    scene = Scene(REGION_NAMES[-count:])
    steps = read_script(default_script(scene), scene)

    assert {"kill", "back", "publish"} <= {step.verb for step in steps}
    assert sum(step.wait_s for step in steps) < 60


def test_a_script_says_what_is_done_to_whom() -> None:
    steps = read_script(
        "wait 1.5; kill  us-west # all of it\nhang control EU\n\npublish;back all", _WORLD
    )

    assert [str(step) for step in steps] == [
        *("wait 1.5", "kill us-west", "hang control EU", "publish", "back all")
    ]
    assert [node.name for node in steps[1].target.nodes] == ["us-west-1", "us-west-2"]
    assert [node.name for node in steps[2].target.nodes] == ["eu-west-1"]
    assert len(steps[4].target.nodes) == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the script has no steps"),
        ("  # nothing\n;", "the script has no steps"),
        ("explode eu-west", "`explode` is no step; use one of `wait`, `kill`"),
        ("kill", "there is no ``; use one of"),
        ("drain eu-wets-1", "there is no `eu-wets-1`; did you mean `eu-west-1`?"),
        ("kill control JP", "there is no `control JP`"),
        ("publish now", "leave out what follows"),
        ("wait -1", "wait for seconds"),
        ("wait nan", "wait for seconds"),
    ],
)
def test_a_step_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(Failure) as refused:
        read_script(text, _WORLD)

    assert message in refused.value.message
    assert refused.value.code is ExitCode.USAGE


# ---------------------------------------------------------------------------------- traffic

_FJORD, _GLOBE = _WORLD.tenants[0], _WORLD.tenants[-1]


def _traffic(nowhere: Sequence[TenantSpec] = ()) -> Traffic:
    return Traffic(_WORLD, lambda tenant: tenant in nowhere)


def _told(*nodes: str, calls: int = 10, failed: int = 0) -> Told:
    """Return what callers are told who were answered by nodes, in 1, 2, 3 … ms."""
    answered = {
        f"{node[:-2]} {node}": Answered(calls, [float(ms) for ms in range(1, calls + 1)])
        for node in nodes
    }
    return Told(answered, failed, "Unavailable: nobody" if failed else "")


def test_calls_of_the_last_second_count() -> None:
    traffic = _traffic()
    traffic.take(0.0, "IE", "fjord", _told("eu-west-1", calls=50))
    traffic.take(1.1, "IE", "fjord", _told("eu-west-1", "eu-west-2"))
    traffic.take(1.2, "JP", "globe", _told("apac-northeast-1", calls=30))

    assert traffic.pace(1.3) == Pace(50.0, 9.0, 30.0)
    assert traffic.pace(1.3, tenant="fjord") == Pace(20.0, 5.0, 10.0)
    assert traffic.pace(1.3, node="apac-northeast-1", country="JP").per_second == 30.0
    assert traffic.pace(9.0) == Pace()
    assert traffic.nodes(1.3, "fjord", "IE") == ["eu-west-1", "eu-west-2"]
    assert traffic.total.calls == 100
    assert traffic.by_tenant["globe"].calls == 30
    assert traffic.total.longest_ms == 50.0


def test_an_answer_from_where_the_tenant_may_not_be_is_counted() -> None:
    traffic = _traffic()
    traffic.take(0.0, "US", "fjord", _told("eu-west-1", "us-east-2"))
    traffic.take(0.0, "US", "globe", _told("us-east-2"))
    traffic.take(0.0, "US", "globe", _told("atlantis-1"))

    assert traffic.by_tenant["fjord"].misplaced == 10
    assert traffic.total.misplaced == 20


def test_a_failed_call_counts_unless_there_was_nobody_to_answer() -> None:
    traffic = _traffic(nowhere=[_FJORD])
    traffic.take(0.0, "IE", "fjord", _told(failed=3))
    traffic.take(0.0, "IE", "globe", _told(failed=2))

    assert (traffic.total.failed, traffic.total.nowhere) == (2, 3)
    assert traffic.total.errors == {"Unavailable: nobody": 2}
    assert traffic.by_tenant["fjord"].failed == 0


def test_calls_that_go_elsewhere_are_told_once_for_all_of_them() -> None:
    traffic = _traffic()
    for country in ("IE", "DE"):
        traffic.take(0.0, country, "globe", _told("eu-west-1"))
    assert traffic.moves(0.1) == []

    for country in ("IE", "DE"):
        traffic.take(1.2, country, "globe", _told("eu-central-2"))
    (move,) = traffic.moves(1.3)
    assert (move.source, move.target) == ("eu-west", "eu-central")
    assert (move.tenants, move.countries) == (("globe",), ("IE", "DE"))
    assert traffic.moves(1.4) == []


def test_that_half_of_the_calls_go_back_is_no_news() -> None:
    traffic = _traffic()
    traffic.take(0.0, "IE", "globe", _told("eu-west-1"))
    traffic.moves(0.1)
    traffic.take(1.2, "IE", "globe", _told("eu-west-1", "eu-central-1"))

    assert traffic.moves(1.3) == []


def test_a_phase_ends_with_what_was_counted_in_it() -> None:
    traffic = _traffic()
    traffic.take(0.0, "IE", "globe", _told("eu-west-1"))
    assert traffic.end_phase().calls == 10
    traffic.take(0.1, "IE", "globe", _told(failed=1))

    assert traffic.end_phase() == Totals(failed=1, errors=traffic.total.errors)
    assert traffic.total.calls == 10


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile([], 99) is None
    assert percentile([7.0], 50) == 7.0
    assert percentile([float(n) for n in range(1, 201)], 99) == 198.0


# --------------------------------------------------------------------------------- choosing


def test_a_number_picks_a_region_and_again_its_nodes_in_turn() -> None:
    choice, seen = Choice(), []
    for _ in range(4):
        choice = choice.of_region(3, _WORLD)
        seen.append(choice.target(_WORLD).name)

    assert seen == ["eu-west", "eu-west-1", "eu-west-2", "eu-west"]
    assert choice.control(_WORLD).name == "eu-west-1"
    assert choice.of_region(7, _WORLD) == choice
    assert choice.of_region(0, _WORLD) == choice


def test_arrows_go_around() -> None:
    assert Choice(0).along(_WORLD, -1) == Choice(5)
    assert Choice(5, 2).along(_WORLD, 1) == Choice(0, 2)
    assert Choice(1).deeper(_WORLD, -1) == Choice(1, 2)


# ------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("sent", "pressed"),
    [
        ("kB?3", ["k", "B", "?", "3"]),
        ("\x1b[A\x1b[B\x1bOC\x1bOD", ["up", "down", "right", "left"]),
        ("\t\x1b[Z\r\n", ["tab", "shift-tab", "enter", "enter"]),
        # Others that terminals have: F5, a mouse, Delete, Alt+k, Escape alone.
        ("\x1b[15~k\x1b[<0;1;1Mh", ["k", "h"]),
        ("\x1b[3~\x1bkq\x1b", ["q"]),
        ("\x1b[", []),
        ("\x00\x7f", []),
    ],
)
def test_keys_have_names(sent: str, pressed: list[str]) -> None:
    assert list(names(sent)) == pressed


# ---------------------------------------------------------------------------------- picture


def _sight(states: Sequence[NodeState] = (), news: int = 3) -> Sight:
    def node(spec: NodeSpec, state: NodeState) -> NodeSight:
        return NodeSight(spec, state, state is NodeState.HUNG, 12345, 1.25, 37.0)

    given = iter(states)
    pace = Pace(150.0, 12.3, 238.9)
    destination = Destination((("apne", ("1", "2")), ("apse", ("1",))), 162.4)
    return Sight(
        about="delays by TCP relays (no namespaces without root), great circle x 1.5 in fibre",
        since_s=75.0,
        sites=[
            (
                site,
                [
                    node(spec, next(given, NodeState.SERVING))
                    for spec in _WORLD.nodes_in(region=site.name)
                ],
            )
            for site in _WORLD.sites
        ],
        countries=COUNTRIES,
        tenants=[
            TenantSight(tenant, dict.fromkeys(COUNTRIES, destination), pace, Totals(calls=9))
            for tenant in _WORLD.tenants
        ],
        pace=pace,
        totals=Totals(calls=9),
        news=[Line(float(n), f"thing {n} happened to \x1b[31meu-west") for n in range(news)],
    )


_ALL_OF_THE_FIRST = Choice()


def _lines(
    sight: Sight, choice: Choice = _ALL_OF_THE_FIRST, width: int = 80, height: int = 24
) -> list[str]:
    return draw(sight, choice, width=width, height=height).plain.split("\n")


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (100, 30), (104, 24), (120, 40), (200, 60), (40, 10), (20, 2)]
)
def test_the_picture_fits(width: int, height: int) -> None:
    lines = _lines(_sight(news=100), width=width, height=height)

    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    assert lines[-1].startswith("1-6 pick")


def test_80_by_24_has_all_of_it() -> None:
    lines = _lines(_sight(list(NodeState), news=100), Choice(2, 2))
    text = "\n".join(lines)

    assert lines[0].startswith("placet demo  1:15  7/12 nodes  150 calls/s  0 failed")
    for site in _WORLD.sites:
        assert site.name in text
    for state in NodeState:
        assert f" {state.value}" in text
    assert "hung*lost" not in text
    assert "hung" in text
    assert "apne12+" in text
    assert "thing 99 happened" in text
    assert ">3 eu-west" in text
    assert "picked: eu-west-2 (Ireland, EU)" in text
    assert lines[-1].endswith("q quit ")
    assert "…" not in "".join(lines[3:-2]), "nothing is cut but what happened"


def test_a_node_that_does_not_answer_shows_no_numbers() -> None:
    line = next(line for line in _lines(_sight([NodeState.HUNG])) if "1 us-east" in line)

    assert "hung* lost" in line
    assert line.split().count("-") == 3


def test_what_happened_cannot_take_over_the_terminal() -> None:
    assert "\x1b" not in "\n".join(_lines(_sight()))


def test_a_wide_terminal_shows_times_by_country() -> None:
    assert "apne12+ 162 ms" in "\n".join(_lines(_sight(), width=120))


def test_news_take_the_room_there_is() -> None:
    counts = [
        sum("happened" in line for line in _lines(_sight(news=100), height=height))
        for height in (24, 25, 40)
    ]
    assert counts[0] >= 3
    assert [later - earlier for earlier, later in pairwise(counts)] == [1, 15]


def test_help_fits_80_by_24() -> None:
    lines = help_page(width=80, height=24).plain.split("\n")

    assert len(lines) <= 24
    assert lines[-1] == "any key goes back"
    assert not any(line.endswith("…") for line in lines)
