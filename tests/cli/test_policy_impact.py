from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from placet.cli.replay import trying
from placet.local._published import published_sets
from placet_engine.changes import ItemSet
from tests.cli.recorded import TENANT, by, denied, lines, record, write_log
from tests.cli.shell import BIN, Result, Shell, environment, serving
from tests.cli.test_documents import write

BASE = """
@id("view") permit (principal, action == Action::"view", resource);
@id("edit") permit (principal == User::"ann", action == Action::"edit", resource);
"""
SECRET = '@id("secret") forbid (principal, action, resource == Doc::"secret");\n'


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write(tmp_path, base___a__cedar=BASE)
    return tmp_path


def impact(shell: Shell, folder: Path, candidate: str, *arguments: str) -> Result:
    """Try policies on those of the folder `base`, with the decisions of `log`."""
    write(folder, candidate___a__cedar=candidate)
    return shell("policy", "impact", "candidate", "--base", "base", *arguments)


def on_log(shell: Shell, folder: Path, candidate: str, *arguments: str) -> Result:
    return impact(shell, folder, candidate, "-t", TENANT, "--log", "log", *arguments)


# --------------------------------------------------------------------------- what is found


def test_changes_are_grouped_by_the_policy_behind_them_and_weighted(
    base: Path, shell: Shell
) -> None:
    write_log(
        base / "log",
        record("ann", "view", "secret"),
        record("bob", "view", "secret"),
        record("bob", "view", "secret", kept_one_in=10),
        record("bob", "view", "plan"),
        record("ann", "edit", "plan", reasons=[by("edit")]),
        denied("bob", "edit", "plan"),
    )
    candidate = BASE.replace('principal == User::"ann"', "principal") + SECRET

    result = on_log(shell, base, candidate)

    assert (result.code, result.err) == (6, "")
    squeezed = [" ".join(line.split()) for line in result.out.splitlines()]
    assert squeezed[0] == "the candidate: 1 policy added, 1 policy changed"
    assert "asked again 5 15 100.00%" in squeezed
    assert "answers that change 3 13 86.67%" in squeezed
    assert "ALLOW -> DENY 2 12 80.00%" in squeezed
    assert "DENY -> ALLOW 1 1 6.67%" in squeezed
    assert "secret (added) 2 requests, 12 decisions" in squeezed
    assert "11 User::bob view Doc::secret view secret" in squeezed
    assert "edit (changed) 1 request, 1 decision" in squeezed
    assert "1 User::bob edit Doc::plan no permit edit" in squeezed
    assert squeezed.index("secret (added) 2 requests, 12 decisions") < squeezed.index(
        "edit (changed) 1 request, 1 decision"
    )
    assert squeezed[-1] == "fails on any"


def test_json_has_a_shape_of_its_own(base: Path, shell: Shell) -> None:
    write_log(base / "log", record("bob", "view", "secret", context={"a": 1}), record())

    result = on_log(shell, base, BASE + SECRET, "--json")

    assert result.code == 6
    answer: dict[str, Any] = {"obligations": [], "approval_groups": [], "errors": []}
    change = {"from": "ALLOW", "to": "DENY", "what": ["outcome"]}
    one, none = {"requests": 1, "decisions": 1}, {"requests": 0, "decisions": 0}
    name = {"layer": "TENANT", "policy_id": "secret"}
    assert result.json == {
        "version": 1,
        "revision": None,
        "differing": {"policies": [{**name, "state": "added"}], "other_items": False},
        "asked": {"requests": 2, "decisions": 2},
        "requests_exact": True,
        "changed": one,
        "allows_more": none,
        "denies_more": one,
        "fails_more": none,
        "changes": [{**change, **one}],
        "policies": [
            {
                "policy": name,
                "state": "added",
                **one,
                "changes": [
                    {
                        **change,
                        **one,
                        "examples": [
                            {
                                "decisions": 1,
                                "request": {
                                    "subject": {"type": "User", "id": "bob"},
                                    "action": {"type": "Action", "name": "view"},
                                    "resource": {"type": "Doc", "id": "secret"},
                                    "context": {"a": 1},
                                },
                                "before": {
                                    "outcome": "ALLOW",
                                    "cause": "PERMITTED",
                                    "reasons": [
                                        {"layer": "TENANT", "policy_id": "view", "message": ""}
                                    ],
                                    **answer,
                                },
                                "after": {
                                    "outcome": "DENY",
                                    "cause": "FORBIDDEN",
                                    "reasons": [{**name, "message": ""}],
                                    **answer,
                                },
                            }
                        ],
                    }
                ],
            }
        ],
        "log_only": [],
        "drift": [],
        "skipped": {
            "masked": {**none, "rules": []},
            "unreadable": 0,
            "broken": {"lines": 0, "first": []},
            "other_tenants": 0,
            "other_times": 0,
        },
        "cases": {"held": 0, "broken": [], "mended": [], "failing": [], "about_others": 0},
        "confirmed": 0,
        "failed_on": ["any"],
    }


