"""A real Envoy that learns TCP destinations by their addresses, with the very listener and clusters of a sidecar.

In place of a redirected connection it is told by the PROXY protocol where the application was going.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
from envoy_data_plane.envoy.config.listener.v3 import Filter, Listener
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy

from model.mesh import Mesh
from model.services import Endpoint, Protocol, Resolution, Service
from model.settings import MeshSettings, OutboundTraffic
from protos.encoder import to_any
from tests.envoy.on_demand_proxy import outbound_memo, told_where, until_listening
from tests.envoy.xds_toy import LOOPBACK, ToyServer, free_port, running_envoy, stats, toy_server, until_acknowledged
from tests.unit.translators.outbound_meshes import mesh, service
from xds.demand import DemandLimits
from xds.events import Event, Rejected, StreamClosed
from xds.memo import Memo

pytestmark = pytest.mark.envoy

BOUND_SECONDS = 3
ACTIVE = "cluster_manager.active_clusters"
DATABASE, OTHER = "10.96.0.1", "10.96.0.2"
TCP = Protocol.TCP
REGISTRY_ONLY = OutboundTraffic.REGISTRY_ONLY


def toy_memo(port: int, events: list[Event]) -> Memo:
    """A sidecar's resources; of its listeners the outbound one alone, on that loopback port, with a shorter bound."""
    return outbound_memo(events, lambda listener: moved(listener, port))


def moved(listener: Listener, port: int) -> Listener:
    told_where(listener, port)
    for chain in listener.filter_chains:
        for each in chain.filters:
            shorten(each)
    return listener


def shorten(filter_: Filter) -> None:
    if filter_.name == "envoy.filters.network.tcp_proxy" and filter_.typed_config is not None:
        proxy = TcpProxy.parse(filter_.typed_config.value)
        if proxy.on_demand is not None:
            proxy.on_demand.timeout = timedelta(seconds=BOUND_SECONDS)
            filter_.typed_config = to_any(proxy)


