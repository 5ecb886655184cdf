"""`make demo-regions` as a stranger meets it: real nodes, real callers, a real terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cli.shell import BIN, PATIENCE_S, environment, running
from tests.cli.terminals import Terminal, on_terminal

pytestmark = pytest.mark.slow


@pytest.fixture
def room() -> Iterator[Path]:
    """An empty folder for temporary files, with a short path: sockets will be in it."""
    with TemporaryDirectory(prefix="room-") as folder:
        yield Path(folder)


_COMMAND = ("demo", "regions", "--network", "relays")


def test_a_script_ends_by_itself_and_no_call_fails(room: Path) -> None:
    script = "wait 1; kill eu-west-2; wait 1.5; kill control US; publish; back all; publish"
    ended = subprocess.run(
        [*(BIN / "placet", *_COMMAND, "--plain", "--script", script), *_regions("eu", "us")],
        cwd=room,
        env=environment(TMPDIR=str(room)),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )

    assert ended.returncode == 0, ended
    lines = ended.stdout.splitlines()
    assert "delays by TCP relays" in lines[0]
    told = "\n".join(lines)
    assert "\x1b" not in told
    assert re.search(r"eu-west-2 lost \d\.\d+ s after: its lease lapsed", told)
    assert "US: nothing published, its control node does not answer" in told
    assert re.search(r"EU decides by r\d+: euw1 \d+ ms\n", told), "the killed one was waited for"
    assert re.search(r"EU decides by r\d+: euw1 \d+ ms, euw2 \d+ ms\n", told)
    assert re.search(r"US decides by r\d+: use1 \d+ ms, use2 \d+ ms\n", told)
    assert re.search(r"^kill eu-west-2 +\d+ +0 +\d+ ms$", told, re.MULTILINE)
    answered = re.search(r"^([\d,]+) answered, 0 failed, none answered where its", told, re.M)
    assert answered is not None
    assert int(answered[1].replace(",", "")) > 100
    assert list(room.iterdir()) == []


def test_calls_of_tenants_that_have_no_node_left_are_told_apart(room: Path) -> None:
    script = "wait 0.5; kill eu-west; wait 2.5"
    with running(
        *(*_COMMAND, "--plain", "--script", script),
        *_regions("eu"),
        cwd=room,
        env=environment(TMPDIR=str(room)),
    ) as demo:
        result = demo.end(None)

    assert result.code == 0, result
    nowhere = re.search(r"0 failed, (\d+) had no node they may go to", result.out)
    assert nowhere is not None
    assert int(nowhere[1]) > 0


def test_a_signal_ends_it_and_leaves_nothing(room: Path) -> None:
    with running(
        *(*_COMMAND, "--plain", "--script", "wait 60"),
        *_regions("eu"),
        cwd=room,
        env=environment(TMPDIR=str(room)),
    ) as demo:
        demo.wait_for("control node serves")
        result = demo.end(signal.SIGTERM)

    assert result.code == 1
    assert "ended before all steps were done" in result.err
    assert list(room.iterdir()) == []
    assert _processes_of(room) == []


def test_what_a_killed_demo_leaves_is_removed_by_the_next(room: Path) -> None:
    env = environment(TMPDIR=str(room))
    with running(*_COMMAND, "--plain", *_regions("eu"), cwd=room, env=env) as demo:
        demo.wait_for("control node serves")
        demo.end(signal.SIGKILL)
    _until_gone(room)
    assert len(list(room.iterdir())) == 1

    with running(*_COMMAND, "--plain", *_regions("eu"), cwd=room, env=env) as demo:
        demo.wait_for("removed what 1 demo left that did not end well")
        demo.end(signal.SIGTERM)
    assert list(room.iterdir()) == []


def test_keys_break_and_mend_nodes_on_a_terminal(room: Path) -> None:
    with _shown(room) as screen:
        screen.wait_for("control node serves")
        screen.press("k")
        screen.wait_for("not yet: the regions are still starting")
        screen.wait_for("callers in IE")
        screen.press("11")
        screen.wait_for("picked: .*eu-west-2")
        screen.press("k")
        screen.wait_for("eu-west-2 was killed")
        screen.wait_for(r"killed lost")
        screen.press("b")
        screen.wait_for("eu-west-2 serves again, after")
        screen.press("p")
        screen.wait_for(r"EU decides by r\d+: euw1 \d+ ms, euw2 \d+ ms")
        screen.press("h")
        screen.wait_for("eu-west-2 was hung")
        screen.press("h")
        screen.wait_for("eu-west-2 serves again, after")
        screen.press("d")
        screen.wait_for("eu-west-2 drains")
        screen.wait_for("draining")
        screen.press("?")
        screen.wait_for("any key goes back")
        screen.press("qq")
        assert screen.end() == 0
        assert screen.is_as_before()
        assert re.search(r"[\d,]+ answered, 0 failed", screen.text)
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_given_back_on_signals(number: signal.Signals, room: Path) -> None:
    with _shown(room) as screen:
        screen.wait_for("starting")
        assert not screen.is_as_before()
        os.kill(screen.pid, number)
        assert screen.end() == 0
        assert screen.is_as_before()
    assert list(room.iterdir()) == []
    assert _processes_of(room) == []


def test_suspended_it_gives_the_terminal_back_and_takes_it_again(room: Path) -> None:
    with _shown(room) as screen:
        screen.wait_for("starting")
        screen.press("\x1a")
        screen.wait_until_suspended()
        assert screen.is_as_before()
        screen.go_on()
        screen.wait_for("control node serves")
        assert not screen.is_as_before()
        screen.press("q")
        assert screen.end() == 0
        assert screen.is_as_before()


def test_a_terminal_that_can_do_nothing_gets_lines(room: Path) -> None:
    with _shown(room, term="dumb") as screen:
        screen.wait_for("control node serves")
        os.kill(screen.pid, signal.SIGTERM)
        assert screen.end() == 1
        assert "\x1b" not in screen.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--region", "mars"), "there is no region `mars`"),
        (("--script", "kil us-east"), "`kil` is no step; did you mean `kill`"),
        (("--script", "kill us-eats"), "there is no `us-eats`; did you mean `us-east`"),
        (("--script", "wait long"), "wait for seconds"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(
    arguments: tuple[str, ...], message: str, room: Path
) -> None:
    with running(*_COMMAND, "--plain", *arguments, cwd=room) as demo:
        result = demo.end(None)

    assert result.code == 2
    assert message in result.err
    assert result.out == ""


# ------------------------------------------------------------------------------- what is used


def _regions(*names: str) -> Iterator[str]:
    """Yield the options for one region under each law, or two nodes each."""
    for name in names:
        yield from ("--region", {"eu": "eu-west", "us": "us-east"}[name])


@contextmanager
def _shown(room: Path, *arguments: str, term: str = "xterm") -> Iterator[Terminal]:
    """Run the demo on a terminal, with one region."""
    command: tuple[str | Path, ...] = (BIN / "placet", *_COMMAND, "--region", "eu-west", *arguments)
    env = environment(TMPDIR=str(room), TERM=term)
    with on_terminal(command, cwd=room, env=env) as terminal:
        yield terminal


def _processes_of(folder: Path) -> list[int]:
    """Return the processes that were started for something in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder) in (entry / "cmdline").read_text("utf-8", "replace"):
                found.append(int(entry.name))
    return found


def _until_gone(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while _processes_of(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)
