"""Evaluate and EvaluateBatch as functions from bytes to bytes, for fronts that are not gRPC's own.

For the time being a thin layer over the servicer.
"""

from __future__ import annotations

from typing import Any, cast

import grpc

from placet.v1 import evaluate_service_pb2
from placet_server.api.evaluate import EvaluateService


class HotPath:
    """Answers from the node's memory; waits only for ``min_revision``."""

    def __init__(self, service: EvaluateService) -> None:
        self._service = service

    def try_evaluate(self, data: bytes) -> bytes | None:
        """Answer at once if that is possible without waiting."""
        return None

    async def evaluate(self, data: bytes, time_left_s: float) -> bytes:
        """Decide one ``EvaluateRequest``; return an ``EvaluateResponse``.

        Raises:
            DecodeError: the bytes are not the message.
            PlacetError, Malformed: what the servicer raises.
        """
        request = evaluate_service_pb2.EvaluateRequest.FromString(data)
        response = await self._service.Evaluate(request, _left(time_left_s))
        return response.SerializeToString()

    async def evaluate_batch(self, data: bytes, time_left_s: float) -> bytes:
        """Decide one ``EvaluateBatchRequest``; return an ``EvaluateBatchResponse``."""
        request = evaluate_service_pb2.EvaluateBatchRequest.FromString(data)
        response = await self._service.EvaluateBatch(request, _left(time_left_s))
        return response.SerializeToString()


class _TimeLeft:
    def __init__(self, time_left_s: float) -> None:
        self._time_left_s = time_left_s

    def time_remaining(self) -> float:
        return self._time_left_s


def _left(time_left_s: float) -> grpc.aio.ServicerContext[Any, Any]:
    """Return as much of a context as the servicer asks of it."""
    return cast("grpc.aio.ServicerContext[Any, Any]", _TimeLeft(time_left_s))
