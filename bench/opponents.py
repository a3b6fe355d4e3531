"""What Heddle is compared with in one run: bytes sent by bare grpc.aio, and a server on go-control-plane.

Both know nothing of meshes. They are told what to send, serve it with a certificate of Heddle's authority to the same
clients, and say when the last acknowledgement was read.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from bench.children import Child, Json, child, reply, run_child, server
from tests.cluster.build import ClusterUnavailable, Recipe, built
from xds.server import OPTIONS, SERVICE

_GO = Recipe(
    program="go_control_plane",
    sources=Path(__file__).parent / "go_control_plane",
    package=".",
    module="github.com/envoyproxy/go-control-plane",
    stamps=(),
    minutes="2 minutes",
)


@asynccontextmanager
async def bare_server(certificate: Path, key: Path) -> AsyncIterator[tuple[Child, str]]:
    """The process and its address. `{"push": BYTES in base 64}` sends them to every stream."""
    async with child(*server("bench.opponents")) as process:
        answer = await process.ask({"certificate": str(certificate), "key": str(key)})
        yield process, f"127.0.0.1:{answer['port']}"


def go_program() -> Path | None:
    """The program on go-control-plane; None, and a line on standard error that says why, where it cannot be built."""
    try:
        return built(_GO) / _GO.program
    except ClusterUnavailable as why:
        print(f"  without go-control-plane: {why}", file=sys.stderr)
        return None


@asynccontextmanager
async def go_server(program: Path, certificate: Path, key: Path, resources: Path) -> AsyncIterator[tuple[Child, str]]:
    """The process and its address. `{"change": RESOURCE}` puts a resource in the place of the one of its name."""
    async with child(str(program)) as process:
        given = {"certificate": str(certificate), "key": str(key), "resources": str(resources)}
        answer = await process.ask(given)
        yield process, f"127.0.0.1:{answer['port']}"


class _Bare:
    """Streams that say nothing but what they are told to. What follows a client's first request is its answers."""

    def __init__(self) -> None:
        self._streams: set[Any] = set()
        self._answers = 0
        self._last = 0

    async def stream(self, _requests: object, context: Any) -> None:
        await context.read()
        self._streams.add(context)
        while await context.read() is not grpc.aio.EOF:
            self._answers += 1
            self._last = time.time_ns()
        self._streams.discard(context)

    async def push(self, message: bytes) -> int:
        self._answers = 0
        began = time.time_ns()
        await asyncio.gather(*(context.write(message) for context in self._streams))
        return began

    async def answered(self, count: int) -> int:
        while self._answers < count:  # noqa: ASYNC110 - what is counted must cost nothing
            await asyncio.sleep(0.002)
        return self._last

    async def opened(self, count: int) -> None:
        while len(self._streams) < count:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def _serve(given: AsyncIterator[Json]) -> None:
    first = await anext(given)
    bare = _Bare()
    server = grpc.aio.server(options=OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(bare.stream)
    handlers = {"StreamAggregatedResources": handler, "DeltaAggregatedResources": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    pair = (Path(first["key"]).read_bytes(), Path(first["certificate"]).read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials((pair,)))
    await server.start()
    reply({"port": port})
    async for command in given:
        if "push" in command:
            reply({"at": await bare.push(base64.b64decode(command["push"]))})
        elif "acks" in command:
            reply({"at": await bare.answered(command["acks"])})
        else:
            await bare.opened(command["streams"])
            reply({"at": time.time_ns()})


if __name__ == "__main__":
    run_child(_serve)
