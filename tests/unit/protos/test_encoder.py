"""The compiled encoder against the library's own, on messages generated from the classes' metadata."""

import warnings
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import betterproto2 as bp
import pytest
from envoy_data_plane.cel.expr import Constant, ParsedExpr, SourceInfo
from envoy_data_plane.envoy.admin.v3 import ConfigDump, ServerInfo
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, HealthStatus, Metadata, Node, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.rbac.v3 import Rbac
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    DownstreamTlsContext,
    Secret,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryResponse,
)
from envoy_data_plane.google import protobuf as wkt
from envoy_data_plane.message_pool import default_message_pool
from envoy_data_plane.validate import (
    BytesRules,
    DoubleRules,
    FieldRules,
    Fixed32Rules,
    Fixed64Rules,
    FloatRules,
    Int32Rules,
    Int64Rules,
    SFixed32Rules,
    SFixed64Rules,
    SInt32Rules,
    SInt64Rules,
    UInt64Rules,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.encoder import encode, to_any, type_url
from tests.unit.protos.messages import messages

FIRST_REQUEST = Path(__file__).parents[2] / "fixtures" / "envoy_first_delta_request.bin"

RESOURCES: list[type[bp.Message]] = [
    Address,
    Bootstrap,
    Cluster,
    ClusterLoadAssignment,
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryResponse,
    DownstreamTlsContext,
    HttpConnectionManager,
    HttpFault,
    HttpProtocolOptions,
    Listener,
    Metadata,
    Node,
    Rbac,
    RouteConfiguration,
    Secret,
    TcpProxy,
    UpstreamTlsContext,
    VirtualHost,
]
# Classes that Heddle never sends, for the field kinds that the resources do not use: packed numbers of every
# type, maps with number keys or enum and bytes values, times.
ODD_KINDS: list[type[bp.Message]] = [
    BytesRules,
    ConfigDump,
    Constant,
    DoubleRules,
    FieldRules,
    Fixed32Rules,
    Fixed64Rules,
    FloatRules,
    Int32Rules,
    Int64Rules,
    ParsedExpr,
    SFixed32Rules,
    SFixed64Rules,
    SInt32Rules,
    SInt64Rules,
    ServerInfo,
    SourceInfo,
    UInt64Rules,
    wkt.Any,
    wkt.BoolValue,
    wkt.BytesValue,
    wkt.DoubleValue,
    wkt.Duration,
    wkt.Empty,
    wkt.FloatValue,
    wkt.Int32Value,
    wkt.Int64Value,
    wkt.ListValue,
    wkt.StringValue,
    wkt.Struct,
    wkt.Timestamp,
    wkt.UInt32Value,
    wkt.UInt64Value,
    wkt.Value,
]


def library_bytes(message: bp.Message) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return bytes(message)


def agrees(cls: type[bp.Message], *, examples: int, depth: int) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(messages(cls, depth))
    def check(message: bp.Message) -> None:
        before = repr(message)
        assert encode(message) == library_bytes(message)
        assert repr(message) == before

    check()


@pytest.mark.parametrize("cls", RESOURCES + ODD_KINDS, ids=lambda cls: cls.__name__)
def test_encodes_as_the_library_does(cls: type[bp.Message]) -> None:
    agrees(cls, examples=12, depth=2)


@pytest.mark.soak
@pytest.mark.parametrize("cls", RESOURCES + ODD_KINDS, ids=lambda cls: cls.__name__)
def test_encodes_as_the_library_does_many(cls: type[bp.Message]) -> None:
    agrees(cls, examples=1_000, depth=4)


@pytest.mark.soak
def test_encodes_every_class_as_the_library_does() -> None:
    for cls in list(default_message_pool.type_to_url):
        agrees(cls, examples=5, depth=1)