def test_the_same_policies_elsewhere_change_nothing(base: Path, shell: Shell) -> None:
    """Neither where a text stands nor its comments decide anything."""
    write_log(base / "log", record(), denied("bob", "edit"))

    result = on_log(shell, base, f"// the same\n\n{BASE}")

    assert result.code == 0
    assert "the candidate: nothing differs" in result.out
    assert result.out.endswith("no answer changes\n")


def test_an_example_can_be_asked_again(base: Path, shell: Shell) -> None:
    """What `--json` gives as a request is what `placet evaluate --file` reads."""
    entity = {
        "uid": {"type": "User", "id": "bob"},
        "attributes": {"boss": {"__entity": {"type": "User", "id": "eve"}}},
        "parents": [{"type": "Team", "id": "t"}],
        "tags": {},
    }
    write_log(base / "log", record("bob", "view", "secret", entities=[entity]))
    found = on_log(shell, base, BASE + SECRET, "--json").json
    (example,) = found["policies"][0]["changes"][0]["examples"]
    (base / "again.json").write_text(json.dumps([example["request"]]))

    # Nobody may listen on port 1: what is wrong with the file is said before.
    asked = shell("evaluate", "-t", "x", "--file", "again.json", "--address", "127.0.0.1:1")

    assert "no server answers" in asked.err


def test_examples_are_those_that_stand_for_the_most(base: Path, shell: Shell) -> None:
    asked = [record(f"u{n}", "view", "secret", kept_one_in=n) for n in range(1, 9)]
    write_log(base / "log", *asked)

    found = on_log(shell, base, BASE + SECRET, "--examples", "2", "--json").json
    none = on_log(shell, base, BASE + SECRET, "--examples", "0", "--json").json

    (change,) = found["policies"][0]["changes"]
    assert [example["decisions"] for example in change["examples"]] == [8, 7]
    assert none["policies"][0]["changes"][0]["examples"] == []


def test_a_file_goes_on_top_and_a_folder_replaces(base: Path, shell: Shell) -> None:
    write_log(base / "log", record(), record("ann", "edit", reasons=[by("edit")]))
    write(base, more__cedar=SECRET, less___a__cedar=BASE.splitlines()[1])
    rest = ("--base", "base", "-t", TENANT, "--log", "log", "--json")

    file = shell("policy", "impact", "more.cedar", *rest).json
    folder = shell("policy", "impact", "less", *rest).json
    kept = shell("policy", "impact", "less", "--no-replace", *rest).json

    states = [
        {one["policy_id"]: one["state"] for one in found["differing"]["policies"]}
        for found in (file, folder, kept)
    ]
    assert states == [{"secret": "added"}, {"edit": "removed"}, {}]
    assert [found["changed"]["decisions"] for found in (file, folder, kept)] == [0, 1, 0]


