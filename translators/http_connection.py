"""The HTTP connection manager: how requests are read, before any route is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
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

from model.names import RouteTable
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

OUTBOUND_HTTP_FILTERS: tuple[HttpFilter, ...] = (FAULT, ROUTER)
"""In the order of a request's way. A filter that does nothing by itself is switched on by a route."""


INBOUND_HTTP_FILTERS: tuple[HttpFilter, ...] = (*authorization.HTTP_FILTERS, ROUTER)
"""Who may is asked before anything else."""


def build_outbound_http(settings: MeshSettings, routes: RouteTable | RouteConfiguration) -> Filter:
    """Requests of the application. A `RouteTable` comes over the aggregated stream.

    Paths are left as the application wrote them: what they mean is for the receiving side to decide.
    """
    manager = _connection_manager(settings, OUTBOUND_HTTP_FILTERS)
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
