"""Plans as they are typed: what they come to, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from placet import Canary, CanaryUnit, Guard, GuardKind, Immediate, Manual, RolloutPlan, Scheduled
from placet.cli.amounts import duration_text, percent_text
from placet.cli.failures import ExitCode, Failure
from placet.cli.rollout_plans import PlanOptions, plan_text

MINUTE = timedelta(minutes=1)
NINE = datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        ({}, Canary()),
        ({"canary": "10, 50%,100"}, Canary(((10, None), (50, None), (100, None)))),
        ({"bake": "90s"}, Canary(tuple((share, 1.5 * MINUTE) for share in (10, 50, 100)))),
        (
            {"canary": "50,100", "bake": "1h30m,2d", "by": "node"},
            Canary(((50, 90 * MINUTE), (100, timedelta(days=2))), CanaryUnit.NODE),
        ),
        ({"at": "2026-12-01T09:00Z"}, Scheduled(NINE)),
        ({"manual": True}, Manual()),
        (
            {"manual": True, "approvers": "leads, ops", "deadline": "2026-12-01T10:00+01:00"},
            Manual(("leads", "ops"), NINE),
        ),
        ({"immediate": True, "shadow": "2.5%"}, Immediate(shadow_percent=2.5)),
        (
            {
                "guards": ["errors=0.5%", "denies=5%", "latency=10ms", "rejections=2"],
                "min_samples": 7,
            },
            Canary(
                guards=(
                    Guard(GuardKind.ERROR_RATE, 0.005, 7),
                    Guard(GuardKind.DENY_RATE_CHANGE, 0.05, 7),
                    Guard(GuardKind.LATENCY, 0.01, 7),
                    Guard(GuardKind.REJECTIONS, 2),
                )
            ),
        ),
        ({"no_guards": ["latency"]}, Canary(guards=(Guard(GuardKind.LATENCY, disabled=True),))),
    ],
)
def test_what_is_typed_comes_to_a_plan(options: dict[str, Any], plan: RolloutPlan) -> None:
    assert plan == PlanOptions(**options).plan()


def test_a_time_may_be_told_as_how_far_ahead_it_is() -> None:
    plan = PlanOptions(at="2h").plan()

    assert isinstance(plan, Scheduled)
    assert timedelta() <= datetime.now(UTC) + 120 * MINUTE - plan.start_time < MINUTE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canary": "50,10,100"}, "that rise and end with 100"),
        ({"canary": "10,50"}, "that rise and end with 100"),
        ({"canary": "0,100"}, "that rise and end with 100"),
        ({"canary": "10,100,200"}, "that rise and end with 100"),
        ({"canary": "ten"}, "`--canary` is `ten`"),
        ({"canary": ""}, "that rise and end with 100"),
        ({"bake": "5"}, "`--bake` is `5`; write a duration such as 90s, 5m"),
        ({"bake": ""}, "write a duration"),
        ({"bake": f"{10**12}d"}, "too long"),
        ({"canary": "10,50,100", "bake": "1m,2m"}, "2 durations for 3 steps"),
        ({"by": "region"}, "`--by` is `region`; use one of `subject`, `node`"),
        ({"canary": "100", "at": "2h"}, "`--canary` and `--at` exclude each other"),
        ({"manual": True, "immediate": True}, "exclude each other"),
        ({"at": "2h", "bake": "5m"}, "`--bake` goes with `--canary`"),
        ({"approvers": "leads"}, "`--approvers` goes with `--manual`"),
        ({"manual": True, "approvers": "leads,,ops"}, "names with commas"),
        ({"at": "2026-12-01T09:00"}, "without a zone"),
        ({"at": "tomorrow"}, "2026-12-01T09:00Z"),
        ({"guards": ["error=1%"]}, "did you mean `errors`"),
        ({"guards": ["errors"]}, "such as errors=1%"),
        ({"guards": ["errors=0.01"]}, "with its sign"),
        ({"guards": ["errors=101%"]}, "from 0% to 100%"),
        ({"guards": ["latency=10"]}, "`--guard latency` is `10`"),
        ({"guards": ["rejections=-1"]}, "a number of nodes"),
        ({"guards": ["errors=1%", "errors=2%"]}, "names a guard twice"),
        ({"guards": ["errors=1%"], "no_guards": ["errors"]}, "both name errors"),
        ({"no_guards": ["latencies"]}, "did you mean `latency`"),
        ({"shadow": "0%"}, "nothing to measure"),
        ({"shadow": "half"}, "write a share"),
    ],
)
def test_what_makes_no_plan_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure) as refused:
        PlanOptions(**options).plan()

    assert message in refused.value.message
    assert ExitCode.USAGE is refused.value.code


def test_plans_are_told_to_people() -> None:
    assert "canary by subject: the server's steps" == plan_text(Canary())
    assert "canary by node: 5 % for 5m, 100 %" == plan_text(
        Canary(((5, 5 * MINUTE), (100, timedelta())), CanaryUnit.NODE)
    )
    assert plan_text(Scheduled(NINE)).startswith("all at once at 2026-12-01 ")
    assert "all at once when somebody of a or b has approved it" == plan_text(Manual(("a", "b")))
    assert "somebody other than its author" in plan_text(Manual())
    assert "does not know" in plan_text(RolloutPlan())


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0 ms"),
        (timedelta(milliseconds=1.4), "1 ms"),
        (timedelta(seconds=59), "59s"),
        (timedelta(seconds=252), "4m 12s"),
        (timedelta(hours=1, seconds=5), "1h 5s"),
        (timedelta(days=2, hours=3, minutes=4), "2d 3h"),
    ],
)
def test_durations_are_told_in_two_units(span: timedelta, text: str) -> None:
    assert text == duration_text(span)


def test_shares_are_told_as_they_were_given() -> None:
    assert ["5 %", "0.5 %", "7 %"] == [percent_text(share) for share in (5.0, 0.5, 7.000000000001)]
