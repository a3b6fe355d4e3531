"""What carries a connection of which only the bytes are known."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import DataSource, Metadata, SubstitutionFormatString
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.network.set_filter_state.v3 import Config as SetFilterState
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import (
    TcpProxy,
    TcpProxyOnDemand,
    UpstreamConnectMode,
)
from envoy_data_plane.envoy.type.v3 import HashPolicy, HashPolicySourceIp

from model.names import ADDRESS_CLUSTER, BLACK_HOLE_CLUSTER
from model.settings import MeshSettings
from model.traffic import ConnectionPool, ConsistentHash, HashSourceAddress, LoadBalancer, TrafficPolicy
from translators.access_log import build_access_logs
from translators.config_source import ads
from translators.filters import network_filter

IDLE_TIMEOUT = timedelta(hours=1)
"""How long neither side may say anything before the connection is closed; Envoy's own default, said aloud."""

NO_POLICY = TrafficPolicy()
EARLY_BYTES = 16 * 1024
"""How much of what the client sends is kept while the connection to the server is being made."""


TCP_ON_DEMAND = "tcp_on_demand"
"""The name in the statistics of all that is learnt by its address; the clusters have their services' names."""
TCP_ON_DEMAND_WITHIN = timedelta(seconds=15)
"""How long a connection waits for its cluster before it is closed; as long as a request for its virtual host."""

_CLUSTER_BY_ADDRESS = FilterStateValue(
    object_key="envoy.tcp_proxy.cluster",
    format_string=SubstitutionFormatString(
        text_format_source=DataSource(inline_string=f"{ADDRESS_CLUSTER}%DOWNSTREAM_LOCAL_ADDRESS%")
    ),
)


def build_tcp_proxy(
    settings: MeshSettings,
    cluster: str,
    endpoint: Metadata | None = None,
    *,
    after_handshake: bool = False,
    policy: TrafficPolicy = NO_POLICY,
) -> Filter:
    """To one of a cluster's endpoints; to one that carries the metadata `endpoint` if that is given.

    Of the `policy` for the cluster this takes what is a connection's: how long it lives, and a hash of its source.

    `after_handshake`: not before the client's TLS is established, so that nobody without a certificate as much as
    opens a connection there. Otherwise at once, for the server may speak first.
    """
    pool = policy.connection_pool or ConnectionPool()
    return network_filter(
        "envoy.filters.network.tcp_proxy",
        TcpProxy(
            stat_prefix=cluster,
            cluster=cluster,
            metadata_match=endpoint,
            upstream_connect_mode=(
                UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE if after_handshake else UpstreamConnectMode.IMMEDIATE
            ),
            max_early_data_bytes=EARLY_BYTES if after_handshake else None,
            idle_timeout=IDLE_TIMEOUT if pool.tcp_idle_timeout is None else pool.tcp_idle_timeout,
            max_downstream_connection_duration=pool.max_connection_duration,
            hash_policy=_build_hash(policy.load_balancer),
            access_log=build_access_logs(settings),
        ),
    )


def is_of_the_connection(policy: TrafficPolicy) -> bool:
    """Whether a policy says anything that its cluster cannot, so that a TCP proxy of its own must."""
    pool = policy.connection_pool or ConnectionPool()
    timeouts = pool.tcp_idle_timeout, pool.max_connection_duration
    return any(timeout is not None for timeout in timeouts) or bool(_build_hash(policy.load_balancer))


def build_tcp_on_demand(settings: MeshSettings) -> list[Filter]:
    """To the cluster of the address that the application asked for, an `AddressCluster`; the sidecar asks for one that
    it does not have. Neither side's bytes are waited for. One filter for all addresses."""
    proxy = TcpProxy(
        stat_prefix=TCP_ON_DEMAND,
        cluster=BLACK_HOLE_CLUSTER,  # what Envoy demands; the name above it counts
        on_demand=TcpProxyOnDemand(odcds_config=ads(), timeout=TCP_ON_DEMAND_WITHIN),
        idle_timeout=IDLE_TIMEOUT,
        access_log=build_access_logs(settings),
    )
    named = SetFilterState(on_new_connection=[_CLUSTER_BY_ADDRESS])
    return [
        network_filter("envoy.filters.network.set_filter_state", named),
        network_filter("envoy.filters.network.tcp_proxy", proxy),
    ]


def _build_hash(balancer: LoadBalancer | None) -> list[HashPolicy]:
    """Nothing but its source is known of a connection; the other keys are parts of a request."""
    if isinstance(balancer, ConsistentHash) and isinstance(balancer.key, HashSourceAddress):
        return [HashPolicy(source_ip=HashPolicySourceIp())]
    return []
