"""Server reflection under both of its names.

Clients of today ask for ``grpc.reflection.v1``; grpcio ships the servicer of
``v1alpha`` only. The two have the same messages and differ in package alone,
so that v1 is served by the same code under a copied descriptor.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(names)
    # Bytes of the one are bytes of the other: they are read and written as v1alpha.
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(V1_NAME, {_METHOD: handler}),)
    )


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
