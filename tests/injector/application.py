"""An application that is as well as it is told to be: HTTP, TCP and gRPC health."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""grpc.health.v1.HealthCheckResponse."""


@dataclass(slots=True)
class HttpApplication:
    """`answer` is the whole of every answer, None for silence; `heads` are the requests so far."""

    port: int = 0
    answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    heads: list[str] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.peers.add(writer.get_extra_info("peername")[0])
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def http_application(
    address: str, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpApplication]:
    """One that listens at that address; port 0: any."""
    application = HttpApplication()
    server = await asyncio.start_server(application.serve, address, port, ssl=tls)
    application.port = server.sockets[0].getsockname()[1]
    try:
        yield application
    finally:
        server.close()


@dataclass(slots=True)
class GrpcApplication:
    """Its health service; `asked` are the services whose health was asked for."""

    port: int = 0
    serving: bool = True
    asked: list[bytes] = field(default_factory=list)

    async def check(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        self.asked.append(request[2:])
        return _SERVING if self.serving else _NOT_SERVING


@asynccontextmanager
async def grpc_application(address: str) -> AsyncIterator[GrpcApplication]:
    application = GrpcApplication()
    server = grpc.aio.server()
    check = grpc.unary_unary_rpc_method_handler(application.check)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),))
    application.port = server.add_insecure_port(f"{address}:0")
    await server.start()
    try:
        yield application
    finally:
        await server.stop(None)
