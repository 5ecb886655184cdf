"""Server reflection under both of its names.

Clients of today ask for ``grpc.reflection.v1``; grpcio ships the servicer of
``v1alpha`` only. The two have the same messages and differ in package alone,
so that v1 is served by the same code under a copied descriptor.

Python knows the protos without their comments. Those are added out of a file that ``make protos``
writes, so that a tool that describes a method says what the protos say of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

_V1ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_METHOD = "ServerReflectionInfo"

V1ALPHA_NAME: str = reflection.SERVICE_NAME
V1_NAME = f"{_V1}.ServerReflection"


def add_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Serve reflection of the named services, v1 and v1alpha, themselves included."""
    pool = descriptor_pool.Default()
    _describe_v1(pool)
    names = (*service_names, V1ALPHA_NAME, V1_NAME)
    # Bytes of the one are bytes of the other: they are read and written as v1alpha.
    handler = grpc.stream_stream_rpc_method_handler(
        _with_comments(reflection.aio.ReflectionServicer(names, _MethodsToo(pool))),
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(name, {_METHOD: handler})
            for name in (V1ALPHA_NAME, V1_NAME)
        )
    )


class _MethodsToo:
    """A pool that also knows which file a method is in; Python's own finds everything else."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        """Return the file.

        Raises:
            KeyError: there is no such symbol.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file


def _with_comments(servicer: Any) -> Any:
    """Return what answers as grpcio's servicer does, and says what our protos say."""

    async def answer(
        requests: AsyncIterator[reflection_pb2.ServerReflectionRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        async for response in servicer.ServerReflectionInfo(requests, context):
            if response.HasField("file_descriptor_response"):
                files = response.file_descriptor_response.file_descriptor_proto
                files[:] = map(_commented, files)
            yield response

    return answer


def _commented(file: bytes) -> bytes:
    described = descriptor_pb2.FileDescriptorProto.FromString(file)
    comments = _comments().get(described.name)
    if comments is None:
        return file
    described.source_code_info.CopyFrom(comments)
    return described.SerializeToString()


@lru_cache(maxsize=1)
def _comments() -> Mapping[str, descriptor_pb2.SourceCodeInfo]:
    """Return the comments of our files, by path. They are read when somebody first asks."""
    written = resources.files("placet_server.api").joinpath("comments.binpb").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(written).file
    return {file.name: file.source_code_info for file in files}


def _describe_v1(pool: descriptor_pool.DescriptorPool) -> None:
    """Put a copy of the v1alpha file into the pool, under v1's package and path."""
    original = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(original)
    text = text_format.MessageToString(original).replace(_V1ALPHA, _V1)
    copied = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    copied.name = f"{_V1.replace('.', '/')}/reflection.proto"
    # Adding an equal file again does nothing, so that several servers in one
    # process do not get in each other's way.
    pool.Add(copied)
