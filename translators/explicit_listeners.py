"""The listeners where traffic is not captured: the loopback mode, in which every workload has an address of its own.

Outbound is one HTTP proxy for all ports; inbound is a listener for each declared port, on the workload's address.
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost

from model.names import INBOUND_LISTENER, OUTBOUND_LISTENER
from model.view import View
from translators.addresses import build_address
from translators.http_connection import build_outbound_http
from translators.inbound_chains import build_inbound_chains
from translators.inbound_listener import detection_timeout, inspectors
from translators.inbound_ports import inbound_targets
from translators.route_tables import MAX_DIRECT_RESPONSE_BYTES
from translators.scope import http_ports
from translators.virtual_hosts import build_virtual_host, virtual_host_names
from translators.well_known_ports import METRICS, OUTBOUND, READINESS

DEFAULT_PORT = 80
"""The port that a request means whose host names none."""


def build_explicit_outbound_listener(view: View) -> Listener:
    """An HTTP proxy on the workload's own address; a request's host and port choose where it goes."""
    routes = RouteConfiguration(
        name="proxy",
        virtual_hosts=list(_virtual_hosts(view)),
        validate_clusters=False,
        most_specific_header_mutations_wins=True,
        max_direct_response_body_size_bytes=MAX_DIRECT_RESPONSE_BYTES,
    )
    return Listener(
        name=OUTBOUND_LISTENER,
        address=build_address(view.address, OUTBOUND),
        traffic_direction=TrafficDirection.OUTBOUND,
        filter_chains=[FilterChain(name="proxy", filters=[build_outbound_http(view.settings, routes)])],
    )


def build_explicit_inbound_listener(port: int, view: View) -> Listener | None:
    """One declared port on the workload's own address, under the same rules as a captured one; None for any other."""
    target = next((target for target in inbound_targets(view) if target.port == port), None)
    if target is None or port not in explicit_inbound_ports(view):
        return None
    return Listener(
        name=inbound_listener_name(port),
        address=build_address(view.address, port),
        traffic_direction=TrafficDirection.INBOUND,
        listener_filters=inspectors([target]),
        listener_filters_timeout=detection_timeout(view.settings),
        continue_on_listener_filters_timeout=True,
        filter_chains=build_inbound_chains(target, view),
    )


def explicit_inbound_ports(view: View) -> tuple[int, ...]:
    """The declared ports, except those that the sidecar needs for itself."""
    own = (OUTBOUND, READINESS, METRICS)
    return tuple(port.number for port in view.inbound_ports if port.number not in own)


def inbound_listener_name(port: int) -> str:
    """`virtualInbound:PORT`."""
    return f"{INBOUND_LISTENER}:{port}"


def parse_inbound_listener(name: str) -> int:
    """The port in `virtualInbound:PORT`. Raises ValueError if `name` is anything else."""
    listener, _, port = name.partition(":")
    if listener != INBOUND_LISTENER or not (port.isascii() and port.isdigit()) or str(int(port)) != port:
        raise ValueError(f"{name!r} names no inbound listener")
    return int(port)


def _virtual_hosts(view: View) -> Iterator[VirtualHost]:
    """Those of all tables, told apart by the port in the host. A domain belongs to whoever has it first."""
    taken: set[str] = set()
    ports = [DEFAULT_PORT, *(port for port in http_ports(view) if port != DEFAULT_PORT)]
    for port in ports:
        for name in virtual_host_names(port, view):
            host = build_virtual_host(name, view)
            if host is None:
                continue
            domains = [domain for domain in _with_port(host.domains, port) if domain.lower() not in taken]
            taken.update(domain.lower() for domain in domains)
            if domains:
                host.domains = domains
                yield host


def _with_port(domains: list[str], port: int) -> list[str]:
    """Each domain with the port; on the default port without it too."""
    bare = [domain.removesuffix(f":{port}") for domain in domains]
    with_port = [f"{domain}:{port}" for domain in bare if not domain.endswith("*")]
    return list(dict.fromkeys([*(bare if port == DEFAULT_PORT else ()), *with_port]))
