"""Each grpcurl is described the same by the version of reflection that it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from placet_server.api.reflection import V1_NAME, V1ALPHA_NAME, add_reflection
from placet_server.api.server import PLACET_SERVICES
from tests.grpcurl.conftest import Installed


class _Recorder(grpc.aio.ServerInterceptor):
    """Notes which services are asked, and lets those be asked that are served."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        _, service, _ = handler_call_details.method.split("/")
        self.asked.add(service)
        return await continuation(handler_call_details)


async def test_it_is_described_by_the_version_it_asks_for(grpcurl: Installed) -> None:
    recorder = _Recorder()
    server = grpc.aio.server(interceptors=[recorder])
    add_reflection(server, PLACET_SERVICES)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        _, listed = await grpcurl.run(address, "list")
        _, method = await grpcurl.run(address, "describe", f"{PLACET_SERVICES[0]}.Evaluate")
    finally:
        await server.stop(None)

    assert set(listed.split()) == {*PLACET_SERVICES, V1_NAME, V1ALPHA_NAME}
    assert "// Evaluate decides one request." in method
    assert recorder.asked == {f"grpc.reflection.{grpcurl.kind.reflection}.ServerReflection"}
