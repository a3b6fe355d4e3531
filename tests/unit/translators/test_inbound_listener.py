"""Which inbound connections are taken, and as what."""

from __future__ import annotations

from datetime import timedelta

import pytest
from envoy_data_plane.envoy.config.listener.v3 import Listener, ListenerFilter

from model.asker import Capture
from model.mesh import Mesh
from model.names import InboundCluster
from model.policies import MtlsMode
from model.services import Protocol
from model.settings import MeshSettings
from tests.unit.translators.listener_meshes import chosen, inbound_view, peer_authentication
from translators.explicit_listeners import (
    build_explicit_inbound_listener,
    inbound_listener_name,
    parse_inbound_listener,
)
from translators.inbound_clusters import build_inbound_cluster, build_inbound_passthrough_cluster
from translators.inbound_listener import MINIMUM_DETECTION_TIMEOUT, build_inbound_listener, detection_timeout

PORTS = ((8080, Protocol.HTTP), (9000, Protocol.TCP), (9001, Protocol.DETECT))
UNDECLARED = 7000


def listener(mode: MtlsMode) -> Listener:
    return build_inbound_listener(inbound_view(*PORTS, peers=[peer_authentication(mode)]))


@pytest.mark.parametrize("port", [8080, 9000, 9001, UNDECLARED])
def test_strict_has_no_chain_for_plaintext(port: int) -> None:
    assert chosen(listener(MtlsMode.STRICT), port=port) == ""
    assert chosen(listener(MtlsMode.STRICT), port=port, application="http/1.1") == ""


@pytest.mark.parametrize("port", [8080, 9000, 9001, UNDECLARED])
@pytest.mark.parametrize("offered", ["", "h2", "istio", "istio-http/1.1", "istio-h2"])
def test_strict_terminates_all_tls(port: int, offered: str) -> None:
    taken = chosen(listener(MtlsMode.STRICT), port=port, transport="tls", application=offered)
    assert ".mtls." in taken


@pytest.mark.parametrize("mode", [MtlsMode.PERMISSIVE, MtlsMode.DISABLE])
@pytest.mark.parametrize("port", [8080, 9000, 9001, UNDECLARED])
def test_the_applications_own_tls_passes_as_bytes(mode: MtlsMode, port: int) -> None:
    assert chosen(listener(mode), port=port, transport="tls", application="h2").endswith("passthrough.tls")


@pytest.mark.parametrize(
    ("port", "transport", "offered", "taken"),
    [
        (8080, "tls", "istio-http/1.1", "8080.mtls.http"),
        (8080, "tls", "istio", "8080.mtls.http"),
        (8080, "raw_buffer", "", "8080.plain.http"),
        (9000, "tls", "istio", "9000.mtls.tcp"),
        (9000, "raw_buffer", "http/1.1", "9000.plain.tcp"),
        (9001, "tls", "istio-h2", "9001.mtls.http"),
        (9001, "tls", "istio", "9001.mtls.tcp"),
        (9001, "raw_buffer", "h2c", "9001.plain.http"),
        (9001, "raw_buffer", "", "9001.plain.tcp"),
        (UNDECLARED, "tls", "istio-http/1.1", "others.mtls.http"),
        (UNDECLARED, "raw_buffer", "", "others.plain.tcp"),
    ],
)
def test_permissive_takes_both(port: int, transport: str, offered: str, taken: str) -> None:
    built = listener(MtlsMode.PERMISSIVE)
    assert chosen(built, port=port, transport=transport, application=offered) == taken


def test_a_port_of_its_own_mode_even_if_undeclared() -> None:
    modes: dict[int, MtlsMode | None] = {8080: MtlsMode.STRICT, UNDECLARED: MtlsMode.STRICT}
    built = build_inbound_listener(inbound_view(*PORTS, peers=[peer_authentication(None, ports=modes)]))
    assert chosen(built, port=8080) == chosen(built, port=UNDECLARED) == ""
    assert chosen(built, port=9000) == "9000.plain.tcp"


@pytest.mark.parametrize("port", [15001, 15006])
@pytest.mark.parametrize("transport", ["raw_buffer", "tls"])
def test_the_sidecars_own_ports_are_a_dead_end(port: int, transport: str) -> None:
    built = build_inbound_listener(inbound_view((port, Protocol.HTTP)))
    assert chosen(built, port=port, transport=transport, application="istio") == f"trap.{port}"


def filters(built: Listener) -> dict[str, ListenerFilter]:
    return {each.name.rpartition(".")[2]: each for each in built.listener_filters}


def test_nothing_waits_where_nothing_needs_to_be_known() -> None:
    built = build_inbound_listener(inbound_view((9000, Protocol.TCP), peers=[peer_authentication(MtlsMode.DISABLE)]))
    assert "tls_inspector" not in filters(built)
    disabled = filters(built)["http_inspector"].filter_disabled
    assert disabled is not None
    assert disabled.destination_port_range is not None
    assert (disabled.destination_port_range.start, disabled.destination_port_range.end) == (9000, 9001)


def test_strict_needs_no_http_inspector() -> None:
    assert "http_inspector" not in filters(listener(MtlsMode.STRICT))


def test_a_late_greeting_is_not_taken_for_plaintext() -> None:
    assert detection_timeout(MeshSettings()) == MINIMUM_DETECTION_TIMEOUT
    assert detection_timeout(MeshSettings(protocol_detection_timeout=timedelta(seconds=5))) == timedelta(seconds=5)
    assert detection_timeout(MeshSettings(protocol_detection_timeout=timedelta(0))) == timedelta(0)


def test_explicit_listeners_bind_the_workloads_address() -> None:
    view = inbound_view(*PORTS, capture=Capture.EXPLICIT)
    built = build_explicit_inbound_listener(8080, view)
    assert built is not None
    assert built.address is not None
    assert built.address.socket_address is not None
    assert (built.address.socket_address.address, built.address.socket_address.port_value) == ("127.1.0.2", 8080)
    assert build_explicit_inbound_listener(UNDECLARED, view) is None


@pytest.mark.parametrize(
    "wrong", ["virtualInbound", "virtualInbound:", "virtualInbound:08", "x:80", "virtualInbound:a"]
)
def test_names_of_explicit_listeners(wrong: str) -> None:
    assert parse_inbound_listener(inbound_listener_name(80)) == 80
    with pytest.raises(ValueError, match="names no inbound listener"):
        parse_inbound_listener(wrong)


def test_inbound_clusters() -> None:
    view = inbound_view(*PORTS, snapshot=Mesh())
    assert build_inbound_cluster(InboundCluster(port=UNDECLARED), view) is None
    cluster = build_inbound_cluster(InboundCluster(port=8080), view)
    assert cluster is not None
    bind = cluster.upstream_bind_config
    assert bind is not None
    assert bind.source_address is not None
    assert bind.source_address.address == "127.0.0.6"
    assert [extra.address.address for extra in bind.extra_source_addresses if extra.address] == ["::6"]
    assert build_inbound_passthrough_cluster(inbound_view(capture=Capture.EXPLICIT)) is None
