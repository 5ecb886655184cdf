from __future__ import annotations

import os
from pathlib import Path

import pytest

from placet_server.telemetry.decision_log.records import parts
from placet_server.telemetry.decision_log.sinks import FileSink, SinkFailed, StdoutSink
from placet_server.telemetry.decision_log.spool import Spool


def lines(*numbers: int) -> list[bytes]:
    return [b"line %03d\n" % number for number in numbers]


def test_a_full_file_is_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = FileSink(path, max_bytes=18, keep=2)
    for number in range(1, 9):
        sink.write(lines(number))
    sink.close()

    assert [part.name for part in parts(path)] == ["log.2", "log.1", "log"]
    assert [part.read_bytes() for part in parts(path)] == [
        b"".join(lines(3, 4)),
        b"".join(lines(5, 6)),
        b"".join(lines(7, 8)),
    ]


def test_without_any_to_keep_it_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = FileSink(path, max_bytes=18, keep=0)
    sink.write(lines(1, 2))
    sink.write(lines(3))
    sink.close()

    assert parts(path) == [path]
    assert path.read_bytes() == b"".join(lines(3))


def test_what_is_there_is_kept_but_for_a_line_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(lines(1)) + b"x" * 100_000)
    sink = FileSink(path, max_bytes=1000, keep=1)
    sink.write(lines(2))
    sink.close()

    assert path.read_bytes() == b"".join(lines(1, 2))


def test_a_full_disk_takes_all_lines_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    sink = FileSink(path, max_bytes=1000, keep=1)
    sink.write(lines(1))
    write = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) <= 9:
            raise OSError(28, "No space left on device")
        return write(file, data[:9])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(SinkFailed, match="No space left on device"):
            sink.write(lines(2, 3))
    sink.write(lines(2, 3))
    sink.close()

    assert path.read_bytes() == b"".join(lines(1, 2, 3))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SinkFailed, match=r"No such file.*check telemetry.decision_log_path"):
        FileSink(tmp_path / "no" / "log", max_bytes=10, keep=1)


def test_standard_output_gets_each_line_once(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, write = StdoutSink(), os.write
    failing = iter([False, True, False])

    def now_and_then(file: int, data: bytes) -> int:
        if next(failing, False):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return write(file, data[:12])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", now_and_then)
        with pytest.raises(SinkFailed, match="temporarily unavailable"):
            sink.write(lines(1, 2))
        sink.write(lines(1, 2))
        sink.write(lines(3))

    assert capfdbinary.readouterr().out == b"".join(lines(1, 2, 3))


def test_a_spool_is_a_queue_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1000)
    taken = spool.append(lines(1, 2))
    first = spool.first()
    spool.append(lines(3))
    spool.take_away(first)
    then = spool.first()
    spool.take_away(then)

    assert (taken, first, then) == (2, lines(1, 2), lines(3))
    assert (spool.waiting_bytes, (tmp_path / "spool").stat().st_size) == (0, 0)
    spool.close()


def test_a_spool_takes_no_more_than_it_may(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=20)

    assert spool.append(lines(1, 2, 3)) == 2
    assert spool.append(lines(3)) == 0
    assert spool.first() == lines(1, 2)
    spool.close()


def test_what_waits_in_a_spool_is_there_in_the_next_run(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=1000)
    spool.append(lines(1, 2, 3))
    spool.take_away(lines(1))
    spool.close()
    with (tmp_path / "spool").open("ab") as file:
        file.write(b"torn by a crash")

    spool = Spool(tmp_path / "spool", max_bytes=1000)
    waiting = spool.first()
    spool.append(lines(4))

    assert waiting == lines(2, 3)
    assert spool.first() == lines(2, 3, 4)
    spool.close()


def test_a_line_larger_than_what_is_read_at_once_is_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=10_000_000)
    large = b"x" * 600_000 + b"\n"
    spool.append([large, b"y\n"])

    first = spool.first()
    spool.take_away(first)

    assert first == [large] or first == [large, b"y\n"]
    spool.close()
