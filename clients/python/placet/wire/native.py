"""Requests that the native path reads, where it is used. None: they are Python's to read."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from placet.v1 import evaluate_service_pb2
from placet.wire.reader import Reader
from placet.wire.requests import read_request
from placet_engine import model, native
from placet_engine.native import Unread

if TYPE_CHECKING:
    from placet_native import Batch


class NativeRequest(NamedTuple):
    """An ``EvaluateRequest`` nothing is wrong with."""

    tenant: str
    min_revision: int
    request: Unread


def read_natively(data: bytes) -> NativeRequest | None:
    """Read an ``EvaluateRequest``."""
    if native.extension is None:
        return None
    found = native.extension.read_request(data)
    if found is None:
        return None
    tenant, min_revision, asked = found
    return NativeRequest(tenant, min_revision, Unread(asked, partial(_in_python, data)))


def read_batch_natively(data: bytes) -> Batch | None:
    """Read an ``EvaluateBatchRequest``, with what its items share."""
    if native.extension is None:
        return None
    batch: Batch | None = native.extension.read_batch(data)
    return batch


def _in_python(data: bytes) -> model.Request:
    reader = Reader()
    request = read_request(evaluate_service_pb2.EvaluateRequest.FromString(data), reader)
    reader.finish()
    return request
