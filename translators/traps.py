"""What ends connections to the sidecar's own listeners: passed on, they would come back for ever."""

from __future__ import annotations

from envoy_data_plane.envoy.config.listener.v3 import FilterChain, FilterChainMatch
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy

from model.names import BLACK_HOLE_CLUSTER
from translators.filters import network_filter
from translators.well_known_ports import LISTENERS


def build_traps() -> list[FilterChain]:
    """One chain for each port of the sidecar's listeners."""
    end = network_filter(
        "envoy.filters.network.tcp_proxy", TcpProxy(stat_prefix=BLACK_HOLE_CLUSTER, cluster=BLACK_HOLE_CLUSTER)
    )
    return [
        FilterChain(name=f"trap.{port}", filter_chain_match=FilterChainMatch(destination_port=port), filters=[end])
        for port in LISTENERS
    ]
