"""The compiled encoder against the library's own, on messages generated from the classes' metadata."""

import importlib
import pkgutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import betterproto2 as bp
import envoy_data_plane
import pytest
from envoy_data_plane.cel.expr import Constant, ParsedExpr, SourceInfo
from envoy_data_plane.envoy.admin.v3 import ConfigDump, ServerInfo
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, Metadata, Node, SocketAddress
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

from protos.encoder import encode, encoded, to_any, type_url
from tests.unit.protos.messages import messages, one_of_each_field

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
    agrees(cls, examples=4, depth=3)


@pytest.mark.soak
@pytest.mark.parametrize("cls", RESOURCES + ODD_KINDS, ids=lambda cls: cls.__name__)
def test_encodes_as_the_library_does_many(cls: type[bp.Message]) -> None:
    agrees(cls, examples=1_000, depth=4)


def test_each_field_of_every_loaded_class_alone() -> None:
    classes = list(default_message_pool.type_to_url)
    assert len(classes) > 600
    for cls in classes:
        for message in one_of_each_field(cls):
            assert encode(message) == library_bytes(message), message


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # whole classes are deprecated
def test_every_class_of_the_api() -> None:
    for module in pkgutil.walk_packages(envoy_data_plane.__path__, "envoy_data_plane."):
        importlib.import_module(module.name)
    classes = list(default_message_pool.type_to_url)
    assert len(classes) > 2_000
    for cls in classes:
        for message in one_of_each_field(cls):
            assert encode(message) == library_bytes(message), message
        agrees(cls, examples=3, depth=1)


def test_unknown_fields_are_kept_at_every_level() -> None:
    unknown = b"\xf8\xff\x03\x05"  # field 8191, varint 5
    address = encode(Address(socket_address=SocketAddress(address="::1"))) + unknown
    message = Endpoint.parse(b"\x0a" + bytes([len(address)]) + address + unknown)
    assert message.address is not None
    assert message.address.socket_address == SocketAddress(address="::1")
    assert encode(message) == bytes(message) == b"\x0a" + bytes([len(address)]) + address + unknown


def test_a_captured_request_survives_parsing_and_encoding() -> None:
    message = DeltaDiscoveryRequest.parse(FIRST_REQUEST.read_bytes())
    assert message.node is not None
    assert len(message.node.extensions) > 500
    assert encode(message) == library_bytes(message)


@dataclass(eq=False, repr=False)
class OptionalNumber(bp.Message):
    """An `optional` scalar, a kind of field that Envoy's API of today has none of."""

    number: "int | None" = bp.field(1, bp.TYPE_INT32, optional=True)  # noqa: RUF009 - as generated classes have it


def test_presence_is_kept() -> None:
    assert encode(OptionalNumber()) == bytes(OptionalNumber()) == b""
    assert encode(OptionalNumber(number=0)) == bytes(OptionalNumber(number=0)) == b"\x08\x00"
    assert encode(LbEndpoint()) == b""
    assert encode(LbEndpoint(load_balancing_weight=0)) == b"\x22\x00"
    assert encode(wkt.Value(number_value=0.0)) == b"\x11" + bytes(8)
    assert encode(LbEndpoint(endpoint=Endpoint())) == b"\x0a\x00"


def test_any() -> None:
    cluster = Cluster(name="reviews", type=ClusterDiscoveryType.EDS)
    assert type_url(Cluster) == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    assert type_url(wkt.Struct) == "type.googleapis.com/google.protobuf.Struct"
    assert to_any(cluster) == wkt.Any.pack(cluster)
    assert to_any(cluster).unpack() == cluster
    assert encode(to_any(cluster)) == bytes(wkt.Any.pack(cluster))
    with pytest.raises(KeyError):
        type_url(bp.Message)


def test_a_message_that_is_encoded_already_stands_in_another_as_it_would_itself() -> None:
    inner = [VirtualHost(name=name, domains=[f"{name}.example"]) for name in ("a", "b")]
    table = RouteConfiguration(name="t", virtual_hosts=inner, validate_clusters=False)
    joined = RouteConfiguration(name="t", virtual_hosts=[encoded(host) for host in inner], validate_clusters=False)
    assert encode(joined) == encode(table)


def test_a_message_of_another_class_is_refused_encoded_or_not() -> None:
    with pytest.raises(TypeError, match="VirtualHost"):
        encode(RouteConfiguration(virtual_hosts=[cast(VirtualHost, encoded(RouteConfiguration(name="t")))]))
