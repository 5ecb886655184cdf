"""The parts of replaying that are easier to see by themselves than through the command."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from placet.cli.contents import Documents
from placet.cli.failures import Failure
from placet.cli.replay import recordings
from placet.cli.replay.answers import NO_ANSWER, Answer, change, responsible
from placet.cli.replay.impact import Impact
from placet.cli.replay.log_only import Leading
from placet.cli.replay.masks import hidden_in
from placet.cli.replay.names import PolicyName
from placet.cli.replay.reading import wanted_records
from placet.cli.replay.recordings import Recordings, Wanted
from placet.cli.replay.replaying import Replay
from placet.cli.replay.versions import Compiling, Sets, Versions
from placet_engine.items import PLATFORM, SchemaText
from placet_engine.program import Question
from placet_server.telemetry.decision_log.masking import Masker, MaskMode
from placet_server.telemetry.decision_log.records import DecisionRecord
from tests.cli.recorded import TENANT, lines, record, write_log
from tests.unit.engine import make

# ----------------------------------------------------------------- which policies are behind it


def name(policy_id: str) -> PolicyName:
    return PolicyName("TENANT", policy_id)


def answer(outcome: str, cause: str, *reasons: str, errors: tuple[str, ...] = ()) -> Answer:
    return Answer(outcome, cause, tuple(map(name, reasons)), errors=tuple(map(name, errors)))


NO_PERMIT = answer("DENY", "NO_PERMIT")


def allowed(*reasons: str) -> Answer:
    return answer("ALLOW", "PERMITTED", *reasons)


def forbidden(*reasons: str) -> Answer:
    return answer("DENY", "FORBIDDEN", *reasons)


def waiting(*reasons: str) -> Answer:
    return answer("REQUIRES_APPROVAL", "APPROVAL_NEEDED", *reasons)


@pytest.mark.parametrize(
    ("before", "after", "edited", "expected"),
    [
        pytest.param(allowed("p"), forbidden("f"), "f", "f", id="a forbid came"),
        pytest.param(allowed("p"), forbidden("f"), "f p", "f", id="and its permit went"),
        pytest.param(forbidden("f"), allowed("p"), "f", "f", id="a forbid went"),
        pytest.param(forbidden("f"), allowed("p"), "", "f", id="went by itself"),
        pytest.param(forbidden("f"), allowed("p"), "p f", "f", id="and a permit came"),
        pytest.param(NO_PERMIT, allowed("p"), "p", "p", id="a permit came"),
        pytest.param(allowed("p"), NO_PERMIT, "p", "p", id="a permit went"),
        pytest.param(allowed("p"), NO_PERMIT, "", "p", id="matches no more"),
        pytest.param(allowed("p"), waiting("q"), "p", "p", id="the free permit went"),
        pytest.param(waiting("q"), allowed("p"), "p", "p", id="a free permit came"),
        pytest.param(allowed("p"), waiting("p"), "p", "p", id="it asks for an approval now"),
        pytest.param(allowed("p"), allowed("q"), "p q", "p q", id="renamed"),
        pytest.param(allowed("p", "q"), allowed("q"), "p", "p", id="one reason fewer"),
        pytest.param(forbidden("f"), forbidden("f", "g"), "g", "g", id="forbidden twice"),
        pytest.param(
            allowed("p"),
            answer("DENY", "FORBID_ERROR", errors=("f",)),
            "f",
            "f",
            id="a forbid fails",
        ),
        pytest.param(
            NO_PERMIT, answer("DENY", "NO_PERMIT", errors=("p",)), "p", "p", id="a permit fails"
        ),
        pytest.param(allowed("p"), Answer(NO_ANSWER, "REQUEST_REFUSED"), "p", "", id="refused"),
    ],
)
def test_the_policies_behind_a_change(
    before: Answer, after: Answer, edited: str, expected: str
) -> None:
    found = responsible(before, after, set(map(name, edited.split())))

    assert [one.policy_id for one in found] == expected.split()


def test_what_differs_is_named_part_by_part() -> None:
    plain = allowed("p")

    def what(after: Answer) -> tuple[str, ...]:
        found = change(plain, after, {})
        return found.what if found is not None else ()

    assert what(plain) == ()
    assert what(plain._replace(messages=("other",))) == ("messages",)
    assert what(plain._replace(obligations=("sign",))) == ("obligations",)
    assert what(plain._replace(errors=(name("e"),))) == ("errors",)
    assert what(allowed("q")._replace(errors=(name("e"),))) == ("errors", "reasons")
    assert what(waiting("p")._replace(errors=(name("e"),))) == ("outcome",)


@pytest.mark.parametrize(
    ("before", "after", "more", "less"),
    [
        (NO_PERMIT, allowed("p"), True, False),
        (NO_PERMIT, waiting("p"), True, False),
        (waiting("p"), allowed("p"), True, False),
        (allowed("p"), waiting("p"), False, True),
        (allowed("p")._replace(obligations=("a",)), allowed("p"), True, False),
        (allowed("p"), allowed("p")._replace(obligations=("a",)), False, True),
        (NO_PERMIT, forbidden("f"), False, False),
        (NO_PERMIT, Answer(NO_ANSWER, "EMPTY_ID"), False, False),
        (allowed("p"), Answer(NO_ANSWER, "EMPTY_ID"), False, True),
    ],
)
def test_what_counts_as_allowing_more(
    before: Answer, after: Answer, more: bool, less: bool
) -> None:
    found = change(before, after, {})

    assert found is not None
    assert (found.allows_more, found.denies_more) == (more, less)


# -------------------------------------------------------------------------------------- masks

READS = """
permit(principal, action, resource) when { context.level > 1 && resource.owner == principal };
forbid(principal, action, resource) when { principal.hasTag("x") };
"""


def masked(rule: str, mode: MaskMode, **fields: Any) -> DecisionRecord:
    """Return a record as a server writes it that masks by a rule."""
    document = copy.deepcopy({**record(), **fields})
    document["masked"] = Masker([rule], mode, salt=b"s").mask(document)
    assert document["masked"]
    return DecisionRecord.from_json(document)


FILLED: dict[str, Any] = {
    "context": {"level": 3, "ssn": "1-2"},
    "resource": {
        "type": "Doc",
        "id": "plan",
        "properties": {"owner": {"__entity": {"type": "User", "id": "ann"}}, "size": 3},
    },
    "entities": [
        {
            "uid": {"type": "User", "id": "ann"},
            "attributes": {"age": 3},
            "parents": [],
            "tags": {"x": "y"},
        }
    ],
}


@pytest.mark.parametrize("mode", list(MaskMode))
@pytest.mark.parametrize(
    ("rule", "is_read"),
    [
        ("context.ssn", False),
        ("context.level", True),
        ("context", True),
        ("context.*", True),
        ("resource.properties.size", False),
        ("resource.properties.owner", True),
        ("resource.properties", True),
        ("resource.properties.*", True),
        ("entities.*.attributes.age", False),
        ("entities.*.tags.x", True),
        ("entities.*.parents", True),
        ("entities", True),
        ("entities.0", True),
        ("subject.id", True),
        ("subject", True),
        ("action.name", True),
    ],
)
def test_a_mask_matters_where_policies_read(mode: MaskMode, rule: str, is_read: bool) -> None:
    found = masked(rule, mode, **FILLED)

    (hidden,) = hidden_in(found)
    impact = replayed(READS, READS, [found])
    kept_from = {rule: 1} if is_read else {}
    assert hidden.rule == rule
    assert impact.masked == kept_from
    assert impact.count.decisions == (0 if is_read else 1)
    assert impact.changed.decisions == 0


def test_names_that_are_left_say_what_was_masked() -> None:
    """`properties.*` leaves the names, unless it drops them: then it may have been any."""
    properties = {"type": "Doc", "id": "plan", "properties": {"size": 3}}

    kept = masked("resource.properties.*", MaskMode.REPLACE, resource=properties)
    dropped = masked("resource.properties.*", MaskMode.DROP, resource=properties)

    assert replayed(READS, READS, [kept]).masked == {}
    assert replayed(READS, READS, [dropped]).masked == {"resource.properties.*": 1}


def test_a_policy_the_candidate_brings_reads_as_well() -> None:
    found = masked("context.ssn", MaskMode.REPLACE, **FILLED)
    candidate = READS + 'forbid(principal, action, resource) when { context.ssn == "1-2" };'

    assert replayed(READS, candidate, [found]).masked == {"context.ssn": 1}


def test_a_request_refused_with_a_mask_is_not_taken_for_refused() -> None:
    """`***` is no number: the schema refuses it, and would not have refused what was sent."""
    schema = """entity User; entity Doc;
    action view appliesTo {principal: User, resource: Doc, context: {size: Long}};"""
    found = masked("context.size", MaskMode.REPLACE, context={"size": 3})
    text = "permit(principal, action, resource);"

    assert replayed(text, text, [found], schema=schema).masked == {"context.size": 1}


# ---------------------------------------------------------------------------------- replaying


def versions(stable: str, candidate: str, schema: str = "") -> Versions:
    compiling = Compiling()
    made = [
        compiling.version(
            Sets(
                make.item_set(PLATFORM, []),
                make.item_set(
                    TENANT, [*make.policies(text), *([SchemaText(schema)] if schema else [])]
                ),
            ),
            Documents(),
        )
        for text in (stable, candidate)
    ]
    return Versions(*made)


def replayed(
    stable: str,
    candidate: str,
    records: list[DecisionRecord],
    *,
    schema: str = "",
    max_remembered: int = 100,
) -> Impact:
    impact = Impact()
    replay = Replay(versions(stable, candidate, schema), impact, max_remembered=max_remembered)
    for one in records:
        replay.take(one)
    return impact


def test_more_requests_than_can_be_known_again_are_still_counted_right() -> None:
    view = '@id("view") permit(principal, action, resource);'
    no = '@id("no") forbid(principal == User::"u7", action, resource);'
    asked = [DecisionRecord.from_json(record(f"u{n % 20}")) for n in range(200)]

    impact = replayed(view, view + no, asked, max_remembered=5)
    exact = replayed(view, view + no, asked)

    assert (exact.count.requests, exact.count.decisions) == (20, 200)
    assert (exact.changed.requests, exact.changed.decisions) == (1, 10)
    assert (impact.count.decisions, impact.changed.decisions) == (200, 10)
    assert exact.requests_are_exact
    assert not impact.requests_are_exact
    assert impact.count.requests == 200


def test_what_no_policy_looks_at_is_decided_once() -> None:
    """A trace id in the context makes every request another one, and costs nothing."""
    view = "permit(principal, action, resource) when { context.ok };"
    found = versions(view, view.replace("permit", "forbid"))
    impact = Impact()
    replay = Replay(found, impact)
    asked: list[int] = []
    judge = found.stable.answer

    def counting(questions: list[Question]) -> Any:
        asked.append(len(questions))
        return judge(questions)

    found.stable.answer = counting  # type: ignore[method-assign, assignment]
    for number in range(50):
        context = {"ok": True, "trace": f"{number}"}
        replay.take(DecisionRecord.from_json(record(context=context)))

    assert asked == [1]
    assert impact.changed.requests == 50


def test_one_and_true_are_not_the_same_request() -> None:
    impact = replayed(
        "permit(principal, action, resource) when { context.a == 1 };",
        "permit(principal, action, resource) when { context.a == true };",
        [DecisionRecord.from_json(record(context={"a": value})) for value in (1, True)],
    )

    ways = {(before, after) for before, after, _ in impact.ways}
    assert ways == {("ALLOW", "DENY"), ("DENY", "ALLOW")}


# ------------------------------------------------------------------------------------- reading


def test_a_line_without_end_is_passed_over_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "MAX_LINE_BYTES", 2000)
    good = lines([record()])
    (tmp_path / "log").write_bytes(good + b"x" * 9000 + b"\n" + good)

    found = Recordings([str(tmp_path / "log")], Wanted(tenant=TENANT))

    assert len(list(found.read())) == 2
    assert found.passed_over.broken_named == [f"{tmp_path / 'log'}:2: is longer than 2,000 bytes"]


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-20], lambda data: data[:200] + b"spoilt" + data[206:]]
)
def test_a_compressed_file_that_is_cut_off_or_spoilt_is_read_as_far_as_it_goes(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    whole = gzip.compress(lines(record(f"{n * 7919 % 1000}") for n in range(5000)))
    (tmp_path / "log.1.gz").write_bytes(spoil(whole))
    write_log(tmp_path / "log", record("last"))

    found = Recordings([str(tmp_path / "log")], Wanted(tenant=TENANT))
    read = [one.subject["id"] for one in found.read()]

    assert read[-1] == "last"
    assert len(read) < 5001
    assert "cannot be read from there on: " in found.passed_over.broken_named[-1]


def test_progress_adds_up_to_the_files(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", *(record(f"u{n}") for n in range(1000)))
    done: list[int] = []

    found = Recordings([str(log)], Wanted(tenant=TENANT))
    list(found.read(done.append))

    assert sum(done) == found.total_bytes == log.stat().st_size
    assert len(done) > 1


@pytest.mark.parametrize("text", ["soon", "3 days", "2026-13-01", "99999999999999999999w"])
def test_a_time_that_is_none_is_told(text: str) -> None:
    with pytest.raises(Failure, match="`--since` is `"):
        wanted_records(TENANT, text, None, None)


def test_times_with_and_without_a_zone() -> None:
    wanted = wanted_records(TENANT, "2026-03-01T12:00:00+02:00", "2026-03-02", None)

    assert wanted.since == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert wanted.until == datetime(2026, 3, 2).astimezone(UTC)


def test_the_most_frequent_are_kept_of_any_number() -> None:
    leading = Leading()
    for number in range(10_000):
        leading.add(f"rare {number}", 1)
        leading.add("often", 1)

    assert leading.top(1) == [("often", 10_000)]
    assert not leading.is_exact


def test_a_record_may_lack_what_was_masked_as_a_whole() -> None:
    document = record(by="nobody")
    document["masked"] = Masker(["context", "entities"], MaskMode.DROP).mask(document)

    found = DecisionRecord.from_json(document)

    assert (found.context, found.entities) == ({}, [])
