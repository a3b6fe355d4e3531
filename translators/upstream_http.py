"""Which HTTP a cluster speaks, and how long its connections live."""

from __future__ import annotations

from enum import Enum, auto

from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions, Http2ProtocolOptions
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as CommonOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
    HttpProtocolOptionsUseDownstreamHttpConfig,
)

from model.services import Protocol
from model.traffic import ConnectionPool

HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
"""The key of these options in a cluster's `typed_extension_protocol_options`."""


class UpstreamHttp(Enum):
    """DOWNSTREAM: what the application itself spoke. NONE: the port carries no HTTP."""

    NONE = auto()
    HTTP1 = auto()
    HTTP2 = auto()
    DOWNSTREAM = auto()


def upstream_http(protocol: Protocol, pool: ConnectionPool) -> UpstreamHttp:
    """What to speak to a port of that protocol.

    A detected port speaks what the client spoke, for the server behind it answers just that.
    """
    match protocol:
        case Protocol.TCP | Protocol.TLS | Protocol.UDP:
            return UpstreamHttp.NONE
        case Protocol.DETECT:
            return UpstreamHttp.HTTP2 if pool.h2_upgrade else UpstreamHttp.DOWNSTREAM
        case Protocol.HTTP | Protocol.HTTP2:
            if pool.use_client_protocol:
                return UpstreamHttp.DOWNSTREAM
            if protocol is Protocol.HTTP2 or pool.h2_upgrade:
                return UpstreamHttp.HTTP2
            return UpstreamHttp.HTTP1


def build_protocol_options(speaks: UpstreamHttp, pool: ConnectionPool) -> HttpProtocolOptions | None:
    """The cluster's HTTP options, None for TCP."""
    common = CommonOptions(
        idle_timeout=pool.tcp_idle_timeout if pool.http_idle_timeout is None else pool.http_idle_timeout,
        max_connection_duration=pool.max_connection_duration,
        max_requests_per_connection=pool.max_requests_per_connection or None,
    )
    common_options = None if common == CommonOptions() else common
    http1 = Http1ProtocolOptions()
    http2 = Http2ProtocolOptions(max_concurrent_streams=pool.max_concurrent_streams)
    match speaks:
        case UpstreamHttp.NONE:
            return None
        case UpstreamHttp.HTTP1:
            explicit = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=http1)
        case UpstreamHttp.HTTP2:
            explicit = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2)
        case UpstreamHttp.DOWNSTREAM:
            return HttpProtocolOptions(
                common_http_protocol_options=common_options,
                use_downstream_protocol_config=HttpProtocolOptionsUseDownstreamHttpConfig(
                    http_protocol_options=http1, http2_protocol_options=http2
                ),
            )
    return HttpProtocolOptions(common_http_protocol_options=common_options, explicit_http_config=explicit)
