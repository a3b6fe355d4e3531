import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.local.dns import TTL_S, NameServer, serve_names
from heddle.local.host_names import open_resolvers
from heddle.local.names import Found, Missing, NamedService, NameTable, Outside, build_name_table, look_up
from heddle.local.pod_files import HostAlias, build_pod_files
from heddle.local.resolvers import HostResolvers

VIP = IPv4Address("10.213.128.1")
PODS = (IPv4Address("10.213.1.1"), IPv6Address("fd00::1"), IPv4Address("10.213.1.2"))
TABLE = build_name_table(
    (
        NamedService(namespace="shop", name="users", addresses=(VIP,)),
        NamedService(namespace="shop", name="db", addresses=PODS, pods={"db-0": PODS[:2]}),
        NamedService(namespace="shop", name="empty"),
        NamedService(namespace="shop", name="alias", external_name="Users.shop.svc.cluster.local."),
        NamedService(namespace="shop", name="world", external_name="www.example.org"),
        NamedService(namespace="shop", name="loop", external_name="loop.shop.svc.cluster.local"),
    )
)


def full(name: str) -> str:
    return f"{name}.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (full("users"), Found(through=(), addresses=(VIP,))),
        (full("USERS"), Found(through=(), addresses=(VIP,))),
        (full("db"), Found(through=(), addresses=PODS)),
        (full("db-0.db"), Found(through=(), addresses=PODS[:2])),
        (full("empty"), Found(through=(), addresses=())),
        (full("alias"), Found(through=(full("users"),), addresses=(VIP,))),
        (full("world"), Outside(through=("www.example.org",), name="www.example.org")),
        (full("loop"), Missing(through=())),
        (full("db-1.db"), Missing(through=())),
        ("users", Missing(through=())),
        ("1.1.213.10.in-addr.arpa", Missing(through=())),
        ("cluster.local", Missing(through=())),
        ("example.org", Outside(through=(), name="example.org")),
        ("notcluster.local", Outside(through=(), name="notcluster.local")),
    ],
)
def test_look_up(name: str, expected: object) -> None:
    assert look_up(TABLE, name) == expected


async def answer(server: NameServer, name: str, kind: str = "A", limit: int | None = None) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    query.id = 0
    reply = await server.answer(query.to_wire(), limit=limit)
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert query.is_response(message)
    assert message.flags & dns.flags.RA
    return message


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    resolvers = HostResolvers(new_id=lambda: 7)
    server = NameServer(resolvers)
    server.set_table(TABLE)
    yield server
    resolvers.close()


async def test_answers_by_type(server: NameServer) -> None:
    reply = await answer(server, full("db"))
    assert {str(item) for item in reply.answer[0]} == {"10.213.1.1", "10.213.1.2"}
    assert reply.answer[0].ttl == TTL_S
    assert [str(item) for item in (await answer(server, full("db"), "AAAA")).answer[0]] == ["fd00::1"]


async def test_a_name_without_such_an_address_exists(server: NameServer) -> None:
    for kind in ("AAAA", "SRV", "TXT"):
        reply = await answer(server, full("users"), kind)
        assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


async def test_missing_names_and_unreachable_ones(server: NameServer) -> None:
    assert (await answer(server, full("nobody"))).rcode() == dns.rcode.NXDOMAIN
    assert (await answer(server, "example.org")).rcode() == dns.rcode.SERVFAIL


async def test_an_alias_brings_its_target_along(server: NameServer) -> None:
    first, second = (await answer(server, full("alias"))).answer
    assert (first.rdtype, str(first[0])) == (dns.rdatatype.CNAME, full("users") + ".")
    assert (second.name.to_text(), str(second[0])) == (full("users") + ".", str(VIP))


async def test_the_first_address_differs_between_questions(server: NameServer) -> None:
    # Of two addresses, 64 times the same one comes first with a chance of 1e-19.
    first = {str((await answer(server, full("db"))).answer[0][0]) for _ in range(64)}
    assert first == {"10.213.1.1", "10.213.1.2"}


