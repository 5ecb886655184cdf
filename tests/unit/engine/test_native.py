"""The native path: where it is used, what it leaves alone, and what it is built of."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from typing import Any

import pytest

from placet_engine import native
from placet_engine.items import Policy, SchemaText
from placet_engine.model import Entity, EntityUid, Outcome, Request, Undecidable, Verdict
from placet_engine.program import Program, Question
from requirements import crates
from tests.unit.engine import make

needs_extension = pytest.mark.skipif(
    native.INSTALLED is None, reason="the native path is not installed: `make native` builds it"
)


def asked(program: Program, request: Request) -> Question:
    question = program.question(request)
    assert isinstance(question, Question)
    return question


def judged_by_cedarpy(patch: pytest.MonkeyPatch) -> list[object]:
    """Note what the binding is asked from now on."""
    import cedarpy

    calls: list[object] = []
    real = cedarpy.is_authorized_batch

    def noting(*arguments: Any) -> Any:
        calls.append(arguments)
        return real(*arguments)

    patch.setattr(cedarpy, "is_authorized_batch", noting)
    return calls


# ------------------------------------------------------------------------- where it is used


def _path(setting: str) -> str:
    program = "from placet_engine import native; print(native.path())"
    command = [sys.executable, "-c", program]
    environment = {native.VARIABLE: setting}
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_variable_turns_it_off() -> None:
    assert _path("off") == "python"
    assert _path("on") == ("python" if native.INSTALLED is None else "native")


@needs_extension
def test_it_is_not_asked_while_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = judged_by_cedarpy(monkeypatch)
    program = make.program(*make.policies(make.ANYBODY))

    with native.switched(on=True):
        natively = program.judge(make.request())
    assert not calls
    with native.switched(on=False):
        assert native.path() == "python"
        assert program.judge(make.request()) == natively
    assert len(calls) == 1


@needs_extension
def test_an_extension_of_another_time_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.INSTALLED, "INTERFACE", 0)

    assert native._installed() is None


# ---------------------------------------------------------------------- what it leaves alone


@needs_extension
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1.5, id="a float"),
        pytest.param(None, id="null"),
        pytest.param(2**63, id="too large a number"),
        pytest.param("\ud800", id="half a character"),
        pytest.param("x" * 20_000, id="a long text"),
        pytest.param({"__extn": {"fn": "offset", "args": []}}, id="a call with arguments"),
        pytest.param({"__extn": {"fn": "unknown", "arg": "x"}}, id="no constructor"),
        pytest.param({"__extn": {"fn": "ip", "arg": "::1"}, "a": 1}, id="a call and more"),
        pytest.param({"__entity": {"type": "User", "id": ""}}, id="an empty id"),
        pytest.param({"__entity": {"type": "9", "id": "a"}}, id="no type"),
        pytest.param({"__expr": "1"}, id="an expression"),
        pytest.param({"a": {"__expr": "1"}}, id="an expression within"),
        pytest.param([[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]], id="too deep"),
        pytest.param(list(range(5000)), id="a large set"),
        pytest.param({str(number): 1 for number in range(600)}, id="a large record"),
        pytest.param({1: 1}, id="a name that is none"),
        pytest.param(object(), id="something else"),
    ],
)
def test_odd_values_are_left_alone(value: Any) -> None:
    """In a context, in an attribute, in a tag."""
    assert native.INSTALLED is not None
    read = native.INSTALLED.read_model

    assert read(make.request(context={"v": "ordinary"})) is not None
    assert read(make.request(context={"v": value})) is None
    for entity in (
        make.entity("User::ann", {"v": value}),
        make.entity("Doc::a", tags={"v": value}),
    ):
        assert read(make.request(entities=[entity])) is None


@needs_extension
def test_odd_names_are_left_alone() -> None:
    assert native.INSTALLED is not None
    read = native.INSTALLED.read_model

    for odd in (EntityUid("User", ""), EntityUid("no type", "a"), EntityUid("User", "\udfff")):
        assert read(make.request()) is not None
        assert read(Request(subject=odd, action=odd, resource=odd)) is None
        entity = Entity(uid=EntityUid("User", "ann"), parents=(odd,))
        assert read(make.request(entities=[entity])) is None


@needs_extension
def test_what_a_schema_is_about_is_pythons() -> None:
    schema = 'entity User, Doc; action "view" appliesTo { principal: User, resource: Doc };'
    program = make.program(*make.policies(make.ANYBODY), SchemaText(schema))

    with native.switched(on=True):
        assert asked(program, make.request()).asked is None


@needs_extension
def test_a_policy_that_fails_is_told_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = judged_by_cedarpy(monkeypatch)
    program = make.program(
        Policy(id="p", cedar="permit(principal, action, resource) when { context.n + 1 > 0 };")
    )

    with native.switched(on=True):
        verdict = program.judge(make.request(context={"n": 2**63 - 1}))

    assert isinstance(verdict, Verdict)
    assert len(calls) == 1
    assert "overflow" in verdict.errors[0].message


@needs_extension
def test_log_only_policies_are_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = judged_by_cedarpy(monkeypatch)
    shadow = '@mode("log_only") forbid(principal, action, resource);'
    program = make.program(*make.policies(make.ANYBODY + shadow))

    with native.switched(on=True):
        verdict = program.judge(make.request())

    assert isinstance(verdict, Verdict)
    assert verdict.log_only is not None
    assert len(calls) == 2


@needs_extension
@pytest.mark.parametrize(
    "entities",
    [
        pytest.param([make.entity("Action::view", parents=["Doc::a"])], id="an action in a doc"),
        pytest.param(
            [
                make.entity("User::ann", parents=["User::bob"]),
                make.entity("User::bob", parents=["User::ann"]),
            ],
            id="a circle",
        ),
        pytest.param(
            [make.entity("User::ann", {"ip": {"__extn": {"fn": "ip", "arg": "x"}}})],
            id="no address",
        ),
    ],
)
def test_entities_that_cedar_refuses_are_refused(entities: list[Entity]) -> None:
    program = make.program(*make.policies(make.ANYBODY))

    with native.switched(on=True):
        answer = program.judge(make.request(entities=entities))
    with native.switched(on=False):
        in_python = program.judge(make.request(entities=entities))

    assert isinstance(answer, Undecidable)
    assert isinstance(in_python, Undecidable)
    assert answer.reason == in_python.reason == "ENTITIES_REFUSED"


@needs_extension
def test_stored_entities_are_those_of_the_program() -> None:
    """A change makes another graph, whose entities must not be taken for those before it."""
    condition = 'permit(principal in Group::"g", action, resource) when { principal.level > 3 };'
    one = make.program(*make.policies(condition), make.stored("User::ann", {"level": 4}))
    other = make.program(
        *make.policies(condition), make.stored("User::ann", {"level": 4}, parents=["Group::g"])
    )
    request = make.request(entities=[make.entity("User::ann", {"level": 1})])

    with native.switched(on=True):
        for program, outcome in ((one, Outcome.DENY), (other, Outcome.ALLOW), (one, Outcome.DENY)):
            verdict = program.judge(request)
            assert isinstance(verdict, Verdict)
            assert verdict.outcome is outcome


# ------------------------------------------------------------------------ what it is built of


def test_it_is_the_engine_of_the_binding() -> None:
    """Both paths have to be one Cedar: the binding says by its version which it has."""
    manifest = tomllib.loads((crates.CRATE / "Cargo.toml").read_text("utf-8"))
    wanted = manifest["dependencies"]["cedar-policy"]["version"]
    locked = _locked((crates.CRATE / "native.lock").read_text("utf-8"))

    assert wanted == f"={locked['cedar-policy']}"
    assert locked["cedar-policy"] == locked["cedar-policy-core"]
    assert locked["cedar-policy"].split(".")[:2] == metadata.version("cedarpy").split(".")[:2]


def _locked(text: str) -> dict[str, str]:
    return {package["name"]: package["version"] for package in tomllib.loads(text)["package"]}


def test_the_lock_names_no_address() -> None:
    text = (crates.CRATE / "native.lock").read_text("utf-8")

    assert "://" not in text
    assert all(
        "checksum" in package or package["name"] == "placet-native"
        for package in tomllib.loads(text)["package"]
    )


def test_cargos_lock_comes_back_as_it_was() -> None:
    ours = (crates.CRATE / "native.lock").read_text("utf-8")

    cargos = crates.with_source(ours, 'source = "registry+anything"\n')

    for package in tomllib.loads(cargos)["package"]:
        assert ("source" in package) is ("checksum" in package)
    assert crates.without_source(cargos) == ours


def test_a_lock_with_something_from_elsewhere_is_refused() -> None:
    ours = (crates.CRATE / "native.lock").read_text("utf-8")
    cargos = crates.with_source(ours, 'source = "registry+anything"\n')
    from_git = re.sub("^checksum = .*\n", "", cargos, count=1, flags=re.MULTILINE)

    with pytest.raises(ValueError, match="have a source"):
        crates.without_source(from_git)
