"""The state file: what is written is what is read, and what was damaged is found out."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from placet._mirror import PolicySetMirror
from placet_engine.items import Item
from placet_server.config import ConfigError
from placet_server.testing import ManualClock
from placet_server.upstream import state
from placet_server.upstream.copy import UpstreamCopy, new_mirror
from placet_server.upstream.keeping import StateKeeper
from placet_server.upstream.state import Kept, State, StateDamaged
from tests.sdk.source import TENANT, Source, platform_policy, policy

_KEPT = Kept(store_id="store-one", region="eu-west", known_time_s=1_700_000_000.25)
_SLOT = range(24, 36)


def mirror_of(source: Source) -> PolicySetMirror[Item]:
    mirror = new_mirror()
    mirror.begin_stream()
    for message in source.snapshot():
        mirror.apply(message)
    return mirror


@pytest.fixture
def source() -> Source:
    source = Source(policy("a", description="ü" * 40), policy("b"))
    source.commit_to_platform(platform_policy("p", "forbid(principal, action, resource);"))
    source.commit(policy("gone"), owner="globex")
    source.commit(remove=[policy("gone").key], owner="globex")
    return source


@pytest.fixture
def written(tmp_path: Path, source: Source) -> Path:
    path = tmp_path / "edge.state"
    state.write(path, State.of(mirror_of(source), _KEPT))
    return path


def test_what_is_written_is_read(written: Path, source: Source) -> None:
    kept, mirror = state.read(written)

    assert kept == _KEPT
    assert mirror.snapshot() == mirror_of(source).snapshot()
    assert mirror.cursor == source.cursor
    assert dict(mirror.owners) == {TENANT: 1, "": 2, "globex": 4}
    # It can be followed on from.
    mirror.begin_stream()
    mirror.apply(source.commit(policy("c")))
    assert mirror.snapshot().checksum == source.checksum


def test_only_its_owner_may_read_it_whatever_the_umask(tmp_path: Path, source: Source) -> None:
    path = tmp_path / "edge.state"
    path.write_bytes(b"older, and open to all")
    path.chmod(0o666)
    before = os.umask(0)
    try:
        state.write(path, State.of(mirror_of(source), _KEPT))
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600
    assert [it.name for it in tmp_path.iterdir()] == ["edge.state"]


def test_a_file_that_was_cut_off_anywhere_is_found_out(written: Path) -> None:
    whole = written.read_bytes()
    for length in range(len(whole)):
        written.write_bytes(whole[:length])
        with pytest.raises(StateDamaged):
            state.read(written)
    written.write_bytes(whole + b"\0")
    with pytest.raises(StateDamaged):
        state.read(written)


def test_a_byte_that_changed_anywhere_is_found_out(written: Path) -> None:
    whole = bytearray(written.read_bytes())
    for place in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            whole[place] ^= flip
            written.write_bytes(whole)
            whole[place] ^= flip
            if place in _SLOT:
                # What was half written there is made up for by the header.
                assert state.read(written)[0] == _KEPT
            else:
                with pytest.raises(StateDamaged):
                    state.read(written)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 10_000, b"{}", os.urandom(5000)], ids=["empty", "zeros", "json", "any"]
)
def test_what_is_no_state_at_all_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "edge.state"
    path.write_bytes(content)
    with pytest.raises(StateDamaged):
        state.read(path)


def test_a_later_time_is_noted_in_place(written: Path) -> None:
    before = written.stat()
    state.write_known_time(written, _KEPT.known_time_s + 30)

    kept, _ = state.read(written)
    assert kept.known_time_s == _KEPT.known_time_s + 30
    assert (written.stat().st_ino, written.stat().st_size) == (before.st_ino, before.st_size)


def test_a_write_that_fails_leaves_what_was_there(
    written: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    source.commit(policy("c"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state.write(written, State.of(mirror_of(source), _KEPT))
    monkeypatch.undo()

    assert state.read(written)[1].revision == 4
    assert [it.name for it in written.parent.iterdir()] == ["edge.state"]


# ----------------------------------------------------------------------------- the keeper


class Keeping:
    """A keeper on a file, and the clock it goes by."""

    def __init__(self, path: Path, *, region: str = "eu-west", every_s: float = 5.0) -> None:
        self.clock = ManualClock()
        self.copy = UpstreamCopy(self.clock)
        self.keeper = StateKeeper(
            path, copy=self.copy, region=region, every_s=every_s, clock=self.clock
        )

    def hold(self, source: Source, *, known_ago_s: float = 0.0) -> None:
        """Have the copy hold what a source has."""
        self.copy.adopt("store-one", mirror_of(source), known_ago_s)


@pytest.fixture
def keeping(tmp_path: Path) -> Callable[..., Keeping]:
    return lambda **options: Keeping(tmp_path / "edge.state", **options)


async def test_how_old_it_is_counts_on_across_a_restart(
    keeping: Callable[..., Keeping], source: Source
) -> None:
    before = keeping()
    before.hold(source, known_ago_s=2.0)
    await before.keeper.aclose()

    after = keeping()
    after.clock.advance(3600.0)
    await after.keeper.read()
    assert after.copy.has_state
    assert after.copy.store_id == "store-one"
    assert after.copy.staleness_s() == pytest.approx(3602.0)


async def test_a_clock_that_went_back_leaves_its_age_in_doubt(
    keeping: Callable[..., Keeping], source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    before = keeping()
    before.clock.advance(3600.0)
    before.hold(source)
    await before.keeper.aclose()

    after = keeping()
    await after.keeper.read()
    assert after.copy.has_state
    assert after.copy.staleness_s() == math.inf
    assert "nobody can tell how old it is" in caplog.text


async def test_what_another_region_may_hold_is_not_read(
    keeping: Callable[..., Keeping], source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    before = keeping(region="eu-west")
    before.hold(source)
    await before.keeper.aclose()

    after = keeping(region="us-east")
    await after.keeper.read()
    assert not after.copy.has_state
    assert "another region" in caplog.text


async def test_a_damaged_file_is_left_out_and_said_to_be(
    keeping: Callable[..., Keeping], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "edge.state").write_bytes(b"not a state")
    started = keeping()
    await started.keeper.read()

    assert not started.copy.has_state
    (record,) = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert record.getMessage() == "the state file cannot be used"


async def test_it_is_written_anew_only_when_something_changed(
    keeping: Callable[..., Keeping], source: Source, tmp_path: Path
) -> None:
    kept, path = keeping(), tmp_path / "edge.state"
    kept.hold(source)
    await kept.keeper.write()
    first = path.stat()

    kept.clock.advance(60.0)
    await kept.keeper.write()
    assert path.stat().st_ino == first.st_ino
    # It was not confirmed since.
    assert state.read(path)[0].known_time_s == pytest.approx(kept.clock.now().timestamp() - 60)


async def test_one_that_only_reads_never_writes(
    keeping: Callable[..., Keeping], source: Source, tmp_path: Path
) -> None:
    reader = keeping(every_s=0.0)
    reader.hold(source)
    with reader.keeper.held():
        await reader.keeper.aclose()
    assert not (tmp_path / "edge.state").exists()


def test_two_nodes_do_not_write_one_file(keeping: Callable[..., Keeping]) -> None:
    with keeping().keeper.held():
        with keeping(every_s=0.0).keeper.held():
            pass
        with pytest.raises(ConfigError, match="another node's that runs"), keeping().keeper.held():
            pass
    with keeping().keeper.held():
        pass


async def test_a_full_disk_is_said_once_and_the_node_goes_on(
    keeping: Callable[..., Keeping],
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    kept = keeping()
    kept.hold(source)
    monkeypatch.setattr(os, "fsync", full)
    await kept.keeper.write()
    await kept.keeper.write()
    assert [it.getMessage() for it in caplog.records] == [
        "the state file cannot be written; it has what it had"
    ]
    monkeypatch.undo()
    await kept.keeper.write()
    assert kept.keeper.bytes > 0
