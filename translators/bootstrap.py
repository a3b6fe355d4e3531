"""What a sidecar starts with: who it is, where the control plane is, and the two ports it answers for itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    ClusterManager,
    LayeredRuntime,
    RuntimeLayer,
    RuntimeLayerAdminLayer,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    BindConfig,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Node,
    Pipe,
    SocketOption,
    SocketOptionSocketState,
)
from envoy_data_plane.envoy.config.core.v3 import Locality as LocalityMessage
from envoy_data_plane.envoy.config.metrics.v3 import StatsConfig
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.google.protobuf import Struct, Value

from model.names import CLUSTER_DOMAIN, XDS_CLUSTER
from model.pods import ProxyKind
from model.services import Locality
from protos.encoder import to_any
from protos.json_form import to_json_value
from translators.bootstrap_listeners import build_admin_cluster, build_own_listeners
from translators.config_source import ads
from translators.control_plane_cluster import ControlPlane, build_control_plane_cluster

NodeType = Literal["sidecar", "router"]
"""What a proxy is for: one application, or a gateway. Istio's words."""

NODE_TYPES: Mapping[ProxyKind, NodeType] = {
    ProxyKind.SIDECAR: "sidecar",
    ProxyKind.GATEWAY: "router",
    ProxyKind.PROXYLESS: "sidecar",
}

MAX_PROGRAM_SIZE = 32768
"""How large a compiled regular expression may be; Envoy's own limit of 100 refuses even a long literal. As Istio."""

MAX_CONNECTIONS = 50_000
"""Connections to the sidecar at the same time, so that a flood ends in refusals and not in a dead process."""

SOL_SOCKET = 1
SO_MARK = 36
CAPTURE_EXEMPT_MARK = 1337
"""The mark by which capture rules know the sidecar's own connections, where they cannot go by its user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapParameters:
    """All that is particular to one sidecar.

    `admin_socket` is the path of a unix socket, opened for the sidecar's own user only. `delta` False asks for the
    state-of-the-world protocol. `mark` sets `CAPTURE_EXEMPT_MARK` on every connection that the sidecar opens,
    which takes the capability to do so. `own_address` is where readiness and metrics are answered: `::` or `0.0.0.0`
    for every address, the workload's own in the loopback mode.
    """

    namespace: str
    pod: str
    address: str
    service_account: str
    workload: str
    control_plane: ControlPlane
    admin_socket: str
    labels: Mapping[str, str] = field(default_factory=dict)
    locality: Locality = field(default_factory=Locality)
    metadata: Mapping[str, str] = field(default_factory=dict)
    delta: bool = True
    mark: bool = False
    own_address: str = "::"
    max_connections: int = MAX_CONNECTIONS
    node_type: NodeType = "sidecar"


def node_id(*, namespace: str, pod: str, address: str, node_type: NodeType = "sidecar") -> str:
    """`sidecar~ADDRESS~POD.NAMESPACE~NAMESPACE.svc.cluster.local`. Istio's form."""
    return f"{node_type}~{address}~{pod}.{namespace}~{namespace}.svc.{CLUSTER_DOMAIN}"


def build_bootstrap(parameters: BootstrapParameters) -> Bootstrap:
    """The bootstrap of one sidecar."""
    return Bootstrap(
        node=_node(parameters),
        admin=Admin(address=Address(pipe=Pipe(path=parameters.admin_socket, mode=0o600))),
        dynamic_resources=BootstrapDynamicResources(
            ads_config=_ads_stream(parameters), cds_config=ads(), lds_config=ads()
        ),
        static_resources=BootstrapStaticResources(
            clusters=[
                build_control_plane_cluster(parameters.control_plane),
                build_admin_cluster(parameters.admin_socket),
            ],
            listeners=build_own_listeners(parameters.own_address),
        ),
        cluster_manager=ClusterManager(upstream_bind_config=_exempt() if parameters.mark else None),
        layered_runtime=_runtime(),
        overload_manager=_limits(parameters.max_connections),
        stats_config=StatsConfig(use_all_default_tags=True),
        stats_flush_interval=timedelta(seconds=5),
    )


def to_json(bootstrap: Bootstrap) -> str:
    """The form that `envoy --config-path FILE.json` reads, indented for people."""
    return json.dumps(to_json_value(bootstrap), indent=2) + "\n"


def _node(parameters: BootstrapParameters) -> Node:
    locality = parameters.locality
    return Node(
        id=node_id(
            namespace=parameters.namespace,
            pod=parameters.pod,
            address=parameters.address,
            node_type=parameters.node_type,
        ),
        cluster=f"{parameters.workload}.{parameters.namespace}",
        locality=LocalityMessage(region=locality.region, zone=locality.zone, sub_zone=locality.subzone),
        metadata=_struct(
            {
                "NAMESPACE": parameters.namespace,
                "NAME": parameters.pod,
                "SERVICE_ACCOUNT": parameters.service_account,
                "WORKLOAD_NAME": parameters.workload,
                "INSTANCE_IPS": parameters.address,
                **parameters.metadata,
            },
            {"LABELS": parameters.labels},
        ),
    )


def _struct(values: Mapping[str, str], nested: Mapping[str, Mapping[str, str]]) -> Struct:
    fields = {name: Value(string_value=value) for name, value in sorted(values.items())}
    for name, inner in nested.items():
        fields[name] = Value(struct_value=_struct(inner, {}))
    return Struct(fields=fields)


def _ads_stream(parameters: BootstrapParameters) -> ApiConfigSource:
    return ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC if parameters.delta else ApiConfigSourceApiType.GRPC,
        transport_api_version=ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=XDS_CLUSTER))],
    )


def _exempt() -> BindConfig:
    """Marks the sockets of every cluster that has no bind configuration of its own."""
    return BindConfig(
        socket_options=[
            SocketOption(
                description="exempt from capture",
                level=SOL_SOCKET,
                name=SO_MARK,
                int_value=CAPTURE_EXEMPT_MARK,
                state=SocketOptionSocketState.STATE_PREBIND,
            )
        ]
    )


def _runtime() -> LayeredRuntime:
    return LayeredRuntime(
        layers=[
            RuntimeLayer(
                name="heddle",
                static_layer=Struct(
                    fields={"re2.max_program_size.error_level": Value(number_value=float(MAX_PROGRAM_SIZE))}
                ),
            ),
            RuntimeLayer(name="admin", admin_layer=RuntimeLayerAdminLayer()),
        ]
    )


def _limits(max_connections: int) -> OverloadManager:
    return OverloadManager(
        resource_monitors=[
            ResourceMonitor(
                name="envoy.resource_monitors.global_downstream_max_connections",
                typed_config=to_any(DownstreamConnectionsConfig(max_active_downstream_connections=max_connections)),
            )
        ]
    )
