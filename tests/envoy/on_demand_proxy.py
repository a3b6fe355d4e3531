"""A real Envoy with the outbound listener of a sidecar that learns on demand, from a real server in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import Listener, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.listener.proxy_protocol.v3 import ProxyProtocol

from model.asker import Asker
from model.mesh import Mesh
from model.names import OUTBOUND_LISTENER
from model.view import View
from protos.encoder import to_any
from protos.type_urls import LISTENER
from tests.envoy.xds_toy import LOOPBACK, Anyone, free_port, running_envoy, toy_server, until_acknowledged
from translators.mentions import names_needed
from translators.resources import answering, derive, names_in_scope
from xds.events import Event, Rejected
from xds.memo import Derive, Memo

WITHIN_SECONDS = 30
LISTENS_AT = "127.0.0.89"
"""Where no connection of anybody else begins, which could take a port that was free a moment ago."""


def outbound_memo(events: list[Event], change: Callable[[Listener], Listener]) -> Memo:
    """A sidecar's resources; of its listeners the outbound one alone, as `change` leaves it."""
    build = with_listeners(change)
    return Memo(derive=build, names=outbound_names, report=events.append, answering=answering, mentions=names_needed)


def with_listeners(change: Callable[[Listener], Listener]) -> Derive:
    """A sidecar's resources, its listeners as `change` leaves them."""

    def build(type_url: str, name: str, view: View) -> betterproto2.Message | None:
        message = derive(type_url, name, view)
        return change(message) if isinstance(message, Listener) else message

    return build


def outbound_names(type_url: str, view: View) -> frozenset[str]:
    """The names of a sidecar's resources, of its listeners the outbound one alone."""
    return frozenset({OUTBOUND_LISTENER}) if type_url == LISTENER else names_in_scope(type_url, view)


def told_where(listener: Listener, port: int, address: str = LOOPBACK) -> Listener:
    """The same on that port: in place of iptables, each connection says where it was going."""
    listener.address = Address(socket_address=SocketAddress(address=address, port_value=port))
    told = ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=to_any(ProxyProtocol()))
    listener.listener_filters = [told, *listener.listener_filters[1:]]
    return listener


@contextmanager
def on_demand_sidecar(snapshot: Mesh, asker: Asker, directory: Path) -> Iterator[int]:
    """The port of its listener at `LISTENS_AT`, as long as the block lasts. Nothing that it is sent may be refused."""
    ready: Future[int] = Future()
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        serving = pool.submit(lambda: asyncio.run(_serve(snapshot, asker, directory, ready, ended)))
        try:
            wait((ready, serving), return_when=FIRST_COMPLETED)
            if serving.done():
                serving.result()
            yield ready.result()
        finally:
            ended.set()
        serving.result()


async def _serve(snapshot: Mesh, asker: Asker, directory: Path, ready: Future[int], ended: threading.Event) -> None:
    events: list[Event] = []
    port = free_port(LISTENS_AT)
    memo = outbound_memo(events, lambda listener: told_where(listener, port, LISTENS_AT))
    async with toy_server(events, on_demand=True, memo=memo, admission=Anyone(asker=asker)) as toy:
        toy.server.publish(snapshot, 1)
        async with running_envoy(directory, ads_port=toy.port, delta=True):
            await until_acknowledged(toy, 1, within=WITHIN_SECONDS)
            await until_listening(port, LISTENS_AT)
            ready.set_result(port)
            await asyncio.to_thread(ended.wait)
            (state,) = toy.server.state()
            assert state.asker.on_demand
    assert not [event for event in events if isinstance(event, Rejected)]


async def until_listening(port: int, address: str = LOOPBACK) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection(address, port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
