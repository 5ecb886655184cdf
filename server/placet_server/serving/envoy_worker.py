"""A worker inside Envoy: the ASGI application that is a whole node.

Envoy's Python has one event loop, and everything of the node runs on it: the hot methods that
Envoy hands over, and the gRPC server to which it passes on the rest.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from placet_server.app import Node
from placet_server.front import admin
from placet_server.front.asgi import EvaluateApp
from placet_server.front.calls import Receive, Scope, Send
from placet_server.front.envoy_tls import renew
from placet_server.serving.control import Assignment
from placet_server.serving.worker import SetUp, channel_to_supervisor, work

# Envoy is ready within milliseconds of its Python, or never.
_READY_S = 30.0


class EnvoyWorker:
    """Starts a node with Envoy, and answers what Envoy hands over."""

    def __init__(self, set_up: SetUp) -> None:
        self._set_up = set_up
        self._started: asyncio.Future[EvaluateApp] | None = None
        self._app: EvaluateApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call, or the lifespan of them all."""
        if self._app is not None and scope["type"] == "http":
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._started = asyncio.get_running_loop().create_future()
        working = asyncio.create_task(self._work(), name="worker")
        await asyncio.wait((working, self._started), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await send({"type": "lifespan.startup.failed"})
            return
        self._app = self._started.result()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # The supervisor had the node drained before it ended Envoy; or somebody else did that,
        # and nothing is left to be drained.
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _work(self) -> None:
        channel = await channel_to_supervisor()
        try:
            await work(channel, self._set_up, self._front)
            # A supervisor that is there ends this process when it likes; one that is not, cannot.
            await channel.receive()
        finally:
            channel.close()
        os._exit(1)

    @asynccontextmanager
    async def _front(self, node: Node, assignment: Assignment) -> AsyncIterator[None]:
        """Let Envoy start once the node is there; at the end, drain both."""
        assert self._started is not None
        app = EvaluateApp(
            node.evaluate,
            node.admission,
            node.telemetry.rpc,
            callers=node.callers,
            write_timeout_s=assignment.config.subscribe.write_timeout_s,
        )
        if node.tls is not None:
            node.tls.renewed.append(partial(renew, Path(assignment.tls_folder)))
        self._started.set_result(app)
        envoy = Path(assignment.admin_socket)
        async with asyncio.timeout(_READY_S):
            await admin.until_ready(envoy)
        yield
        await admin.turn_away(envoy)
        await asyncio.gather(node.drain(), app.drain(assignment.config.server.drain_s))
