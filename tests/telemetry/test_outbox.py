from __future__ import annotations

from pathlib import Path

import pytest

from placet_server.telemetry.decision_log.outbox import Outbox
from placet_server.telemetry.decision_log.spool import Spool


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Holds one batch in memory, and three lines on disk."""
    return Outbox(max_batches=1, spool=Spool(tmp_path / "spool", max_bytes=6))


def next_lines(outbox: Outbox) -> list[bytes]:
    batch = outbox.take()
    assert batch is not None
    outbox.delivered(batch)
    return list(batch.lines)


def test_what_comes_lines_up_behind_what_is_spooled(outbox: Outbox) -> None:
    not_taken = [outbox.put([b"1\n"]), outbox.put([b"2\n"])]
    first = next_lines(outbox)
    # There is room in memory again, and a line on disk that came before.
    not_taken.append(outbox.put([b"3\n"]))

    assert not_taken == [0, 0, 0]
    assert [first, next_lines(outbox)] == [[b"1\n"], [b"2\n", b"3\n"]]


def test_when_nothing_is_spooled_any_more_memory_is_used(outbox: Outbox) -> None:
    outbox.put([b"1\n"])
    outbox.put([b"2\n"])
    next_lines(outbox)
    next_lines(outbox)
    outbox.put([b"3\n"])

    assert outbox.spooled_bytes == 0
    assert next_lines(outbox) == [b"3\n"]


def test_what_finds_no_room_on_disk_is_told(outbox: Outbox) -> None:
    outbox.put([b"1\n"])

    assert outbox.put([b"2\n", b"3\n", b"4\n", b"5\n"]) == 1


def test_what_is_left_in_memory_at_the_end_is_spooled(tmp_path: Path) -> None:
    outbox = Outbox(max_batches=2, spool=Spool(tmp_path / "spool", max_bytes=100))
    outbox.put([b"1\n"])
    outbox.put([b"2\n"])
    stuck = outbox.take()
    lost = outbox.give_up()

    assert stuck is not None
    assert (lost, outbox.take()) == (0, None)
    assert (tmp_path / "spool").read_bytes() == b"1\n2\n"


def test_without_a_spool_what_is_left_at_the_end_is_lost() -> None:
    outbox = Outbox(max_batches=2)
    outbox.put([b"1\n"])
    outbox.take()
    outbox.put([b"2\n", b"3\n"])

    assert outbox.give_up() == 3
    assert outbox.put([b"4\n"]) == 1


def test_a_closed_outbox_gives_out_what_it_has(outbox: Outbox) -> None:
    outbox.put([b"1\n"])
    outbox.put([b"2\n"])
    outbox.close()

    assert [next_lines(outbox), next_lines(outbox), outbox.take()] == [[b"1\n"], [b"2\n"], None]
