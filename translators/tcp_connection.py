"""What carries a connection of which only the bytes are known."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy, UpstreamConnectMode

from model.settings import MeshSettings
from translators.access_log import build_access_logs
from translators.filters import network_filter

IDLE_TIMEOUT = timedelta(hours=1)
"""How long neither side may say anything before the connection is closed; Envoy's own default, said aloud."""


EARLY_BYTES = 16 * 1024
"""How much of what the client sends is kept while the connection to the server is being made."""


def build_tcp_proxy(
    settings: MeshSettings, cluster: str, endpoint: Metadata | None = None, *, after_handshake: bool = False
) -> Filter:
    """To one of a cluster's endpoints; to one that carries the metadata `endpoint` if that is given.

    `after_handshake`: not before the client's TLS is established, so that nobody without a certificate as much as
    opens a connection there. Otherwise at once, for the server may speak first.
    """
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
            idle_timeout=IDLE_TIMEOUT,
            access_log=build_access_logs(settings),
        ),
    )