def test_entities_that_differ_change_answers_of_policies_that_do_not(
    tmp_path: Path, shell: Shell
) -> None:
    team = '@id("team") permit (principal in Team::"t", action, resource);'
    member = "entities: [{uid: 'User::ann', parents: ['Team::t']}]"
    write(tmp_path, base___a__cedar=team, base___e__yaml=member)
    write(tmp_path, candidate___e__yaml=member.replace("ann", "bob"))
    write_log(tmp_path / "log", record("ann", reasons=[by("team")]), denied("bob"))

    result = on_log(shell, tmp_path, team, "--json")

    (group,) = result.json["policies"]
    assert (group["policy"]["policy_id"], group["state"]) == ("team", "unchanged")
    assert result.json["differing"] == {"policies": [], "other_items": True}
    ways = {(one["from"], one["to"]): one["decisions"] for one in result.json["changes"]}
    assert ways == {("ALLOW", "DENY"): 1, ("DENY", "ALLOW"): 1}


def test_a_schema_that_refuses_requests_is_no_policy(base: Path, shell: Shell) -> None:
    schema = (
        "entity User; entity Doc; action view, edit appliesTo {principal: User, resource: Doc};"
    )
    write_log(base / "log", record(), record(context={"odd": 1}))
    write(base, candidate___s__cedarschema=schema)

    result = on_log(shell, base, BASE, "--fail-on", "errors")

    assert result.code == 6
    assert "ALLOW -> NO ANSWER" in result.out
    assert "no policy: the schema or the settings  1 request, 1 decision" in result.out
    assert "request refused" in result.out


def test_what_changed_since_is_told_apart_from_what_would_change(base: Path, shell: Shell) -> None:
    write_log(base / "log", record(), denied("bob", "view"), record("ann", reasons=[by("old")]))

    result = on_log(shell, base, BASE)

    assert result.code == 0
    assert "2 decisions would come out otherwise already without the candidate" in result.out
    assert "  DENY -> ALLOW  1\n" in result.out
    assert "  ALLOW, other reasons, obligations or errors  1\n" in result.out


def test_what_policies_say_to_people_is_part_of_the_answer(base: Path, shell: Shell) -> None:
    write_log(base / "log", record())

    result = on_log(shell, base, BASE.replace('@id("view")', '@id("view") @reason("look!")'))

    assert result.code == 6
    assert "ALLOW, other messages" in result.out
    assert "view look!" in " ".join(result.out.split())


def test_an_approval_that_was_given_is_given_again(base: Path, shell: Shell) -> None:
    asks = '@id("edit") @approval("leads") permit (principal, action == Action::"edit", resource);'
    write(base, base___a__cedar=asks)
    approved = record("ann", "edit", cause="APPROVED", reasons=[by("edit")])
    waiting = {**approved, "outcome": "REQUIRES_APPROVAL", "cause": "APPROVAL_NEEDED"}
    write_log(base / "log", approved, waiting)

    result = on_log(shell, base, asks.replace("leads", "chiefs"), "--json")

    assert result.json["drift"] == []
    assert result.json["asked"] == {"requests": 2, "decisions": 2}
    (only,) = result.json["changes"]
    assert (only["from"], only["to"], only["what"]) == (
        *("REQUIRES_APPROVAL", "REQUIRES_APPROVAL"),
        ["approval_groups"],
    )


def test_log_only_policies_of_the_candidate_are_reported_and_change_nothing(
    base: Path, shell: Shell
) -> None:
    write_log(base / "log", record("bob", "view", "secret"), record())

    result = on_log(shell, base, BASE + SECRET.replace(")", ') @mode("log_only")', 1))

    assert result.code == 0
    assert "log-only: would change, but does not count" in result.out
    assert "secret" in result.out
    assert "ALLOW -> DENY  " in result.out


# -------------------------------------------------------------------------------- exit codes

