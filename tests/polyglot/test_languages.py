"""What is said of toolchains that are not there, or old: needs none of them."""

from __future__ import annotations

import sys

import pytest

from tests.polyglot.languages import Language, Tool, refuse_unless_there


def said(text: str, at_least: tuple[int, ...]) -> str | None:
    return Tool((sys.executable, "-c", f"print({text!r})"), at_least).missing()


@pytest.mark.parametrize(
    "text", ["go version go1.26.8 linux/amd64", "v1.26", "\x1b[1mApache Maven 3.8.7\x1b[m", "2"]
)
def test_a_tool_that_is_new_enough_will_do(text: str) -> None:
    assert said(text, (1, 26)) is None


@pytest.mark.parametrize(("text", "version"), [("go1.9.1", "1.9.1"), ("none", "of no version")])
def test_one_that_is_not_is_named_with_what_is_needed(text: str, version: str) -> None:
    reason = said(text, (1, 25))
    assert reason is not None
    assert version in reason
    assert "1.25 is needed" in reason


def test_what_is_missing_skips_in_a_clone_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    language = Language("cobol", (Tool(("no-such-compiler", "--version"), (1,)),))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no `no-such-compiler`"):
        refuse_unless_there(language)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="there is no `no-such-compiler`"):
        refuse_unless_there(language)
