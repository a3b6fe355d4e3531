"""What carries a connection of which only the bytes are known."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy

from model.settings import MeshSettings
from translators.access_log import build_access_logs
from translators.filters import network_filter

IDLE_TIMEOUT = timedelta(hours=1)
"""How long neither side may say anything before the connection is closed; Envoy's own default, said aloud."""


def build_tcp_proxy(settings: MeshSettings, cluster: str, endpoint: Metadata | None = None) -> Filter:
    """To one of a cluster's endpoints; to one that carries the metadata `endpoint` if that is given."""
    return network_filter(
        "envoy.filters.network.tcp_proxy",
        TcpProxy(
            stat_prefix=cluster,
            cluster=cluster,
            metadata_match=endpoint,
            idle_timeout=IDLE_TIMEOUT,
            access_log=build_access_logs(settings),
        ),
    )
