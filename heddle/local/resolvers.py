"""The host's name servers, for names that are not the mesh's.

The mesh's own network has no way out, but a socket stays in the network it was made in: the sockets are made before
the mesh leaves the host's namespaces, and are handed to the supervisor.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final, cast

import dns.exception
import dns.message
import dns.rdatatype

_TIMEOUT_S: Final = 1.0
_REST_S: Final = 30.0


class HostResolvers:
    """Asks the host's name servers, one after the other, and leaves those that are silent alone for half a minute."""

    def __init__(self, *, new_id: Callable[[], int]) -> None:
        """`new_id` gives the number of each question, 0-65535; it should not be guessable."""
        self._new_id = new_id
        self._servers: list[_Server] = []

    async def open(self, descriptors: Sequence[int]) -> None:
        """Use these connected UDP sockets (`MeshProcess.resolvers`), which are owned from now on."""
        loop = asyncio.get_running_loop()
        for descriptor in descriptors:
            _, server = await loop.create_datagram_endpoint(_Server, sock=socket.socket(fileno=descriptor))
            self._servers.append(server)

    def close(self) -> None:
        """Close the sockets."""
        for server in self._servers:
            server.close()

    async def ask(self, name: str, kind: dns.rdatatype.RdataType) -> dns.message.Message | None:
        """The answer of the first server that gives one within a second; None if nobody does."""
        query = dns.message.make_query(name, kind, use_edns=True, payload=1232)
        loop = asyncio.get_running_loop()
        for server in self._servers:
            if server.silent_until > loop.time():
                continue
            query.id = self._new_id()
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    reply = await server.ask(query)
            except (TimeoutError, OSError):
                server.silent_until = loop.time() + _REST_S
                continue
            return reply
        return None


class _Server(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.silent_until = 0.0
        self._waiting: dict[int, tuple[dns.message.Message, asyncio.Future[dns.message.Message]]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass of it

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            reply = dns.message.from_wire(data)
        except (dns.exception.DNSException, ValueError):
            return
        query, future = self._waiting.get(reply.id, (None, None))
        if query is not None and future is not None and not future.done() and query.is_response(reply):
            future.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        for _, future in self._waiting.values():
            if not future.done():
                future.set_exception(exc)

    async def ask(self, query: dns.message.Message) -> dns.message.Message:
        assert self._transport is not None
        future: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()
        self._waiting[query.id] = (query, future)
        try:
            self._transport.sendto(query.to_wire())
            return await future
        finally:
            self._waiting.pop(query.id, None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
