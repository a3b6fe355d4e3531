"""Route configurations: the outbound HTTP routes of one port."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, Vhds, VirtualHost

from model.names import RouteTable, VirtualHostName
from model.view import View
from protos.encoder import encoded
from translators.config_source import ads
from translators.virtual_hosts import build_virtual_host, virtual_host_names

MAX_DIRECT_RESPONSE_BYTES = 1024 * 1024
"""Istio's limit for a VirtualService's own answers; Envoy's default is 4 KiB."""


def build_route_table(name: RouteTable, view: View) -> RouteConfiguration:
    """The table of a port: its virtual hosts come by VHDS if the caller can take them so, else inside.

    There is one for every port: at the least it says what becomes of unknown hosts. A route may name a cluster that
    does not exist: it answers 503, and the others work. The port of a Host header is ignored: a table is of one port.
    """
    return RouteConfiguration(
        name=str(name),
        vhds=Vhds(config_source=ads()) if view.vhds else None,
        virtual_hosts=[] if view.vhds else _virtual_hosts(name, view),
        validate_clusters=False,
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes=MAX_DIRECT_RESPONSE_BYTES,
    )


def _virtual_hosts(name: RouteTable, view: View) -> list[VirtualHost]:
    # A change of one host builds and encodes that one: the others are joined as they are.
    build = _encoded if view.shares else _build
    built = (view.shared(build, host) for host in view.shared(_names, name.port))
    return [host for host in built if host is not None]


def _names(view: View, port: int) -> tuple[VirtualHostName, ...]:
    return virtual_host_names(port, view)


def _build(view: View, name: VirtualHostName) -> VirtualHost | None:
    return build_virtual_host(name, view)


def _encoded(view: View, name: VirtualHostName) -> VirtualHost | None:
    built = build_virtual_host(name, view)
    return None if built is None else encoded(built)
