"""Services by their descriptors: what generated stubs do, without their checks for one release of grpc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass


class Stub:
    """The methods of a service on a channel (``grpc`` or ``grpc.aio``), each by its name."""

    def __init__(self, channel: Any, file: FileDescriptor, service: str) -> None:
        described = file.services_by_name[service]
        for method in described.methods:
            ways = {
                (False, False): channel.unary_unary,
                (False, True): channel.unary_stream,
                (True, False): channel.stream_unary,
                (True, True): channel.stream_stream,
            }
            make = ways[method.client_streaming, method.server_streaming]
            setattr(
                self,
                method.name,
                make(
                    f"/{described.full_name}/{method.name}",
                    request_serializer=GetMessageClass(method.input_type).SerializeToString,
                    response_deserializer=GetMessageClass(method.output_type).FromString,
                ),
            )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the service has no method {name}")


def handler(file: FileDescriptor, service: str, methods: Mapping[str, Any]) -> grpc.GenericRpcHandler:
    """What a server adds to serve some methods of a service."""
    described = file.services_by_name[service]
    made = {}
    for name, function in methods.items():
        method = described.methods_by_name[name]
        ways = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        made[name] = ways[method.client_streaming, method.server_streaming](
            function,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(described.full_name, made)