class Application:
    """What calls: each connection says where it goes."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def call(self, address: str, port: int, says: str = "hello") -> tuple[str, float]:
        """What is answered first, '' if the connection is closed without a word, and after how many seconds."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reader, writer = await self.open(address, port)
        try:
            writer.write(says.encode())
            async with asyncio.timeout(20):
                answer = await reader.read(100)
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        return answer.decode(), loop.time() - begun

    async def open(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        writer.write(f"PROXY TCP4 127.0.0.1 {address} 40000 {port}\r\n".encode())
        return reader, writer


@asynccontextmanager
async def server(greeting: str = "", echo: str = "") -> AsyncIterator[int]:
    """A loopback server that speaks first, or answers each message with its name; its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(greeting.encode())
            while await reader.read(100):
                writer.write(echo.encode())
        except ConnectionError:
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(talk, LOOPBACK, 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


Served: TypeAlias = tuple[Service, tuple[Endpoint, ...]]


def at(upstream: int, port: int = 5432, address: str = LOOPBACK) -> tuple[Endpoint, ...]:
    return (Endpoint(address=address, ports={port: upstream}),)


def a_mesh(*served: Served, mode: OutboundTraffic = OutboundTraffic.ALLOW_ANY) -> Mesh:
    services = [each for each, _ in served]
    endpoints = {each.host: found for each, found in served}
    settings = MeshSettings(outbound_traffic=mode, access_log_file="/dev/stdout")
    return mesh(services, endpoints=endpoints, settings=settings)


def database(address: str = DATABASE, name: str = "db") -> Service:
    return service(name, (5432, TCP), addresses=(address,))


@asynccontextmanager
async def sidecar(
    directory: Path, snapshot: Mesh, events: list[Event], limits: DemandLimits | None = None
) -> AsyncIterator[tuple[Application, ToyServer, int]]:
    """The application, the control plane and Envoy's admin port."""
    port = free_port()
    async with toy_server(events, on_demand=True, memo=toy_memo(port, events), limits=limits or DemandLimits()) as toy:
        toy.server.publish(snapshot, 1)
        async with running_envoy(directory, ads_port=toy.port, delta=True) as admin:
            await until_listening(port)
            yield Application(port), toy, admin
    assert not [event for event in events if isinstance(event, Rejected)]


async def until(holds: Callable[[], Awaitable[bool]], within: float = 30) -> None:
    async with asyncio.timeout(within):
        while not await holds():  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(0.02)


async def active(admin: int) -> int:
    return (await stats(admin, ACTIVE))[ACTIVE]


async def test_what_is_called_first_is_held_until_its_cluster_is_there(tmp_path: Path) -> None:
    async with server(echo="db") as first, server(greeting="ready") as second:
        others = [(database(f"10.98.{n // 250}.{n % 250 + 1}", f"s{n}"), at(first)) for n in range(300)]
        snapshot = a_mesh((database(), at(first)), (database(OTHER, "greeter"), at(second)), *others)
        async with sidecar(tmp_path, snapshot, []) as (application, _, admin):
            before = await active(admin)
            assert (await application.call(DATABASE, 5432))[0] == "db"
            assert (await application.call(OTHER, 5432, says=""))[0] == "ready", "a server that speaks first"
            assert await active(admin) == before + 2
            names = await stats(admin, "cluster.outbound.5432..db.shop.*upstream_cx_total")
            assert set(names.values()) == {1}, "statistics have the service's name"
            many = await asyncio.gather(*(application.call(f"10.98.0.{n + 1}", 5432) for n in range(100)))
            assert {answer for answer, _ in many} == {"db"}
            assert max(seconds for _, seconds in many) < BOUND_SECONDS
    logged = [line for line in (tmp_path / "envoy.log").read_text().splitlines() if DATABASE in line]
    assert len(logged) == 1
    assert "outbound|5432||db.shop.svc.cluster.local" in logged[0], "the log has the service's name too"


async def test_pods_of_a_headless_service_are_called_one_by_one(tmp_path: Path) -> None:
    async with server(echo="pod") as upstream:
        store = service("store", (5432, TCP), resolution=Resolution.HEADLESS)
        pods = (*at(upstream), *at(upstream, address="127.0.0.2"))  # the second does not listen there
        async with sidecar(tmp_path, a_mesh((store, pods), (database(), at(upstream))), []) as (application, _, _):
            assert (await application.call(LOOPBACK, 5432))[0] == "pod"
            assert [(await application.call("127.0.0.2", 5432))[0] for _ in range(5)] == [""] * 5
            assert [(await application.call(LOOPBACK, 5432))[0] for _ in range(5)] == ["pod"] * 5


async def test_unknown_addresses_pass_at_once_or_are_refused_at_once(tmp_path: Path) -> None:
    events: list[Event] = []
    async with server(echo="other") as unknown, server(echo="db") as upstream:
        near = database(LOOPBACK, "near")  # whose other ports are nobody's
        services = (database(), at(upstream)), (near, at(upstream))
        async with sidecar(tmp_path, a_mesh(*services), events) as (application, toy, admin):
            before = await active(admin)
            assert (await application.call(LOOPBACK, unknown))[0] == "other"
            assert await active(admin) == before + 1
            assert (await stats(admin, "cluster.PassthroughCluster.upstream_cx_total")).popitem()[1] == 1
            toy.server.publish(a_mesh(*services, mode=REGISTRY_ONLY), 2)
            await until_acknowledged(toy, 2)
            for address in (LOOPBACK, "10.96.0.77", "10.96.0.77", "203.0.113.1"):
                answer, seconds = await application.call(address, unknown)
                assert (answer, seconds < BOUND_SECONDS / 2) == ("", True), address
            assert (await application.call(DATABASE, 5432))[0] == "db"


async def test_what_comes_and_goes_at_an_address_is_followed_and_hurts_no_other(tmp_path: Path) -> None:
    async with server(echo="one") as one, server(echo="two") as two:
        other = (database(OTHER, "other"), at(one))
        async with sidecar(tmp_path, a_mesh(other, mode=REGISTRY_ONLY), []) as (application, toy, admin):
            reader, writer = await application.open(OTHER, 5432)
            turns: tuple[tuple[tuple[Served, ...], str], ...] = (
                ((), ""),
                (((database(), at(one)),), "one"),
                (((database(), at(two)),), "two"),
                (((database(name="another"), at(one)),), "one"),
                ((), ""),
                (((service("mixed", (5432, Protocol.DETECT), addresses=(DATABASE,)), at(two)),), "two"),
            )
            for generation, (served, answer) in enumerate(turns, 2):
                toy.server.publish(a_mesh(other, *served, mode=REGISTRY_ONLY), generation)
                await until_acknowledged(toy, generation)
                found, seconds = await application.call(DATABASE, 5432)
                assert (found, seconds < BOUND_SECONDS / 2) == (answer, True), generation
            draining = await stats(admin, "listener_manager.total_filter_chains_draining")
            assert set(draining.values()) == {0}, "a chain that drains closes its connections"
            writer.write(b"hello")
            assert await reader.read(100) == b"one"
            writer.close()


async def test_bytes_on_a_port_of_requests_are_told_apart_by_address(tmp_path: Path) -> None:
    async with server(greeting="ready") as upstream:
        requests = service("web", (5432, Protocol.HTTP), addresses=(OTHER,))
        async with sidecar(tmp_path, a_mesh((requests, ()), (database(), at(upstream))), []) as (application, _, _):
            assert (await application.call(DATABASE, 5432, says=""))[0] == "ready"
            answer, _ = await application.call(OTHER, 5432, says="GET / HTTP/1.1\r\nHost: web.shop\r\n\r\n")
            assert answer.startswith("HTTP/1.1 503")


async def test_an_outage_takes_nothing_that_was_used_and_bounds_the_rest(tmp_path: Path) -> None:
    events: list[Event] = []
    async with server(echo="db") as upstream, server(echo="far") as far:
        snapshot = a_mesh((database(), at(upstream)), (database(OTHER, "other"), at(upstream)))
        async with sidecar(tmp_path, snapshot, events) as (application, toy, admin):
            assert (await application.call(DATABASE, 5432))[0] == "db"
            reader, writer = await application.open(DATABASE, 5432)
            await until_acknowledged(toy, 1)
            await toy.server.stop()
            assert (await application.call(DATABASE, 5432))[0] == "db"
            assert (await application.call(LOOPBACK, far))[0] == "far", "what cannot be the mesh's is not asked for"
            answer, seconds = await application.call(OTHER, 5432)
            assert (answer, BOUND_SECONDS - 0.5 < seconds < BOUND_SECONDS + 2) == ("", True)
            clusters = await active(admin)
            again = toy_server(events, port=toy.port, on_demand=True, memo=toy_memo(application.port, events))
            async with again as back:
                back.server.publish(snapshot, 1)
                await until(lambda: holds(back, 1))
                assert (await application.call(OTHER, 5432))[0] == "db"
                assert (await application.call(DATABASE, 5432))[0] == "db"
                assert await active(admin) == clusters + 1
                writer.write(b"still")
                assert await reader.read(100) == b"db"
                writer.close()


async def holds(toy: ToyServer, generation: int) -> bool:
    return any(state.acknowledged(generation) for state in toy.server.state())


async def test_whoever_calls_unknown_addresses_without_end_gets_everything_ahead(tmp_path: Path) -> None:
    events: list[Event] = []
    async with server(echo="db") as upstream:
        snapshot = a_mesh((database(), at(upstream)), (database(OTHER, "other"), at(upstream)), mode=REGISTRY_ONLY)
        limits = DemandLimits(addresses=20)
        async with sidecar(tmp_path, snapshot, events, limits) as (application, toy, _):
            reader, writer = await application.open(DATABASE, 5432)
            writer.write(b"hello")
            assert await reader.read(100) == b"db"
            for number in range(25):
                assert (await application.call(f"10.1.2.{number}", 80))[0] == ""
            await until(lambda: eager(toy))
            await until_acknowledged(toy, 1, within=5)  # the new clusters share their endpoints with what it asked for
            writer.write(b"still")
            assert await reader.read(100) == b"db"
            writer.close()
            assert (await application.call(DATABASE, 5432))[0] == "db"
            assert (await application.call(OTHER, 5432))[0] == "db"
    assert "mode" in [event.reason for event in events if isinstance(event, StreamClosed)]


async def eager(toy: ToyServer) -> bool:
    return any(not state.asker.on_demand for state in toy.server.state())
