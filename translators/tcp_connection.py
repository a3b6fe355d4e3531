"""What carries a connection of which only the bytes are known."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy, UpstreamConnectMode
from envoy_data_plane.envoy.type.v3 import HashPolicy, HashPolicySourceIp

from model.settings import MeshSettings
from model.traffic import ConnectionPool, ConsistentHash, HashSourceAddress, LoadBalancer, TrafficPolicy
from translators.access_log import build_access_logs
from translators.filters import network_filter

IDLE_TIMEOUT = timedelta(hours=1)
"""How long neither side may say anything before the connection is closed; Envoy's own default, said aloud."""

NO_POLICY = TrafficPolicy()
EARLY_BYTES = 16 * 1024
"""How much of what the client sends is kept while the connection to the server is being made."""


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


def _build_hash(balancer: LoadBalancer | None) -> list[HashPolicy]:
    """Nothing but its source is known of a connection; the other keys are parts of a request."""
    if isinstance(balancer, ConsistentHash) and isinstance(balancer.key, HashSourceAddress):
        return [HashPolicy(source_ip=HashPolicySourceIp())]
    return []
