"""A wire between client and server that counts what passes, and can be cut without either of them being told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Between:
    """`taken`: bytes from the client. `address` is where clients connect to."""

    target: str
    address: str = ""
    cut: bool = False
    taken: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self.tasks.add(asyncio.create_task(self._carry(reader, far_writer, counts=True)))
        self.tasks.add(asyncio.create_task(self._carry(far_reader, writer, counts=False)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(16384):
                    if counts:
                        self.taken += len(data)
                    if not self.cut:
                        writer.write(data)
                        await writer.drain()
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


@asynccontextmanager
async def between(target: str) -> AsyncIterator[Between]:
    """Runs until left; every connection through it ends with it."""
    wire = Between(target=target)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        for task in wire.tasks:
            task.cancel()
        await asyncio.gather(*wire.tasks, return_exceptions=True)
