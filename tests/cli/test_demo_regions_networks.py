"""What is between the demo's regions, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from placet.cli.demo_regions import folders, namespaces
from placet.cli.demo_regions.members import own_environment
from placet.cli.demo_regions.namespaces import NotAllowed, netem

_DELAY_S = 0.05
_PATIENCE_S = 30.0

# ----------------------------------------------------------------------------------- relays


@asynccontextmanager
async def _relays(distances: Mapping[str, Mapping[str, float]]) -> AsyncIterator[Mapping[str, int]]:
    """Run the process of all ways out; give their ports."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "placet.cli.demo_regions.relays", str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(distances).encode() + b"\n")
        async with asyncio.timeout(_PATIENCE_S):
            yield json.loads(await process.stdout.readline())
            process.stdin.close()
            assert await process.wait() == 0, "it ends with its standard input"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _echoing() -> AsyncIterator[str]:
    """Run a server that says what it is told, until it is told `end`."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (piece := await reader.read(65_536)) and not piece.endswith(b"end"):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


async def _connected(
    port: int, address: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    async with asyncio.timeout(_PATIENCE_S):
        return reader, writer, await reader.readline()


async def test_a_relay_is_as_late_as_the_distance_both_ways() -> None:
    async with _echoing() as address, _relays({"IE": {address: _DELAY_S}}) as ports:
        began_s = time.monotonic()
        reader, writer, status = await _connected(ports["IE"], address)
        connected_s = time.monotonic()
        assert b"200" in status
        assert connected_s - began_s >= 2 * _DELAY_S, "a handshake is a round trip"
        assert await reader.readline() == b"\r\n"

        data = bytes(range(256)) * 8192
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        assert time.monotonic() - connected_s >= 2 * _DELAY_S

        ended_s = time.monotonic()
        writer.write(b"end")
        assert await reader.read() == b""
        assert time.monotonic() - ended_s >= 2 * _DELAY_S, "the end is on its way as long"
        writer.close()


async def test_a_relay_leads_nowhere_else() -> None:
    async with _echoing() as address, _relays({"IE": {}, "DE": {address: 0.0}}) as ports:
        for method in ("CONNECT", "GET"):
            reader, writer = await asyncio.open_connection("127.0.0.1", ports["IE"])
            writer.write(f"{method} {address} HTTP/1.1\r\n\r\n".encode())
            assert b"403" in await reader.read()
            writer.close()
        _, writer, status = await _connected(ports["DE"], address)
        assert b"200" in status
        writer.close()


async def test_where_nobody_listens_a_relay_ends_the_connection() -> None:
    async with _echoing() as address:
        pass
    async with _relays({"IE": {address: 0.0}}) as ports:
        _, writer, status = await _connected(ports["IE"], address)
        assert status == b""
        writer.close()


# ------------------------------------------------------------------------------- namespaces


@pytest.fixture
def _namespaces() -> None:
    """Skips where there can be none."""
    try:
        namespaces.check(held_by=lambda delay_s: "pfifo limit 1000")
    except NotAllowed as error:
        pytest.skip(str(error))


# In queues that every kernel has, which hold nothing back.
_TRIED = """
    import socket, subprocess, sys, threading
    from placet.cli.demo_regions.namespaces import Switched

    network = Switched(["a", "b", "c"], lambda source, target: 0.001, lambda s: "pfifo limit 1000")
    served = [*network.way_in("a"), sys.executable, "-c", '''if True:
        import socket
        with socket.create_server(("10.177.0.2", 7717)) as server:
            print("listens", flush=True)
            for _ in range(2):
                connection, (host, _) = server.accept()
                connection.sendall(host.encode())
                connection.close()
    ''']
    server = subprocess.Popen(served, stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    asking = 'import socket; print(socket.create_connection(("10.177.0.2", 7717), 5).recv(99))'
    asked = [*network.way_in("b"), sys.executable, "-c", asking]
    print(subprocess.run(asked, capture_output=True, text=True).stdout.strip())
    print(socket.create_connection((network.host("a"), 7717), 5).recv(99))
    server.wait()
    # Classes are numbered as places are: packets from b to a are in its, and none in c's.
    shown = subprocess.run(["tc", "-s", "class", "show", "dev", "port2"], capture_output=True)
    for part in sorted(shown.stdout.decode().split("class htb ")[1:]):
        print(part.split()[0], "used" if " Sent 0 bytes" not in part else "unused")
    network.close()
"""


@pytest.mark.usefixtures("_namespaces")
def test_places_reach_each_other_by_their_own_classes_and_nothing_is_left() -> None:
    before = _links()
    tried = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_TRIED)],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )

    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.split("\n") == [
        "b'10.177.0.3'",
        "b'10.177.0.1'",
        "1:3 used",
        "1:4 unused",
        "",
    ]
    assert _links() == before


def _links() -> str:
    return Path("/proc/net/dev").read_text().replace(" ", "").partition("\n")[0] + ",".join(
        sorted(entry.name for entry in Path("/sys/class/net").iterdir())
    )


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's")
def test_trying_namespaces_leaves_this_process_where_it_was() -> None:
    before = Path("/proc/self/ns/net").readlink()
    with suppress(NotAllowed):
        namespaces.check()
    assert Path("/proc/thread-self/ns/net").readlink() == before


def test_what_delays_packets_is_said_in_microseconds() -> None:
    assert netem(0.0403).startswith("netem delay 40300us limit ")


# ---------------------------------------------------------------------------------- folders


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_in_use_is_left_alone(room: Path) -> None:
    with folders.folder() as mine:
        assert folders.clean_leftovers() == 0
        assert mine.path.is_dir()
        assert mine.path.name.startswith(f"{folders.MARK}-{os.getpid()}-")
    assert list(room.iterdir()) == []


def test_what_is_left_is_removed_and_its_processes_are_ended(room: Path) -> None:
    left = room / f"{folders.MARK}-1-left"
    left.mkdir()
    (left / "lock").touch()
    mine = subprocess.Popen([sys.executable, "-c", _SLEEP, str(left)])
    other = subprocess.Popen([sys.executable, "-c", _SLEEP])
    for process in (mine, other):
        folders.Folder(left).note(process.pid)
    try:
        assert folders.clean_leftovers() == 1
        assert mine.wait(_PATIENCE_S) == -signal.SIGKILL
        assert other.poll() is None, "a number that is used again for something else"
    finally:
        for process in (mine, other):
            process.kill()
            process.wait()
    assert list(room.iterdir()) == []


_SLEEP = "import time; time.sleep(60)"


def test_folders_of_others_are_left_alone(room: Path) -> None:
    elsewhere = room / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (room / f"{folders.MARK}-1-link").symlink_to(elsewhere)
    (room / f"{folders.MARK}-1-made-now").mkdir()
    (room / "placet-something-else").mkdir()

    assert folders.clean_leftovers() == 0
    assert len(list(room.iterdir())) == 4


# -------------------------------------------------------------------------------- processes


def test_nodes_get_nothing_of_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLACET_SERVER_LISTEN", "http_proxy", "HTTPS_PROXY", "no_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LANG", "C.UTF-8")

    inherited = own_environment()
    assert not any(name.startswith("PLACET_") or "proxy" in name.lower() for name in inherited)
    assert inherited["LANG"] == "C.UTF-8"
