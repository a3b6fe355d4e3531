"""The HTTP connection manager: how requests are read, before any route is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
from envoy_data_plane.envoy.extensions.filters.http.on_demand.v3 import OnDemand
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerSetCurrentClientCertDetails,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    Rds,
)

from model.names import GatewayTable, RouteTable
from model.settings import MeshSettings, PathNormalization
from translators import authorization
from translators.access_log import build_access_logs
from translators.config_source import ads
from translators.filters import http_filter, network_filter

NEVER = timedelta(0)
"""How Envoy is told to have no timeout: a call may stay silent for as long as its two ends like."""

UPGRADES = ("websocket", "CONNECT")

FAULT = http_filter("envoy.filters.http.fault", HttpFault())
ROUTER = http_filter("envoy.filters.http.router", Router())

ON_DEMAND = http_filter("envoy.filters.http.on_demand", OnDemand())

OUTBOUND_HTTP_FILTERS: tuple[HttpFilter, ...] = (FAULT, ROUTER)
"""In the order of a request's way. A filter that does nothing by itself is switched on by a route."""

ON_DEMAND_HTTP_FILTERS: tuple[HttpFilter, ...] = (ON_DEMAND, *OUTBOUND_HTTP_FILTERS)
"""A request whose virtual host is not known yet waits first of all, and then begins anew: what came before would run
twice."""

ON_DEMAND_WITHIN = timedelta(seconds=15)
"""How long a request waits for its virtual host, silent or with a body that does not come, before it is answered
with 504 (408 if it is not complete). Every route has an idle timeout of its own, which then holds instead."""

INBOUND_HTTP_FILTERS: tuple[HttpFilter, ...] = (*authorization.HTTP_FILTERS, ROUTER)
"""Who may is asked before anything else."""


GATEWAY_HTTP_FILTERS: tuple[HttpFilter, ...] = (*authorization.HTTP_FILTERS, FAULT, ROUTER)
"""Who may is asked first here too; then what a route's caller does."""

EDGE_IDLE_TIMEOUT = timedelta(hours=1)
EDGE_HEADERS_TIMEOUT = timedelta(seconds=10)
"""From the first byte of a request to the end of its headers."""
EDGE_STREAM_IDLE_TIMEOUT = timedelta(minutes=5)
"""Until a route is found, whose own timeout then holds."""
EDGE_STREAMS = 100
EDGE_STREAM_WINDOW, EDGE_CONNECTION_WINDOW = 64 * 1024, 1024 * 1024
"""Bytes that one client can have a gateway hold: a stream's, and all of a connection's."""


def build_outbound_http(
    settings: MeshSettings, routes: RouteTable | RouteConfiguration, *, on_demand: bool = False
) -> Filter:
    """Requests of the application. A `RouteTable` comes over the aggregated stream; `on_demand`: piece by piece.

    Paths are left as the application wrote them: what they mean is for the receiving side to decide.
    """
    manager = _connection_manager(settings, ON_DEMAND_HTTP_FILTERS if on_demand else OUTBOUND_HTTP_FILTERS)
    if on_demand:
        manager.stream_idle_timeout = ON_DEMAND_WITHIN
    match routes:
        case RouteTable():
            manager.stat_prefix = f"outbound_{routes}"
            manager.rds = Rds(config_source=ads(), route_config_name=str(routes))
        case RouteConfiguration():
            manager.stat_prefix = f"outbound_{routes.name}"
            manager.route_config = routes
    manager.normalize_path = False
    manager.forward_client_cert_details = HttpConnectionManagerForwardClientCertDetails.SANITIZE
    return _as_filter(manager)


def build_inbound_http(settings: MeshSettings, routes: str) -> Filter:
    """Requests to the application: paths are made comparable first, and the caller's identity is our word alone.

    `routes` names the table, which comes over the aggregated stream.
    """
    manager = _connection_manager(settings, INBOUND_HTTP_FILTERS)
    manager.stat_prefix = f"inbound_{routes}"
    manager.rds = Rds(config_source=ads(), route_config_name=routes)
    normalization = settings.path_normalization
    manager.normalize_path = normalization is not PathNormalization.NONE
    manager.merge_slashes = normalization in (
        PathNormalization.MERGE_SLASHES,
        PathNormalization.DECODE_AND_MERGE_SLASHES,
    )
    manager.path_with_escaped_slashes_action = (
        HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD
        if normalization is PathNormalization.DECODE_AND_MERGE_SLASHES
        else HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED
    )
    manager.forward_client_cert_details = HttpConnectionManagerForwardClientCertDetails.SANITIZE_SET
    manager.set_current_client_cert_details = HttpConnectionManagerSetCurrentClientCertDetails(subject=True, uri=True)
    return _as_filter(manager)


def build_gateway_http(settings: MeshSettings, table: GatewayTable) -> Filter:
    """Requests from outside the mesh, who may be anybody: nothing they say of themselves is taken over.

    Their address is that of the connection; identity headers and `x-envoy-*` are taken out. A path has one spelling
    (others are redirected to it), a header one name (with underscores it is refused), a host no final dot. Source:
    Envoy's "Configuring Envoy as an edge proxy".
    """
    manager = _connection_manager(settings, GATEWAY_HTTP_FILTERS)
    manager.stat_prefix = f"inbound_{table}"
    manager.rds = Rds(config_source=ads(), route_config_name=str(table))
    manager.use_remote_address = True
    manager.upgrade_configs = [HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")]
    manager.normalize_path = True
    manager.merge_slashes = True
    manager.path_with_escaped_slashes_action = HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT
    manager.strip_trailing_host_dot = True
    manager.forward_client_cert_details = HttpConnectionManagerForwardClientCertDetails.SANITIZE
    manager.common_http_protocol_options = HttpProtocolOptions(
        idle_timeout=EDGE_IDLE_TIMEOUT,
        headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
    )
    manager.http2_protocol_options = Http2ProtocolOptions(
        max_concurrent_streams=EDGE_STREAMS,
        initial_stream_window_size=EDGE_STREAM_WINDOW,
        initial_connection_window_size=EDGE_CONNECTION_WINDOW,
    )
    manager.request_headers_timeout = EDGE_HEADERS_TIMEOUT
    manager.stream_idle_timeout = EDGE_STREAM_IDLE_TIMEOUT
    return _as_filter(manager)


def _connection_manager(settings: MeshSettings, filters: Sequence[HttpFilter]) -> HttpConnectionManager:
    """What both directions share. No address counts as internal: nobody steers us by `x-envoy-*` request headers."""
    return HttpConnectionManager(
        http_filters=list(filters),
        use_remote_address=False,
        internal_address_config=HttpConnectionManagerInternalAddressConfig(),
        generate_request_id=True,
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        http_protocol_options=Http1ProtocolOptions(accept_http_10=True),
        stream_idle_timeout=NEVER,
        request_timeout=NEVER,
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type=name) for name in UPGRADES],
        access_log=build_access_logs(settings),
    )


def _as_filter(manager: HttpConnectionManager) -> Filter:
    return network_filter("envoy.filters.network.http_connection_manager", manager)
