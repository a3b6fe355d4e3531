"""A gRPC server in plaintext that answers with what a sidecar says of the caller."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import grpc


def who(request: bytes, context: grpc.ServicerContext) -> bytes:
    said = [value for key, value in context.invocation_metadata() if key == "x-forwarded-client-cert"]
    return str(said[0] if said else "plaintext").encode()


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {"Who": grpc.unary_unary_rpc_method_handler(who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    server.add_insecure_port(f"{os.environ['POD_IP']}:9090")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
