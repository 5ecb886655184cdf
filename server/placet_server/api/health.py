"""Health, for the whole server and for each of its services.

Written here because the servicer that comes with grpcio-health-checking
forgets all watchers of a service as soon as one of them leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_Context = grpc.aio.ServicerContext[Any, Any]
_Response = health_pb2.HealthCheckResponse

WHOLE_SERVER = ""
"""Name under which the server as a whole is asked for."""


class HealthService(health_pb2_grpc.HealthServicer):
    """The services are healthy together: they answer from the same memory.

    Args:
        services: all of them.
        absent: those that this node answers by saying where to go, and which never are.
    """

    def __init__(self, services: Iterable[str], absent: Iterable[str] = ()) -> None:
        self._services = frozenset({WHOLE_SERVER, *services})
        self._absent = frozenset(absent)
        self._status: int = _Response.NOT_SERVING
        self._changed = asyncio.Condition()

    async def set_serving(self, serving: bool) -> None:
        """Set the status of all services, and tell their watchers."""
        async with self._changed:
            self._status = _Response.SERVING if serving else _Response.NOT_SERVING
            self._changed.notify_all()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        """Return the status of a service, once."""
        if request.service not in self._services:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"service `{request.service}` is not served here; list services by reflection",
            )
        return _Response(status=self._status_of(request.service))

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Send the status of a service, now and whenever it changes.

        A service nobody knows is reported as unknown and watched all the
        same, as the protocol has it.
        """
        if request.service not in self._services:
            yield _Response(status=_Response.SERVICE_UNKNOWN)
            await asyncio.Event().wait()
        sent: int | None = None
        while True:
            async with self._changed:
                while self._status_of(request.service) == sent:
                    await self._changed.wait()
                sent = self._status_of(request.service)
            yield _Response(status=sent)

    def _status_of(self, service: str) -> int:
        return _Response.NOT_SERVING if service in self._absent else self._status
