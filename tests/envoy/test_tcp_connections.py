"""What a DestinationRule says of TCP connections, at work in a real Envoy."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from model.mesh import Mesh
from model.on_demand import SidecarConfig
from model.services import Endpoint, Protocol
from model.traffic import ConnectionPool, ConsistentHash, HashSourceAddress, TrafficPolicy
from tests.envoy.outbound_proxy import Proxy, proxying
from tests.unit.translators.outbound_meshes import mesh, rule, service

pytestmark = pytest.mark.envoy
IN_BOTH_MODES = True

DB = service("db", (5432, Protocol.TCP), addresses=("10.1.0.2",))
BY_SOURCE = ConsistentHash(key=HashSourceAddress())
MOMENT = timedelta(milliseconds=100)


@contextmanager
def greeting(address: str) -> Iterator[Endpoint]:
    """A server that says its address, then listens until the client is gone."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(address.encode())
            while self.request.recv(1024):
                pass

    with socketserver.ThreadingTCPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Endpoint(address=address, ports={5432: server.server_address[1]}, ready=True)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def four() -> Iterator[tuple[Endpoint, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(greeting(f"127.0.0.{last}")) for last in range(2, 6))


@contextmanager
def connecting(
    policy: TrafficPolicy, endpoints: tuple[Endpoint, ...], directory: Path, config: SidecarConfig
) -> Iterator[Proxy]:
    """An Envoy whose connections go to the service `db`."""
    snapshot: Mesh = mesh([DB], endpoints={DB.host: endpoints}, rules=[rule(DB.host, policy=policy)])
    with proxying(snapshot, directory, config, tcp=(DB.addresses[0], 5432)) as running:
        yield running


def reached(proxy: Proxy, source: str = "127.0.0.1") -> str:
    """The address of the endpoint that a connection from `source` comes to."""
    with proxy.connect(source) as connection:
        return connection.recv(1024).decode()


def test_connections_of_one_source_come_to_one_endpoint(
    four: tuple[Endpoint, ...], config: SidecarConfig, tmp_path: Path
) -> None:
    sources = [f"127.0.1.{last}" for last in range(1, 21)]
    with connecting(TrafficPolicy(load_balancer=BY_SOURCE), four, tmp_path, config) as proxy:
        homes = {source: {reached(proxy, source) for _ in range(10)} for source in sources}
    assert {len(home) for home in homes.values()} == {1}
    assert len({name for home in homes.values() for name in home}) > 1


def test_connections_of_one_source_spread_where_nothing_is_said(
    four: tuple[Endpoint, ...], config: SidecarConfig, tmp_path: Path
) -> None:
    with connecting(TrafficPolicy(), four, tmp_path, config) as proxy:
        assert len({reached(proxy) for _ in range(40)}) > 1


@pytest.mark.parametrize(
    "pool",
    [ConnectionPool(tcp_idle_timeout=MOMENT), ConnectionPool(max_connection_duration=MOMENT)],
    ids=["idle", "old"],
)
def test_a_connection_ends_when_it_is(
    pool: ConnectionPool, four: tuple[Endpoint, ...], config: SidecarConfig, tmp_path: Path
) -> None:
    with (
        connecting(TrafficPolicy(connection_pool=pool), four, tmp_path, config) as proxy,
        proxy.connect() as connection,
    ):
        assert connection.recv(1024)
        assert connection.recv(1024) == b""
