"""Extensions wrapped with their names: each place of Envoy's configuration has a message of its own for that."""

from __future__ import annotations

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import TransportSocket, TypedExtensionConfig
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from protos.encoder import to_any


def network_filter(name: str, config: betterproto2.Message) -> Filter:
    """A network filter of a filter chain."""
    return Filter(name=name, typed_config=to_any(config))


def http_filter(name: str, config: betterproto2.Message) -> HttpFilter:
    """An HTTP filter of a connection manager or of an upstream."""
    return HttpFilter(name=name, typed_config=to_any(config))


def extension(name: str, config: betterproto2.Message) -> TypedExtensionConfig:
    """Any other extension."""
    return TypedExtensionConfig(name=name, typed_config=to_any(config))


def transport_socket(name: str, config: betterproto2.Message) -> TransportSocket:
    """What stands between a connection and its bytes."""
    return TransportSocket(name=name, typed_config=to_any(config))