LAXER = BASE.replace('principal == User::"ann"', "principal")
STRICTER = BASE + SECRET
OBLIGED = BASE.replace('@id("view")', '@id("view") @obligation("sign")')
FAILING = BASE + '@id("broken") permit (principal, action, resource) when { resource.none };'
RENAMED = BASE.replace('"view") permit', '"look") permit')


@pytest.mark.parametrize(
    ("candidate", "stops"),
    [
        (BASE, set()),
        (RENAMED, {"any"}),
        (LAXER, {"any", "more-allows"}),
        (STRICTER, {"any", "more-denies"}),
        (OBLIGED, {"any", "more-denies"}),
        (FAILING, {"any", "errors"}),
    ],
    ids=["same", "renamed", "laxer", "stricter", "obliged", "failing"],
)
def test_pipelines_stop_for_what_they_want_to(
    base: Path, shell: Shell, candidate: str, stops: set[str]
) -> None:
    write_log(
        base / "log", record("ann", "view", "secret"), denied("bob", "edit", "plan"), record()
    )
    known = ("any", "more-allows", "more-denies", "errors", "none")

    codes = {name: on_log(shell, base, candidate, "--fail-on", name).code for name in known}

    assert codes == {name: 6 if name in stops else 0 for name in known}


def test_less_to_oblige_to_is_more_that_is_allowed(base: Path, shell: Shell) -> None:
    write_log(base / "log", record())
    write(base, base___a__cedar=OBLIGED)

    assert on_log(shell, base, BASE, "--fail-on", "more-allows").code == 6
    assert on_log(shell, base, BASE, "--fail-on", "more-denies").code == 0


def test_what_cannot_be_replayed_stops_a_pipeline_that_asks(base: Path, shell: Shell) -> None:
    write_log(base / "log", record(), record(masked=["subject.id"]))

    lenient = on_log(shell, base, BASE)
    strict = on_log(shell, base, BASE, "--fail-on", "skipped", "--fail-on", "any", "--json")

    assert lenient.code == 0
    assert "subject.id: 1 decision" in lenient.err
    assert strict.code == 1
    assert strict.json["failed_on"] == ["skipped"]


@pytest.mark.parametrize(
    "documents",
    [[], [record(tenant="other")], [record(masked=["subject"], subject="***")]],
    ids=["empty", "of others", "masked"],
)
def test_nothing_to_go_by_is_no_proof(
    base: Path, shell: Shell, documents: list[dict[str, Any]]
) -> None:
    write_log(base / "log", *documents)

    result = on_log(shell, base, BASE, "--fail-on", "none")

    assert result.code == 1
    assert "nothing could be tried" in result.err


def test_a_candidate_that_does_not_compile_is_quoted(base: Path, shell: Shell) -> None:
    write_log(base / "log", record())

    result = on_log(shell, base, "permit (principal, action, resorce);")

    assert (result.code, result.out) == (1, "")
    assert "candidate/a.cedar:1:" in result.err


# ------------------------------------------------------------------------------- the records


def test_a_log_is_read_with_its_rotated_files_and_what_is_no_record_is_named(
    base: Path, shell: Shell
) -> None:
    write_log(base / "log.1", record("bob"), record("bob", tenant="other"))
    (base / "log.2.gz").write_bytes(gzip.compress(lines([record("eve")])))
    (base / "log").write_bytes(
        lines([record()]) + b"{}\nno json\n" + b"[" * 99_999 + b"\n" + lines([record()])[:-1]
    )

    result = on_log(shell, base, BASE, "--json")
    told = on_log(shell, base, BASE)

    assert result.json["asked"] == {"requests": 3, "decisions": 3}
    skipped = result.json["skipped"]
    assert (skipped["broken"]["lines"], skipped["other_tenants"]) == (4, 1)
    first, second, deep, third = skipped["broken"]["first"]
    assert first.startswith("log:2: is of version `None`")
    assert second.startswith("log:3: is no JSON")
    assert deep.startswith("log:4: is no JSON: ")
    assert third == "log:5: has no end, as a crash leaves it"
    assert "4 lines are no decision record\n  log:2: " in told.err
    assert "1 record is of other tenants" in told.err


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_log_may_come_on_standard_input(
    base: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, compress: Any
) -> None:
    piped = io.BytesIO(compress(lines([record(), record("bob")])))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(piped)))

    result = impact(shell, base, BASE, "-t", TENANT, "--log", "-", "--json")

    assert result.json["asked"]["decisions"] == 2


