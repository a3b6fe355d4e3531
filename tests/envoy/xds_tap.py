"""A place between a real Envoy and the server: it notes every message, and can hold, lose and cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from protos import discovery_pb2 as pb
from tests.envoy.xds_toy import LOOPBACK
from xds.server import SERVICE

Request = pb.DiscoveryRequest | pb.DeltaDiscoveryRequest
Response = pb.DiscoveryResponse | pb.DeltaDiscoveryResponse
_METHODS = {
    "StreamAggregatedResources": (pb.DiscoveryRequest, pb.DiscoveryResponse),
    "DeltaAggregatedResources": (pb.DeltaDiscoveryRequest, pb.DeltaDiscoveryResponse),
}
# A server that comes back is found at once: how long to wait is Envoy's to choose.
_SOON = [(f"grpc.{name}_reconnect_backoff_ms", 100) for name in ("initial", "min", "max")]


@dataclass(eq=False, slots=True)
class _Stream:
    """`call` is to the server. Whoever is `asking` or `answering` may be using it: to stop them would end it."""

    call: Any
    asking: asyncio.Task[None]
    answering: asyncio.Task[None]
    cutting: asyncio.Task[object]
    tell_server: bool = True

    async def end(self) -> None:
        """Ends the server's side."""
        self.call.cancel()
        self.asking.cancel()
        self.answering.cancel()
        await asyncio.wait((self.asking, self.answering))


@dataclass(eq=False, slots=True)
class Tap:
    """`said` holds every message in the order in which it came, with the number of its stream, the first being 1.

    Requests are noted and wait while `requests_pass` is not set; responses of the types in `lost` are noted and never
    arrive.
    """

    port: int = 0
    said: list[tuple[int, Request | Response]] = field(default_factory=list)
    requests_pass: asyncio.Event = field(default_factory=asyncio.Event)
    lost: set[str] = field(default_factory=set)
    streams: int = 0
    ends: list[grpc.StatusCode] = field(default_factory=list)
    """With what the server ended streams."""
    _open: set[_Stream] = field(default_factory=set)
    _severed: list[_Stream] = field(default_factory=list)

    def requests(self, type_url: str, stream: int | None = None) -> list[Any]:
        """Envoy's, of one type."""
        return [message for message in self._of(type_url, stream) if isinstance(message, Request)]

    def responses(self, type_url: str, stream: int | None = None) -> list[Any]:
        """The server's, of one type."""
        return [message for message in self._of(type_url, stream) if isinstance(message, Response)]

    def _of(self, type_url: str, stream: int | None) -> list[Request | Response]:
        return [said for number, said in self.said if said.type_url == type_url and stream in (None, number)]

    def cut(self, *, both: bool = True) -> None:
        """Ends every stream for Envoy; for the server too, or, unless `both`, when `tell_server` is called."""
        for stream in self._open:
            stream.tell_server = both
            stream.cutting.cancel()

    async def tell_server(self) -> None:
        """The server hears at last of the streams that were cut for Envoy alone."""
        severed, self._severed = self._severed, []
        for stream in severed:
            await stream.end()

    async def quiet(self, seconds: float = 0.5) -> None:
        """Waits until nothing has been said for that long. Raises TimeoutError after 20 s."""
        async with asyncio.timeout(20):
            before = -1
            while before != len(self.said):
                before = len(self.said)
                await asyncio.sleep(seconds)

    async def carry(self, call: Any, kinds: tuple[type[Request], type[Response]], context: Any) -> None:
        """One stream, until either side ends it or it is cut."""
        self.streams += 1
        number = self.streams

        async def up() -> None:
            while (raw := await context.read()) is not grpc.aio.EOF:
                self.said.append((number, kinds[0].FromString(raw)))
                await self.requests_pass.wait()
                await call.write(raw)

        async def down() -> None:
            async for raw in call:
                self.said.append((number, kinds[1].FromString(raw)))
                if self.said[-1][1].type_url not in self.lost and not cutting.done():
                    await context.write(raw)

        asking, answering, cutting = (asyncio.create_task(one) for one in (up(), down(), asyncio.Event().wait()))
        stream = _Stream(call=call, asking=asking, answering=answering, cutting=cutting)
        self._open.add(stream)
        try:
            await asyncio.wait((asking, answering, cutting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(stream)
            cut, ended = cutting.cancelled(), answering.done()
            cutting.cancel()
            if stream.tell_server:
                await stream.end()
            else:
                self._severed.append(stream)
        if cut:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        elif ended:
            self.ends.append(await call.code())
            if self.ends[-1] is not grpc.StatusCode.OK:
                await context.abort(self.ends[-1], await call.details())


@asynccontextmanager
async def tapped(server_port: int) -> AsyncIterator[Tap]:
    """Listens on `port` of what it gives, and speaks to the server on `server_port`."""
    tap = Tap()
    tap.requests_pass.set()
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{server_port}", options=_SOON) as channel:

        def handler(name: str) -> grpc.RpcMethodHandler:
            method = channel.stream_stream(f"/{SERVICE}/{name}")

            async def carry(_requests: object, context: Any) -> None:
                await tap.carry(method(), _METHODS[name], context)

            return grpc.stream_stream_rpc_method_handler(carry)

        server = grpc.aio.server()
        handlers = {name: handler(name) for name in _METHODS}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        tap.port = server.add_insecure_port(f"{LOOPBACK}:0")
        await server.start()
        try:
            yield tap
        finally:
            await tap.tell_server()
            await server.stop(None)
