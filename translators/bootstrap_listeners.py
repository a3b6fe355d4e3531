"""The ports that a sidecar answers itself: readiness and metrics, exact paths only, from its admin socket."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, Pipe
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from translators.addresses import build_address
from translators.filters import network_filter
from translators.http_connection import ROUTER
from translators.well_known_ports import METRICS, READINESS

ADMIN_CLUSTER = "admin"
ALL_ADDRESSES = "::"

READY_PATH = "/healthz/ready"
METRICS_PATH = "/stats/prometheus"


def build_admin_cluster(socket: str) -> Cluster:
    """The sidecar's own admin interface."""
    return Cluster(
        name=ADMIN_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        load_assignment=ClusterLoadAssignment(
            cluster_name=ADMIN_CLUSTER,
            endpoints=[
                LocalityLbEndpoints(
                    lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=Address(pipe=Pipe(path=socket))))]
                )
            ],
        ),
    )


def build_own_listeners(address: str) -> list[Listener]:
    """Readiness: 200 once the first configuration is in force. Metrics: in Prometheus' text form."""
    return [
        _build_listener("readiness", address, READINESS, READY_PATH, "/ready"),
        _build_listener("metrics", address, METRICS, METRICS_PATH, METRICS_PATH),
    ]


def _build_listener(name: str, address: str, port: int, path: str, admin_path: str) -> Listener:
    """One exact path, GET alone, no query passed on: the admin interface behind it can do much more."""
    routes = RouteConfiguration(
        name=name,
        virtual_hosts=[
            VirtualHost(
                name=name,
                domains=["*"],
                routes=[
                    Route(
                        match=RouteMatch(
                            path=path,
                            headers=[HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))],
                        ),
                        route=RouteAction(cluster=ADMIN_CLUSTER, path_rewrite=admin_path),
                    )
                ],
            )
        ],
    )
    manager = HttpConnectionManager(
        stat_prefix=name,
        route_config=routes,
        http_filters=[ROUTER],
        normalize_path=True,
        request_headers_timeout=timedelta(seconds=10),
        internal_address_config=HttpConnectionManagerInternalAddressConfig(),
    )
    return Listener(
        name=name,
        address=build_address(address, port, ipv4_compat=address == ALL_ADDRESSES),
        filter_chains=[FilterChain(filters=[network_filter("envoy.filters.network.http_connection_manager", manager)])],
    )
