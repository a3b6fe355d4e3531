"""A gateway's listeners: one for each of its ports.

An HTTP port has one filter chain, an HTTPS port one for the names of each server. The names of a server whose
certificate is not there, or not usable, have a chain that closes the connection: no other server's certificate is shown
for them, and nothing waits for a secret that may never come.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import Address, TrafficDirection, TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector

from model.asker import Capture
from model.gateways import ServerProtocol
from model.names import BLACK_HOLE_CLUSTER, CATCH_ALL_HOST, GatewayHttpTable, GatewayListener
from model.server_binding import BoundPort, BoundServer, https_table
from model.view import View
from protos.encoder import to_any
from translators.addresses import build_address, build_wildcard
from translators.gateway_ports import bound_ports, is_served
from translators.gateway_tls import build_server_tls
from translators.http_connection import build_gateway_http
from translators.tcp_connection import build_tcp_proxy


def gateway_listeners(view: View) -> tuple[GatewayListener, ...]:
    """All listeners of the asker, by port."""
    return tuple(GatewayListener(port=port.number) for port in bound_ports(view))


def build_gateway_listener(name: GatewayListener, view: View) -> Listener | None:
    """The listener of one port, None if no server is bound to it."""
    port = next((port for port in bound_ports(view) if port.number == name.port), None)
    if port is None:
        return None
    secure = port.protocol is ServerProtocol.HTTPS
    return Listener(
        name=str(name),
        address=_address(port.number, view),
        traffic_direction=TrafficDirection.INBOUND,
        listener_filters=[_tls_inspector()] if secure else [],
        filter_chains=[chain for bound in port.servers for chain in _secure(bound, view)]
        if secure
        else [_plain(port, view)],
    )


def _address(port: int, view: View) -> Address:
    if view.capture is Capture.EXPLICIT:
        return build_address(view.address, port)
    return build_wildcard(port, ipv6=view.ipv6)


def _tls_inspector() -> ListenerFilter:
    """Reads the name that the client asks for."""
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=to_any(TlsInspector()))


def _plain(port: BoundPort, view: View) -> FilterChain:
    table = GatewayHttpTable(port=port.number)
    return FilterChain(name=str(table), filters=[build_gateway_http(view.settings, table)])


def _secure(bound: BoundServer, view: View) -> list[FilterChain]:
    """The chain for the server's names and, if it takes all names, one for the rest."""
    table = https_table(bound)
    tls = bound.server.tls
    if tls is not None and is_served(bound, view):
        filters, terminate = [build_gateway_http(view.settings, table)], build_server_tls(tls)
    else:
        filters, terminate = [build_tcp_proxy(view.settings, BLACK_HOLE_CLUSTER)], None
    names = list(dict.fromkeys(entry.host for entry in bound.hosts))
    listed = [name for name in names if name != CATCH_ALL_HOST]
    chains = [_chain(str(table), filters, terminate, listed)] if listed else []
    if CATCH_ALL_HOST in names:
        chains.append(_chain(f"{table}.*", filters, terminate, ()))
    return chains


def _chain(
    name: str, filters: Sequence[Filter], terminate: TransportSocket | None, names: Sequence[str]
) -> FilterChain:
    return FilterChain(
        name=name,
        filter_chain_match=FilterChainMatch(server_names=list(names)) if names else None,
        transport_socket=terminate,
        filters=list(filters),
    )
