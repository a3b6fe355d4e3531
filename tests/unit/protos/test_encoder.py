"""The compiled encoder against the library's own, on messages generated from the classes' metadata."""

import datetime as dt
import warnings
from copy import copy
from pathlib import Path

import betterproto2 as bp
import pytest
from envoy_data_plane.cel.expr import Constant, ParsedExpr, SourceInfo
from envoy_data_plane.envoy.admin.v3 import CertificateDetails, ConfigDump, ServerInfo
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

from protos.encoder import encode, to_any, type_url
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
    agrees(cls, examples=10, depth=3)


@pytest.mark.soak
@pytest.mark.parametrize("cls", RESOURCES + ODD_KINDS, ids=lambda cls: cls.__name__)
def test_encodes_as_the_library_does_many(cls: type[bp.Message]) -> None:
    agrees(cls, examples=1_000, depth=4)


@pytest.mark.soak
def test_encodes_every_class_as_the_library_does() -> None:
    for cls in list(default_message_pool.type_to_url):
        agrees(cls, examples=5, depth=1)


def test_each_field_of_every_class_alone() -> None:
    classes = list(default_message_pool.type_to_url)
    assert len(classes) > 600
    for cls in classes:
        for message in one_of_each_field(cls):
            assert encode(message) == library_bytes(message), message


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


def test_presence_is_kept() -> None:
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


def with_field(message: bp.Message, name: str, value: object) -> bp.Message:
    """A copy in which a field was assigned after construction, which the library does not check."""
    changed = copy(message)
    setattr(changed, name, value)
    return changed


SOCKET = SocketAddress(address="::1", port_value=80)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        pytest.param(with_field(SOCKET, "port_value", -1), ValueError, id="uint32 below"),
        pytest.param(with_field(SOCKET, "port_value", 1 << 32), ValueError, id="uint32 above"),
        pytest.param(with_field(SOCKET, "port_value", "80"), TypeError, id="text for a number"),
        pytest.param(with_field(SOCKET, "port_value", 80.0), TypeError, id="float for an integer"),
        pytest.param(with_field(SOCKET, "ipv4_compat", "no"), TypeError, id="text for a bool"),
        pytest.param(with_field(SOCKET, "address", b"::1"), AttributeError, id="bytes for text"),
        pytest.param(with_field(SOCKET, "address", "\ud800"), UnicodeEncodeError, id="lone surrogate"),
        pytest.param(with_field(SOCKET, "protocol", 1 << 31), ValueError, id="enum above"),
        pytest.param(with_field(LbEndpoint(), "load_balancing_weight", -1), ValueError, id="wrapped below"),
        pytest.param(with_field(LbEndpoint(), "load_balancing_weight", 1 << 32), ValueError, id="wrapped above"),
        pytest.param(with_field(LbEndpoint(), "endpoint", SOCKET), TypeError, id="another message"),
        pytest.param(
            with_field(ClusterLoadAssignment(), "endpoints", [SOCKET]), TypeError, id="another message in a list"
        ),
        pytest.param(
            with_field(Metadata(), "filter_metadata", {"a": SOCKET}), TypeError, id="another message in a map"
        ),
        pytest.param(
            with_field(LbEndpoint(endpoint=Endpoint()), "endpoint_name", "b"), ValueError, id="two of a oneof"
        ),
        pytest.param(with_field(wkt.Any(), "value", "text"), TypeError, id="text for bytes"),
        pytest.param(with_field(wkt.Int32Value(), "value", 1 << 31), ValueError, id="int32 above"),
        pytest.param(with_field(wkt.Int32Value(), "value", -(1 << 31) - 1), ValueError, id="int32 below"),
        pytest.param(with_field(wkt.Int64Value(), "value", 1 << 63), ValueError, id="int64 above"),
        pytest.param(with_field(wkt.UInt64Value(), "value", 1 << 64), ValueError, id="uint64 above"),
        pytest.param(with_field(wkt.FloatValue(), "value", 1e39), OverflowError, id="float above"),
        pytest.param(with_field(SInt32Rules(), "const", 1 << 31), ValueError, id="sint32 above"),
        pytest.param(with_field(Cluster(), "connect_timeout", 5), AttributeError, id="number for a duration"),
        pytest.param(
            with_field(Cluster(), "connect_timeout", dt.timedelta(days=3_660_000)), ValueError, id="over 10,000 years"
        ),
    ],
)
def test_what_does_not_fit_is_refused(message: bp.Message, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(message)


def connect_timeout(value: dt.timedelta) -> wkt.Duration:
    """The Duration that was written, read back as the message and not as a Python value."""
    data = encode(Cluster(connect_timeout=value))
    assert data[:1] == b"\x22"
    assert data[1] == len(data) - 2
    return wkt.Duration.parse(data[2:])


@pytest.mark.parametrize(
    ("value", "seconds", "nanos"),
    [
        (dt.timedelta(), 0, 0),
        (dt.timedelta(milliseconds=250), 0, 250_000_000),
        (dt.timedelta(hours=1, microseconds=1), 3600, 1_000),
        (dt.timedelta(seconds=-2), -2, 0),
        # For these the library writes 0.5 s, -0.5 s (as -1 s and 500,000,000 ns) and no microseconds.
        (dt.timedelta(milliseconds=-500), 0, -500_000_000),
        (dt.timedelta(milliseconds=-1_500), -1, -500_000_000),
        (dt.timedelta(days=3_000_000, microseconds=7), 259_200_000_000, 7_000),
    ],
)
def test_durations(value: dt.timedelta, seconds: int, nanos: int) -> None:
    assert connect_timeout(value) == wkt.Duration(seconds=seconds, nanos=nanos)


def test_timestamps() -> None:
    before_1970 = dt.datetime(1969, 12, 31, 23, 30, 0, 500_000, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    message = CertificateDetails(valid_from=before_1970)
    assert encode(message) == bytes(message)
    assert CertificateDetails.parse(encode(message)).valid_from == before_1970
    with pytest.raises(ValueError, match="no time zone"):
        encode(CertificateDetails(valid_from=before_1970.replace(tzinfo=None)))
