"""What a gateway serves: its ports and their route tables."""

from __future__ import annotations

from collections.abc import Mapping

from model.names import GatewayTable
from model.server_binding import BoundPort, BoundServer, bind_servers
from model.view import View
from translators.well_known_ports import METRICS, PROBES, READINESS

_OWN = (PROBES, READINESS, METRICS)


def bound_ports(view: View) -> tuple[BoundPort, ...]:
    """The ports that the asker listens on, by number; none for a sidecar."""
    binding = bind_servers(view.gateways, view.bound_port)
    return tuple(port for port in binding.ports if port.number not in _OWN)


def gateway_tables(view: View) -> Mapping[GatewayTable, tuple[BoundServer, ...]]:
    """The route tables, each with the servers that it is for. A server whose TLS cannot be ended has none."""
    return {
        table: servers
        for port in bound_ports(view)
        for table, servers in port.tables.items()
        if any(is_served(bound, view) for bound in servers)
    }


def is_served(bound: BoundServer, view: View) -> bool:
    """Whether requests can come to a server: it has no TLS, or the certificate for it is there."""
    server = bound.server
    return not server.needs_tls or (server.tls is not None and view.has_credential(server.tls.credential))
