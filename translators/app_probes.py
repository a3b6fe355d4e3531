"""The application's own health, told by its sidecar: a port that answers a kubelet's probes in the sidecar's place.

Under STRICT mutual TLS a kubelet cannot ask the application itself, and a TCP probe of a captured port would always
succeed, since the sidecar accepts. HTTP probes are plain routes to the application. TCP and gRPC probes become HTTP
probes: Envoy checks the application actively, and its `health_check` filter answers with what it found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    BindConfig,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckTcpHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    SocketAddress,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as CommonOptions
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck as HealthCheckFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import UpstreamTlsContext
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import Percent

from protos.encoder import to_any
from translators.addresses import build_address
from translators.bootstrap_listeners import ALL_ADDRESSES
from translators.filters import http_filter, network_filter, transport_socket
from translators.http_connection import ROUTER
from translators.upstream_http import HTTP_PROTOCOL_OPTIONS
from translators.well_known_ports import PROBES

NAME = "app-health"
_RETRY = timedelta(seconds=1)
"""How often an application that does not answer is asked again, so that it is ready soon after it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAppProbe:
    """GET `path` at the sidecar is GET `app_path` (with its query) at the application's `port`.

    `tls`: over HTTPS, whatever its certificate.
    """

    path: str
    port: int
    app_path: str
    timeout: timedelta
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAppProbe:
    """GET `path` is 200 as long as a connection to the application's `port` opens, tried every `interval`."""

    path: str
    port: int
    timeout: timedelta
    interval: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcAppProbe:
    """GET `path` is 200 as long as the application's gRPC health service at `port` calls `service` SERVING.

    It is asked every `interval`.
    """

    path: str
    port: int
    timeout: timedelta
    interval: timedelta
    service: str = ""


AppProbe = HttpAppProbe | TcpAppProbe | GrpcAppProbe


def build_probe_listener(address: str, probes: Sequence[AppProbe]) -> Listener:
    """The port that answers all of them: exact paths, GET alone."""
    routes = [_build_route(probe) for probe in probes if isinstance(probe, HttpAppProbe)]
    manager = HttpConnectionManager(
        stat_prefix=NAME,
        route_config=RouteConfiguration(
            name=NAME, virtual_hosts=[VirtualHost(name=NAME, domains=["*"], routes=routes)], validate_clusters=True
        ),
        http_filters=[*(_build_filter(probe) for probe in probes if not isinstance(probe, HttpAppProbe)), ROUTER],
        request_headers_timeout=timedelta(seconds=10),
        generate_request_id=False,
        internal_address_config=HttpConnectionManagerInternalAddressConfig(),
    )
    return Listener(
        name=NAME,
        address=build_address(address, PROBES, ipv4_compat=address == ALL_ADDRESSES),
        filter_chains=[FilterChain(filters=[network_filter("envoy.filters.network.http_connection_manager", manager)])],
    )


def build_probe_clusters(address: str, source: str, probes: Sequence[AppProbe]) -> list[Cluster]:
    """The application at `address`, once for each probe. `source` is where the sidecar calls it from."""
    return [_build_cluster(address, source, probe) for probe in probes]


def _build_route(probe: HttpAppProbe) -> Route:
    return Route(
        match=_match(probe.path),
        route=RouteAction(cluster=_cluster_name(probe), prefix_rewrite=probe.app_path, timeout=probe.timeout),
        # A kubelet would follow it to the application's own port, where it is a stranger; by itself it is a success.
        response_headers_to_remove=["location"],
    )


def _match(path: str) -> RouteMatch:
    return RouteMatch(path=path, headers=[HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))])


def _build_filter(probe: TcpAppProbe | GrpcAppProbe) -> HttpFilter:
    return http_filter(
        "envoy.filters.http.health_check",
        HealthCheckFilter(
            pass_through_mode=False,
            cluster_min_healthy_percentages={_cluster_name(probe): Percent(value=100.0)},
            headers=[
                HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET")),
                HeaderMatcher(name=":path", string_match=StringMatcher(exact=probe.path)),
            ],
        ),
    )


def _build_cluster(address: str, source: str, probe: AppProbe) -> Cluster:
    name = _cluster_name(probe)
    endpoint = Endpoint(address=build_address(address, probe.port))
    cluster = Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=probe.timeout,
        upstream_bind_config=BindConfig(source_address=SocketAddress(address=source, port_value=0)),
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])]
        ),
    )
    match probe:
        case HttpAppProbe():
            cluster.typed_extension_protocol_options = {HTTP_PROTOCOL_OPTIONS: to_any(_ONCE)}
            if probe.tls:
                cluster.transport_socket = transport_socket("envoy.transport_sockets.tls", UpstreamTlsContext())
        case TcpAppProbe():
            check = _check(probe)
            check.tcp_health_check = HealthCheckTcpHealthCheck()
            cluster.health_checks = [check]
        case GrpcAppProbe():
            cluster.typed_extension_protocol_options = {HTTP_PROTOCOL_OPTIONS: to_any(_HTTP2)}
            check = _check(probe)
            check.grpc_health_check = HealthCheckGrpcHealthCheck(service_name=probe.service)
            cluster.health_checks = [check]
        case _:
            assert_never(probe)
    return cluster


def _check(probe: TcpAppProbe | GrpcAppProbe) -> HealthCheck:
    """One result decides: how many of them in a row matter is for the kubelet to count."""
    return HealthCheck(
        timeout=probe.timeout,
        interval=probe.interval,
        # By default a cluster that carries no requests, as this never does, would be checked once a minute.
        no_traffic_interval=probe.interval,
        no_traffic_healthy_interval=probe.interval,
        unhealthy_interval=min(probe.interval, _RETRY),
        unhealthy_threshold=1,
        healthy_threshold=1,
        # An application that takes no new connections is not healthy because it once did.
        reuse_connection=False,
    )


def _cluster_name(probe: AppProbe) -> str:
    return NAME + probe.path.removeprefix(f"/{NAME}").replace("/", "|")


_ONCE = HttpProtocolOptions(
    common_http_protocol_options=CommonOptions(max_requests_per_connection=1),
    explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
)
"""A connection for each probe, as a kubelet has it."""

_HTTP2 = HttpProtocolOptions(
    explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
)
