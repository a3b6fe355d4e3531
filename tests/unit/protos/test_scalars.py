"""What does not fit its field is refused; times are encoded right also where the library is wrong."""

import datetime as dt
from copy import copy

import betterproto2 as bp
import pytest
from envoy_data_plane.envoy.admin.v3 import CertificateDetails
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Metadata, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint
from envoy_data_plane.google import protobuf as wkt
from envoy_data_plane.validate import SInt32Rules

from protos.encoder import encode


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