def test_records_can_be_chosen_by_time_and_number(base: Path, shell: Shell) -> None:
    times = [f"2026-03-0{day}T12:00:00+00:00" for day in range(1, 6)]
    write_log(base / "log", *(record(time=time) for time in times))

    def asked(*arguments: str) -> tuple[int, int]:
        found = on_log(shell, base, BASE, "--json", *arguments).json
        return found["asked"]["decisions"], found["skipped"]["other_times"]

    assert asked("--since", "2026-03-02T12:00:00Z", "--until", "2026-03-04T12:00:00Z") == (2, 3)
    assert asked("--since", "9999w") == (5, 0)
    assert asked("--limit", "2") == (2, 0)


def test_a_request_no_server_would_take_is_counted(base: Path, shell: Shell) -> None:
    write_log(
        base / "log",
        record(),
        record(subject="x" * 5000),
        record(context={"half": 0.5}),
        record(kept_one_in=float("inf")),
        record(resource="y", entities=["odd"], reasons=["odd"]),
    )

    result = on_log(shell, base, BASE, "--json")

    assert result.json["asked"]["decisions"] == 1
    assert result.json["skipped"]["unreadable"] == 4


def test_a_large_log_takes_no_more_memory_than_a_small_one(base: Path) -> None:
    """100,000 records of 2,000 requests, in a process of its own: only so its peak can be seen."""
    chunk = [record(f"u{n % 50}", "view" if n % 3 else "edit", f"d{n % 40}") for n in range(2000)]
    write(base, candidate___a__cedar=STRICTER)
    (base / "small").write_bytes(lines(chunk))
    (base / "large").write_bytes(lines(chunk) * 50)

    def run(log: str) -> tuple[str, int]:
        arguments = ["candidate", "--base", "base", "-t", TENANT, "--log", log, "--json"]
        with subprocess.Popen(
            [str(BIN / "placet"), "policy", "impact", *arguments],
            cwd=base,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            out = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, out
        # In KiB; bytes on macOS.
        return out, usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)

    (small, small_kib), (large, large_kib) = run("small"), run("large")

    assert '"decisions": 2000}' in small
    assert '"decisions": 100000}' in large
    assert large_kib - small_kib < 16 * 1024


# ------------------------------------------------------------------------------------- cases

CASES = """
cases:
  - {name: kept, subject: User::ann, action: view, resource: Doc::plan, expect: ALLOW}
  - {name: lost, subject: User::ann, action: view, resource: Doc::secret, expect: ALLOW}
  - {name: gained, subject: User::bob, action: view, resource: Doc::secret, expect: DENY}
  - {name: wrong, subject: User::bob, action: edit, resource: Doc::plan, expect: ALLOW}
"""


def test_cases_that_held_and_would_fail_are_shown(base: Path, shell: Shell) -> None:
    write(base, tests___c__yaml=CASES)

    result = impact(shell, base, STRICTER, "--cases", "tests")
    as_json = impact(shell, base, STRICTER, "--cases", "tests", "--json").json["cases"]

    assert result.code == 6
    assert "FAIL lost\n  tests/c.yaml:4:" in result.out
    assert "    - ALLOW\n    + DENY\n" in result.out
    assert "pass gained  tests/c.yaml" in result.out
    assert (
        "4 cases: 1 hold, 1 hold today and would fail, 1 fail today and would hold, "
        "1 fail either way\n"
    ) in result.out
    assert as_json["held"] == 1
    assert [case["name"] for case in as_json["broken"]] == ["lost"]
    assert [case["name"] for case in as_json["mended"]] == ["gained"]
    assert [case["name"] for case in as_json["failing"]] == ["wrong"]


