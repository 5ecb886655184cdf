"""Reads the details of failed calls."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def details(error: grpc.aio.AioRpcError, kind: type[Any]) -> list[Any]:
    """Return the details of one kind."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what a call has
    assert status is not None
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def info(error: grpc.aio.AioRpcError) -> Any:
    """Return the one ErrorInfo every failure of ours has."""
    (found,) = details(error, error_details_pb2.ErrorInfo)
    return found


def violated_fields(error: grpc.aio.AioRpcError) -> set[str]:
    """Return the fields a BadRequest names."""
    return {
        violation.field
        for bad_request in details(error, error_details_pb2.BadRequest)
        for violation in bad_request.field_violations
    }
