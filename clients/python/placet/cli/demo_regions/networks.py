"""Which network the demo runs on: namespaces where there can be some, else relays.

Either way every process is at a place, a region or a country, and what it sends to another place is
late by the distance. What differs is how a process gets to its place.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from placet.cli.demo_regions import namespaces
from placet.cli.demo_regions.namespaces import NotAllowed, Switched
from placet.cli.demo_regions.scene import NodeSpec, Scene
from placet.cli.failures import Failure


class NetworkKind(Enum):
    """What is asked for."""

    AUTO = "auto"
    """Namespaces where there can be some, else relays."""
    NAMESPACES = "namespaces"
    RELAYS = "relays"


@dataclass(frozen=True, slots=True)
class WayIn:
    """How a process gets to its place."""

    before: tuple[str, ...] = ()
    """Goes before its command."""
    environment: Mapping[str, str] = field(default_factory=dict)


class Network(Protocol):
    """Places, and addresses of nodes at them."""

    @property
    def about(self) -> str:
        """What it is, and why it is that, for people."""
        ...

    @property
    def is_private(self) -> bool:
        """Whether nodes have addresses other than the loopback's, which nobody else can reach."""
        ...

    def address(self, node: NodeSpec) -> str:
        """Return where a node listens."""
        ...

    def way_in(self, place: str) -> WayIn:
        """Return how a process gets to a region, or to a country."""
        ...


@asynccontextmanager
async def network(kind: NetworkKind, scene: Scene) -> AsyncIterator[Network]:
    """Make a network for the length of the block. For the main thread, before all others.

    Raises:
        Failure: it is asked for what cannot be here.
        NotAllowed: it could be a moment ago, and cannot now.
    """
    why_not = ""
    if kind is not NetworkKind.RELAYS:
        try:
            namespaces.check()
        except NotAllowed as error:
            why_not = str(error)
        else:
            with closing(_Namespaces(scene)) as apart:
                yield apart
            return
    if kind is NetworkKind.NAMESPACES:
        raise Failure(f"there can be no such network: {why_not}; use `--network relays`")
    async with _relays(scene, why_not) as relays:
        yield relays


# -------------------------------------------------------------------------------- namespaces


class _Namespaces:
    """Implements ``Network``: a node's address is its region's, and a port."""

    is_private = True

    def __init__(self, scene: Scene) -> None:
        self._switched = Switched([*scene.site, *scene.countries], scene.one_way_s)
        self._scene = scene

    @property
    def about(self) -> str:
        return "delays by netem, between network namespaces"

    def close(self) -> None:
        """Let go of it."""
        self._switched.close()

    def address(self, node: NodeSpec) -> str:
        return f"{self._switched.host(node.region)}:{_FIRST_PORT + int(node.number)}"

    def way_in(self, place: str) -> WayIn:
        return WayIn(before=self._switched.way_in(place))


_FIRST_PORT = 7716

# ------------------------------------------------------------------------------------ relays


@dataclass(frozen=True, slots=True)
class _Relays:
    """Implements ``Network``: nodes listen on ports of the loopback."""

    about: str
    addresses: Mapping[str, str]
    ports: Mapping[str, int]
    is_private: bool = False

    def address(self, node: NodeSpec) -> str:
        return self.addresses[node.name]

    def way_in(self, place: str) -> WayIn:
        # gRPC takes the first of these that is there, and none for what the last two name.
        proxy = f"http://127.0.0.1:{self.ports[place]}"
        return WayIn(environment={"grpc_proxy": proxy, "no_grpc_proxy": "", "no_proxy": ""})


@asynccontextmanager
async def _relays(scene: Scene, why_not: str) -> AsyncIterator[Network]:
    addresses = _free_addresses(scene)
    distances = {
        place: {addresses[node.name]: scene.one_way_s(place, node.region) for node in scene.nodes}
        for place in (*scene.site, *scene.countries)
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "placet.cli.demo_regions.relays", str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Signals from the terminal are for the demo, which ends this one.
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(distances).encode() + b"\n")
        async with asyncio.timeout(_START_TIMEOUT_S):
            ports = json.loads(await process.stdout.readline() or b"null")
        if ports is None:
            raise Failure("the relays between the regions did not start")
        reason = f" ({why_not})" if why_not else ""
        yield _Relays(f"delays by TCP relays{reason}", addresses, ports)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


_START_TIMEOUT_S = 30.0


def _free_addresses(scene: Scene) -> Mapping[str, str]:
    """Return an address for each node where nobody listens now.

    Of ports that no system gives to those who ask for any: a node that is started anew needs its
    own again.
    """
    with ExitStack() as stack:
        free = (
            port
            for port in random.sample(_PORTS, len(_PORTS))
            if _can_listen(stack.enter_context(socket.socket()), port)
        )
        return {node.name: f"127.0.0.1:{next(free)}" for node in scene.nodes}


_PORTS = range(20_000, 32_000)


def _can_listen(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
