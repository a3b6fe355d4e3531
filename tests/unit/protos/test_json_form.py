"""The JSON form against the library's own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import betterproto2 as bp
import pytest
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.google import protobuf as wkt
from envoy_data_plane.validate import BytesRules, DoubleRules, FloatRules, Int64Rules, UInt64Rules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos.encoder import to_any
from protos.json_form import to_json_value
from tests.unit.protos.messages import messages, one_of_each_field
from tests.unit.translators.test_bootstrap import parameters
from translators.app_probes import GrpcAppProbe, HttpAppProbe, build_probe_clusters, build_probe_listener
from translators.bootstrap import build_bootstrap

CLASSES = [Bootstrap, Cluster, HttpConnectionManager, Listener, Metadata, RouteConfiguration]
SCALARS = [BytesRules, DoubleRules, FloatRules, Int64Rules, UInt64Rules]
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("cls", [*CLASSES, *SCALARS], ids=lambda cls: cls.__name__)
def test_each_field_by_itself(cls: type[bp.Message]) -> None:
    for message in one_of_each_field(cls):
        assert to_json_value(message) == message.to_dict()


@pytest.mark.parametrize("cls", SCALARS, ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(suppress_health_check=list(HealthCheck))
def test_any_message(cls: type[bp.Message], data: st.DataObject) -> None:
    message = data.draw(messages(cls))
    assert repr(to_json_value(message)) == repr(message.to_dict())


def test_what_sidecars_start_with() -> None:
    bootstrap = build_bootstrap(parameters(Path("/run"), mark=True))
    assert to_json_value(bootstrap) == bootstrap.to_dict()
    probes = (
        HttpAppProbe(path="/app-health/a/readyz", port=1, app_path="/", timeout=SECOND, tls=True),
        GrpcAppProbe(path="/app-health/a/livez", port=2, timeout=SECOND, interval=SECOND / 2),
    )
    for message in (build_probe_listener("::", probes), *build_probe_clusters("::1", "::6", probes)):
        assert to_json_value(message) == message.to_dict()


@pytest.mark.parametrize(
    "inner", [wkt.Duration(seconds=1), wkt.Struct(fields={"a": wkt.Value(number_value=1.5)}), wkt.Any()]
)
def test_what_has_a_form_of_its_own_within_an_any(inner: bp.Message) -> None:
    if isinstance(inner, wkt.Any):
        assert to_json_value(inner) == {"@type": ""}
        return
    packed = wkt.Any(type_url=f"type.googleapis.com/google.protobuf.{type(inner).__name__}", value=bytes(inner))
    assert to_json_value(packed) == packed.to_dict()
    assert to_json_value(to_any(Cluster(name="x")))["name"] == "x"
