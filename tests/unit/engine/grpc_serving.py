"""Services of a real grpc server, made of their descriptors, as generated code does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass


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
