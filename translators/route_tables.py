"""Route configurations: the outbound HTTP routes of one port."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, Vhds, VirtualHost

from model.names import RouteTable
from model.view import View
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
    built = (build_virtual_host(host, view) for host in virtual_host_names(name.port, view))
    return [host for host in built if host is not None]