@pytest.mark.parametrize(
    ("fail_on", "code"), [("more-denies", 6), ("more-allows", 0), ("errors", 0), ("none", 0)]
)
def test_cases_stop_a_pipeline_as_decisions_do(
    base: Path, shell: Shell, fail_on: str, code: int
) -> None:
    write(base, tests___c__yaml=CASES)

    assert impact(shell, base, STRICTER, "--cases", "tests", "--fail-on", fail_on).code == code


def test_a_file_of_cases_brings_what_it_needs(base: Path, shell: Shell) -> None:
    """Entities go on top of both versions; policies of its own are not the candidate's."""
    write(
        base,
        tests___a__yaml="entities: [{uid: 'User::bob', parents: ['Team::t']}]\n"
        "cases: [{name: n, subject: 'User::bob', action: view, resource: 'Doc::d', expect: ALLOW}]",
        tests___b__yaml="policies: [{id: p, cedar: 'permit (principal, action, resource);'}]\n"
        "cases: [{name: n, subject: 'U::u', action: view, resource: 'D::d', expect: ALLOW}]",
    )
    no_team = '@id("no") forbid (principal in Team::"t", action, resource);'

    found = impact(shell, base, BASE + no_team, "--cases", "tests", "--json").json["cases"]

    assert (len(found["broken"]), found["held"], found["about_others"]) == (1, 0, 1)


# --------------------------------------------------------------------------------- a server