async def test_what_is_too_long_for_udp_is_cut(server: NameServer) -> None:
    many = tuple(IPv4Address(f"10.213.1.{number}") for number in range(1, 100))
    server.set_table(build_name_table((NamedService(namespace="shop", name="many", addresses=many),)))
    short = await answer(server, full("many"))
    assert short.flags & dns.flags.TC
    assert not short.answer
    assert len((await answer(server, full("many"), limit=0xFFFF)).answer[0]) == 99


@given(st.binary(max_size=60))
def test_nonsense_gets_no_answer_or_an_error(data: bytes) -> None:
    async def ask() -> bytes | None:
        return await NameServer(HostResolvers(new_id=lambda: 7)).answer(data, limit=None)

    reply = asyncio.run(ask())
    if reply is not None:
        assert dns.message.from_wire(reply, ignore_trailing=True).flags & dns.flags.QR


class Upstream(asyncio.DatagramProtocol):
    """A name server of the world's, which knows one address, or says nothing."""

    def __init__(self, *, silent: bool) -> None:
        self.asked = 0
        self._silent = silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        if self._silent:
            return
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.80"))
        self.transport.sendto(reply.to_wire(), addr)  # type: ignore[attr-defined]


async def upstream(*, silent: bool) -> tuple[Upstream, int]:
    """The server, and a socket connected to it, as `open_resolvers` makes them."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Upstream(silent=silent), local_addr=("127.0.0.1", 0)
    )
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(transport.get_extra_info("sockname"))
    return protocol, client.detach()


async def test_the_world_is_asked_for_its_names_over_udp_and_tcp() -> None:
    silent, first = await upstream(silent=True)
    speaking, second = await upstream(silent=False)
    port = free_port()
    numbers = iter(range(100, 200))
    async with serve_names(
        ("127.0.0.1",), new_id=lambda: next(numbers), port=port, resolvers=(first, second)
    ) as server:
        server.set_table(TABLE)
        query = dns.message.make_query(full("world"), "A")
        for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
            reply = await ask(query, "127.0.0.1", port=port, timeout=20)
            assert [str(rrset[0]) for rrset in reply.answer] == ["www.example.org.", "192.0.2.80"]
        # Who was silent once is not waited for again.
        assert (silent.asked, speaking.asked) == (1, 2)
    silent.transport.close()  # type: ignore[attr-defined]
    speaking.transport.close()  # type: ignore[attr-defined]


async def test_a_tcp_conversation_may_be_long_and_may_break_off() -> None:
    port = free_port()
    async with serve_names(("127.0.0.1",), new_id=lambda: 1, port=port) as server:
        server.set_table(TABLE)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            question = dns.message.make_query(full("users"), "A").to_wire()
            writer.write(struct.pack("!H", len(question)) + question)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            assert str(dns.message.from_wire(await reader.readexactly(length)).answer[0][0]) == str(VIP)
        writer.write(b"\0")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


def free_port() -> int:
    """A port that is free for UDP and TCP on the loopback address."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def test_resolvers_are_the_first_three_that_parse() -> None:
    text = "# me\nsearch x\nnameserver 127.0.0.1\nnameserver nonsense\nnameserver\nnameserver 127.0.0.2\n"
    descriptors = open_resolvers(text)
    try:
        peers = []
        for descriptor in descriptors:
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                peers.append(connection.getpeername())
        assert peers == [("127.0.0.1", 53), ("127.0.0.2", 53)]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_the_files_of_a_pod() -> None:
    files = build_pod_files(
        hostname="users-0",
        namespace="shop",
        addresses=(PODS[0],),
        name_server=ip_address("10.213.0.1"),
        cluster_domain="cluster.local",
        aliases=(HostAlias(address=ip_address("192.0.2.1"), names=("a", "b.c")),),
    )
    assert files["/etc/resolv.conf"].splitlines() == [
        "nameserver 10.213.0.1",
        "search shop.svc.cluster.local svc.cluster.local cluster.local",
        "options ndots:5 timeout:2",
    ]
    assert files["/etc/hosts"].splitlines()[-2:] == ["10.213.1.1\tusers-0", "192.0.2.1\ta b.c"]
    assert files["/etc/hostname"] == "users-0\n"
    assert "hosts: files dns\n" in files["/etc/nsswitch.conf"]


def test_an_empty_table_knows_nothing() -> None:
    assert look_up(NameTable(), full("users")) == Missing(through=())
