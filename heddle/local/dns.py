"""The mesh's name server, on the gateway's address, port 53, UDP and TCP.

What the mesh knows it answers at once, from a table; the rest it asks the host's name servers. Answers live 5 s
(CoreDNS's default), so that a pod that moved is soon found again.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, assert_never, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from heddle.local.names import Address, Found, Missing, NameTable, Outside, look_up
from heddle.local.resolvers import HostResolvers

TTL_S: Final = 5
_PLAIN_UDP: Final = 512
_IDLE_S: Final = 10.0


class NameServer:
    """Answers questions from the table it was given last. Made by `serve_names`."""

    def __init__(self, resolvers: HostResolvers) -> None:
        self._resolvers = resolvers
        self._table = NameTable()

    def set_table(self, table: NameTable) -> None:
        """Answer from `table` from now on."""
        self._table = table

    async def answer(self, question: bytes, *, limit: int | None) -> bytes | None:
        """The reply to one message, at most `limit` bytes (None: the asker's own limit for UDP). None: no reply."""
        try:
            query = dns.message.from_wire(question)
        except (dns.exception.DNSException, ValueError):
            return None
        if query.flags & dns.flags.QR:
            return None
        reply = await self._reply(query)
        if limit is None:
            limit = max(query.payload, _PLAIN_UDP) if query.edns >= 0 else _PLAIN_UDP
        try:
            return reply.to_wire(max_size=limit)
        except dns.exception.TooBig:
            short = dns.message.make_response(query, recursion_available=True)
            short.flags |= dns.flags.TC
            return short.to_wire()

    async def _reply(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=True)
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            reply.set_rcode(dns.rcode.NOTIMP)
            return reply
        asked = query.question[0]
        found = look_up(self._table, asked.name.to_text(omit_final_dot=True))
        reply.answer.extend(_aliases(asked.name, found.through))
        last = _name(found.through[-1]) if found.through else asked.name
        match found:
            case Found(addresses=addresses):
                reply.flags |= dns.flags.AA
                reply.answer.extend(_addresses(last, asked.rdtype, addresses))
            case Missing():
                reply.flags |= dns.flags.AA
                reply.set_rcode(dns.rcode.NXDOMAIN)
            case Outside(name=name):
                theirs = await self._resolvers.ask(name, asked.rdtype)
                if theirs is None:
                    reply.set_rcode(dns.rcode.SERVFAIL)
                else:
                    reply.answer.extend(theirs.answer)
                    reply.flags |= theirs.flags & dns.flags.TC
                    reply.set_rcode(theirs.rcode())
            case _:
                assert_never(found)
        return reply


@asynccontextmanager
async def serve_names(
    hosts: Iterable[str], *, new_id: Callable[[], int], port: int = 53, resolvers: Sequence[int] = ()
) -> AsyncIterator[NameServer]:
    """Answer on these addresses while the context lasts. Raises OSError if a port cannot be bound.

    `resolvers` are the descriptors in `MeshProcess.resolvers`; `new_id` numbers the questions to them (0-65535).
    """
    upstream = HostResolvers(new_id=new_id)
    await upstream.open(resolvers)
    server = NameServer(upstream)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        transports: list[asyncio.DatagramTransport] = []
        listeners: list[asyncio.Server] = []
        conversations: set[asyncio.Task[None]] = set()

        def start(work: Coroutine[None, None, None]) -> None:
            task = tasks.create_task(work)
            conversations.add(task)
            task.add_done_callback(conversations.discard)

        try:
            for host in hosts:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(server, start), local_addr=(host, port)
                )
                transports.append(transport)

                def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    start(_converse(server, reader, writer))

                listeners.append(await asyncio.start_server(accept, host, port))
            yield server
        finally:
            for transport in transports:
                transport.close()
            for listener in listeners:
                listener.close()
            for task in tuple(conversations):
                task.cancel()
            upstream.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer, start: Callable[[Coroutine[None, None, None]], None]) -> None:
        self._server = server
        self._start = start
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._start(self._answer(data, addr))

    async def _answer(self, data: bytes, asker: tuple[str, int]) -> None:
        reply = await self._server.answer(data, limit=None)
        if reply is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, asker)


async def _converse(server: NameServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            async with asyncio.timeout(_IDLE_S):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                question = await reader.readexactly(length)
            reply = await server.answer(question, limit=0xFFFF)
            if reply is None:
                return
            writer.write(struct.pack("!H", len(reply)) + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        return
    finally:
        writer.close()


def _aliases(name: dns.name.Name, through: Sequence[str]) -> list[dns.rrset.RRset]:
    chain = []
    for target in through:
        chain.append(dns.rrset.from_text(name, TTL_S, "IN", "CNAME", f"{target}."))
        name = _name(target)
    return chain


def _addresses(
    name: dns.name.Name, kind: dns.rdatatype.RdataType, addresses: Sequence[Address]
) -> list[dns.rrset.RRset]:
    version = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(kind)
    # dnspython writes them in random order, so that programs that take the first spread over all.
    texts = [str(address) for address in addresses if address.version == version]
    if not texts:
        return []
    return [dns.rrset.from_text_list(name, TTL_S, dns.rdataclass.IN, kind, texts)]


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(f"{text}.")