def test_a_real_log_is_tried_on_a_real_server(base: Path, shell: Shell) -> None:
    (base / "placet.toml").write_text(
        '[telemetry]\ndecision_log = "file"\ndecision_log_path = "log"\n'
        'decision_log_max_bytes = 4000\ndecision_log_mask = ["context.ssn", "context.level"]\n'
    )
    write(base, candidate___a__cedar=STRICTER)
    asked = [
        {"subject": f"User::{user}", "action": action, "resource": f"Doc::{doc}", "context": extra}
        for user in ("ann", "bob")
        for action in ("view", "edit")
        for doc in ("plan", "secret")
        for extra in ({}, {"ssn": "1-2"}, {"level": 3})
    ]
    (base / "requests.jsonl").write_bytes(lines(asked))
    answers = []
    # What the second run writes does not fit below what the first has written.
    for _ in range(2):
        with serving(base) as (address, process):
            server = ("-t", TENANT, "--address", address)
            assert shell("policy", "push", "base", *server).code == 0
            answers = shell("evaluate", "--file", "requests.jsonl", "--json", *server).lines
            assert process.end().code == 0
    assert (base / "log.1").exists()

    with serving(base) as (address, process):
        server = ("-t", TENANT, "--address", address)
        common = ("--log", "log", "--json", *server)
        same = shell("policy", "impact", "base", "--server", *common)
        found = shell("policy", "impact", "candidate", "--server", *common)
        reads = (
            BASE + '@id("level") forbid (principal, action, resource) when { context has level };'
        )
        write(base, masked___a__cedar=reads)
        masked = shell("policy", "impact", "masked", "--server", *common)
        # What was reported is what comes true.
        shell("policy", "push", "candidate", *server)
        then = shell("evaluate", "--file", "requests.jsonl", "--json", *server).lines
        process.end()

    assert same.code == 0
    assert same.json["asked"]["decisions"] == 2 * len(asked)
    assert (same.json["changed"]["decisions"], same.json["drift"]) == (0, [])
    pairs = list(zip(answers, then, strict=True))
    denied_now = sum(one["outcome"] != two["outcome"] for one, two in pairs)
    changed = sum(
        any(one[part] != two[part] for part in ("outcome", "cause", "reasons"))
        for one, two in pairs
    )
    assert found.code == 6
    assert found.json["revision"] == 1
    assert found.json["denies_more"]["decisions"] == 2 * denied_now > 0
    assert found.json["changed"]["decisions"] == 2 * changed > 2 * denied_now
    assert found.json["confirmed"] > 0
    assert masked.json["skipped"]["masked"]["rules"] == [
        {"rule": "context.level", "decisions": 2 * len(asked) // 3}
    ]
    assert masked.json["asked"]["decisions"] == 2 * len(asked) * 2 // 3


def test_a_platform_s_candidate_is_tried_on_a_tenant(
    base: Path, at_server: Shell, tenant: str
) -> None:
    at_server("policy", "push", "base")
    write(base, candidate___a__cedar=SECRET)
    write_log(base / "log", record("ann", "view", "secret", tenant=tenant), record(tenant=tenant))

    result = at_server(
        *("policy", "impact", "candidate/a.cedar", "--server", "--platform"),
        *("--log", "log", "--json"),
    )

    (group,) = result.json["policies"]
    assert group["policy"] == {"layer": "PLATFORM", "policy_id": "secret"}
    assert result.json["changed"]["decisions"] == 1
    # An example, and a sample of both.
    assert result.json["confirmed"] == 3


def test_a_tenant_that_is_not_there_is_told(base: Path, at_server: Shell, tenant: str) -> None:
    write_log(base / "log", record(tenant=tenant))

    result = at_server("policy", "impact", "base", "--server", "--log", "log")

    assert result.code == 1
    assert f"tenant `{tenant}` is not known" in result.err


def test_a_candidate_the_server_refuses_is_quoted(base: Path, at_server: Shell) -> None:
    at_server("policy", "push", "base")
    write(base, candidate___a__cedar="permit (principal, action, resorce);")
    write_log(base / "log", record())

    result = at_server("policy", "impact", "candidate", "--server", "--log", "log")

    assert (result.code, result.out) == (1, "")
    assert "candidate/a.cedar:1:" in result.err


def test_a_server_is_not_asked_about_a_permit_that_cannot_be_sent_again(
    base: Path, at_server: Shell, tenant: str
) -> None:
    asks = '@id("edit") @approval("leads") permit (principal, action == Action::"edit", resource);'
    write(base, base___a__cedar=asks, candidate___a__cedar=BASE)
    at_server("policy", "push", "base")
    approved = record("bob", "edit", cause="APPROVED", reasons=[by("edit")], tenant=tenant)
    write_log(base / "log", approved)

    result = at_server("policy", "impact", "candidate", "--server", "--log", "log", "--json")

    assert result.code == 6
    assert (result.json["changed"]["decisions"], result.json["confirmed"]) == (1, 0)


def test_a_server_that_answers_otherwise_is_not_passed_over(
    base: Path, at_server: Shell, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of another release might: what was found here would be worth nothing."""
    at_server("policy", "push", "base")
    write(base, candidate___a__cedar=STRICTER)
    write_log(base / "log", record("ann", "view", "secret", tenant=tenant))

    def without_view(address: str, *, tenant: str, **options: Any) -> tuple[ItemSet, ItemSet]:
        platform, own = published_sets(address, tenant=tenant, **options)
        left = {key: item for key, item in own.items.items() if key.id != "view"}
        return platform, ItemSet(owner=tenant, revision=own.revision, items=left)

    monkeypatch.setattr(trying, "published_sets", without_view)

    result = at_server("policy", "impact", "candidate", "--server", "--log", "log")

    assert result.code == 1
    assert "the server answers 2 of 2 requests otherwise than this release does" in result.err


def test_progress_is_for_terminals(
    base: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(base / "log", *(record() for _ in range(2000)))

    assert on_log(shell, base, BASE).err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "replaying" in on_log(shell, base, BASE).err
