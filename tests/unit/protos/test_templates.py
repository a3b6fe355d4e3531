"""Messages filled from templates against the validated ones."""

import dataclasses
import warnings

import betterproto2 as bp
import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Metadata, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import VirtualHost
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.google.protobuf import Any, Struct
from hypothesis import HealthCheck, given, settings

from protos.encoder import encode
from protos.templates import new
from tests.unit.protos.messages import messages

CLASSES: list[type[bp.Message]] = [
    Any,
    Cluster,
    ClusterLoadAssignment,
    HttpConnectionManager,
    LbEndpoint,
    Listener,
    Metadata,
    Struct,
    VirtualHost,
]


def rebuilt(value: object) -> object:
    """The same value with every message in it made by `new`, from the fields that are not at their default."""
    if isinstance(value, bp.Message):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
        given = {name: rebuilt(field) for name, field in fields.items() if value.is_set(name)}
        return new(type(value), **given)
    if isinstance(value, list):
        return [rebuilt(item) for item in value]
    if isinstance(value, dict):
        return {key: rebuilt(item) for key, item in value.items()}
    return value


def is_the_same(cls: type[bp.Message], *, examples: int, depth: int) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(messages(cls, depth))
    def check(message: bp.Message) -> None:
        filled = rebuilt(message)
        assert isinstance(filled, cls)
        # repr, as NaN differs from itself inside a list.
        assert filled == message or repr(filled) == repr(message)
        assert vars(filled).keys() == vars(message).keys()
        assert encode(filled) == encode(message)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert bytes(filled) == bytes(message)

    check()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_equals_the_validated_message(cls: type[bp.Message]) -> None:
    is_the_same(cls, examples=10, depth=2)


@pytest.mark.soak
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_equals_the_validated_message_many(cls: type[bp.Message]) -> None:
    is_the_same(cls, examples=1_000, depth=4)


def test_messages_share_no_list_or_dict() -> None:
    first, second = new(ClusterLoadAssignment), new(ClusterLoadAssignment)
    first.endpoints.append(new(ClusterLoadAssignment))  # type: ignore[arg-type]  # any object will do
    first.named_endpoints["a"] = Endpoint()
    assert second == new(ClusterLoadAssignment) == ClusterLoadAssignment()


def test_fields_that_do_not_exist_are_refused() -> None:
    with pytest.raises(TypeError, match="port_valu"):
        new(SocketAddress, address="::1", port_valu=80)  # type: ignore[call-arg]


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="by name"):
        new(SocketAddress, "::1")  # type: ignore[arg-type]
