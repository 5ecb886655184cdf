"""The page is read as it is written, and a page that is wrong is found out."""

from __future__ import annotations

import pytest

from tests.grpcurl.page import Command, read_page


def _page(block: str) -> str:
    return f"# Page\n\n## Is it up?\n\n```console\n{block}\n```\n"


def _only(block: str) -> Command:
    (command,) = read_page(_page(block))
    return command


def test_commands_and_what_they_print_are_told_apart() -> None:
    first, second, third = read_page(
        _page("$ one -d '{\n  }' \\\n  more\nprinted\n\nby it\n$ two\n$ three\nso far\n^C")
    )

    assert (first.text, first.printed) == ("one -d '{\n  }' \\\n  more", "printed\n\nby it")
    assert (second.text, second.printed, second.is_interrupted) == ("two", "", False)
    assert (third.text, third.printed, third.is_interrupted) == ("three", "so far\n", True)
    assert [command.line for command in (first, second, third)] == [6, 12, 13]
    assert {command.heading for command in (first, second, third)} == {"Is it up?"}


@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("one", "one"),
        ('{\n  "a": 1\n}', '{"a":1}'),
        ("{}", "{\n  \n}"),
        ("one\n…\nthree", "one\ntwo\ntwo\nthree"),
        ("one\n…\nthree", "one\nthree\nthree"),
        ('"at": "…", "b": 1', '"at": "2026-11-24", "b": 1'),
        ("…", ""),
    ],
)
def test_what_the_page_shows_is_recognised(page: str, printed: str) -> None:
    assert _only(f"$ command\n{page}").read(printed, {}) == {}


@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("one", "two"),
        ("one", "one and more"),
        ("one", ""),
        ('"a": 1', '"a": 10'),
        ("one\n…\nthree", "one\ntwo"),
        ("one\n…\nthree", "three\none"),
        ("…one…two…", "two one"),
        ("", "something"),
    ],
)
def test_what_it_does_not_show_is_found_out(page: str, printed: str) -> None:
    assert _only(f"$ command\n{page}").read(printed, {}) is None


def test_a_wrong_page_is_found_out_at_once() -> None:
    """With fifty ellipses there would be more ways to try than anybody has time for."""
    wrong = _only("$ command\n" + "…one" * 50 + "…two")

    assert wrong.read("one " * 2000, {}) is None


def test_a_stream_may_go_on() -> None:
    stream = _only("$ command\none\n…\ntwo\n^C")

    assert stream.read("one\n", {}) is None
    assert stream.read("one\ntwo\nthree\n", {}) == {}


def test_placeholders_are_remembered_and_filled_in() -> None:
    first, second = read_page(_page('$ one\n{"cursor": "CURSOR"}\n$ two CURSOR\ngot CURSOR'))
    values = first.read('{"cursor": "abc="}', {})

    assert values == {"CURSOR": "abc="}
    assert second.filled_in(values) == "two abc="
    assert second.read("got abc=", values) == {}
    assert second.read("got xyz", values) is None


def test_a_placeholder_means_one_thing_in_what_is_printed() -> None:
    command = _only("$ one\nSOCKET\nSOCKET")

    assert command.read("1\n1", {}) == {"SOCKET": "1"}
    assert command.read("1\n2", {}) is None


@pytest.mark.parametrize(
    "page",
    [
        "```\ngrpcurl list\n```\n",
        "```sh\ngrpcurl list\n```\n",
        "```console\ngrpcurl list\n```\n",
        "```console\n$ grpcurl list\n",
        "    grpcurl list\n",
    ],
)
def test_a_block_that_no_test_would_run_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="block"):
        list(read_page(f"# Page\n\n{page}"))
