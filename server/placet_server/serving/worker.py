"""One of the processes: a whole node, told by a supervisor what to be and when to end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from placet_server.app import Node, running_node
from placet_server.config import Config, ConfigError
from placet_server.listening import AddressUnavailable, Listening
from placet_server.memory import settle
from placet_server.serving.control import FD_VARIABLE, Assignment, Cause, Channel, Failed, Kind
from placet_server.store.contract import StoreError

log = logging.getLogger(__name__)

SetUp = Callable[[Config], None]
"""Prepares the process for a configuration: its log."""
Front = Callable[[Node, Assignment], AbstractAsyncContextManager[None]]
"""What stands before the node's gRPC server, for the length of a block."""


async def channel_to_supervisor() -> Channel:
    """Return this worker's end of the pair it was started with."""
    # Whoever this process starts has no business with it.
    return await Channel.over(socket.socket(fileno=int(os.environ.pop(FD_VARIABLE))))


async def work(channel: Channel, set_up: SetUp, front: Front | None = None) -> None:
    """Be what the supervisor says until it says stop. If it is gone, end the process."""
    line = await channel.receive()
    if line is None:
        return
    assignment = Assignment.of_line(line[1])
    set_up(assignment.config)
    failed = await _serve(channel, assignment, front)
    if failed is None:
        await channel.send(Kind.ENDED)
    else:
        await channel.send(Kind.FAILED, failed.to_line())


async def _serve(channel: Channel, assignment: Assignment, front: Front | None) -> Failed | None:
    try:
        async with running_node(assignment.config, listening=_listening(assignment)) as node:
            if front is None:
                await _until_told(channel, node)
            else:
                async with front(node, assignment):
                    await _until_told(channel, node)
    except ConfigError as error:
        return Failed(Cause.CONFIG, str(error))
    except AddressUnavailable as error:
        return Failed(Cause.ADDRESS, str(error))
    except StoreError as error:
        return Failed(Cause.STORE, str(error))
    except Exception as error:  # whatever it is, the supervisor has to learn of it
        log.exception("a worker cannot serve")
        return Failed(Cause.MISTAKE, f"{type(error).__name__}: {error}")
    return None


async def _until_told(channel: Channel, node: Node) -> None:
    settle()
    await channel.send(Kind.READY, {"revision": node.active.revision})
    # There is but one thing a supervisor says now: stop.
    if await channel.receive() is None:
        log.error("the supervisor is gone; ending at once")
        # Nothing is lost: what was acknowledged is on the disk. And nobody would ever end a
        # process that nobody keeps.
        os._exit(1)


def _listening(assignment: Assignment) -> Listening:
    server = assignment.config.server
    if assignment.node_socket:
        return Listening(
            address=f"unix:{assignment.node_socket}",
            public=assignment.address,
            is_behind_envoy=True,
        )
    return Listening(
        address=assignment.address,
        is_shared=True,
        max_connection_age_s=server.max_connection_age_s if server.workers > 1 else 0.0,
    )


async def main(set_up: SetUp) -> None:
    """Run a worker whose front is the gRPC server itself."""
    channel = await channel_to_supervisor()
    try:
        await work(channel, set_up)
    finally:
        channel.close()
        await asyncio.sleep(0)
