"""Where the application's connections are led."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import product

from envoy_data_plane.envoy.config.listener.v3 import FilterChain, FilterChainMatch, Listener
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from hypothesis import given
from hypothesis import strategies as st

from model.mesh import Mesh
from model.services import Protocol, Resolution, Service
from model.settings import MeshSettings, OutboundTraffic
from model.traffic import ConnectionPool, TrafficPolicy
from tests.unit.translators.outbound_meshes import endpoint, mesh, rule, seen_from, service
from translators.outbound_listener import build_outbound_listener

REGISTRY_ONLY = MeshSettings(outbound_traffic=OutboundTraffic.REGISTRY_ONLY)


def built(*services: Service, snapshot: Mesh | None = None, settings: MeshSettings | None = None) -> Listener:
    return build_outbound_listener(seen_from(snapshot or mesh(services, settings=settings)))


def match_of(chain: FilterChain) -> FilterChainMatch:
    return chain.filter_chain_match or FilterChainMatch()


def lead(chain: FilterChain | None) -> str:
    """The cluster of a chain of bytes, 'http' for one of requests."""
    assert chain is not None
    last = chain.filters[-1]
    if not last.name.endswith("tcp_proxy"):
        return "http"
    assert last.typed_config is not None
    return TcpProxy.parse(last.typed_config.value).cluster or ""


def leads(listener: Listener, port: int) -> dict[tuple[str, ...], str]:
    """(addresses, then protocols) of each chain on a port, to where it leads."""
    return {
        (
            *(each.address_prefix for each in match_of(chain).prefix_ranges),
            *match_of(chain).application_protocols,
        ): lead(chain)
        for chain in listener.filter_chains
        if match_of(chain).destination_port == port
    }


HTTP_INSIDE = ("http/1.0", "http/1.1", "h2c")


def test_http_by_port_and_bytes_by_address() -> None:
    listener = built(
        service("users", (80, Protocol.HTTP), addresses=("10.1.0.1",)),
        service("raw", (80, Protocol.TCP), addresses=("10.1.0.2", "fd00::2")),
    )
    assert leads(listener, 80) == {(): "http", ("10.1.0.2", "fd00::2"): "outbound|80||raw.shop.svc.cluster.local"}
    assert [each.name.rpartition(".")[2] for each in listener.listener_filters] == ["original_dst"]
    assert listener.listener_filters_timeout == timedelta(0)


def test_detected_ports_are_inspected_for_a_bounded_time() -> None:
    listener = built(service("misc", (9000, Protocol.DETECT), addresses=("10.1.0.3",)))
    assert leads(listener, 9000) == {
        ("10.1.0.3", *HTTP_INSIDE): "http",
        ("10.1.0.3",): "outbound|9000||misc.shop.svc.cluster.local",
    }
    assert listener.listener_filters_timeout == timedelta(milliseconds=300)
    assert listener.continue_on_listener_filters_timeout


def test_unknown_destinations() -> None:
    assert lead(built().default_filter_chain) == "PassthroughCluster"
    assert lead(built(settings=REGISTRY_ONLY).default_filter_chain) == "BlackHoleCluster"


def test_an_external_name_of_bytes_is_reached_even_if_nothing_else_is() -> None:
    far = service("far", (5432, Protocol.TCP), resolution=Resolution.EXTERNAL_NAME, external_name="db.example.com")
    assert leads(built(far), 5432) == {(): "PassthroughCluster"}
    assert leads(built(far, settings=REGISTRY_ONLY), 5432) == {(): "outbound|5432||far.shop.svc.cluster.local"}


def test_an_external_name_of_bytes_keeps_its_policy() -> None:
    far = service("far", (5432, Protocol.TCP), resolution=Resolution.EXTERNAL_NAME, external_name="db.example.com")
    policy = TrafficPolicy(connection_pool=ConnectionPool(tcp_idle_timeout=timedelta(minutes=5)))
    snapshot = mesh([far], rules=[rule(far.host, policy=policy)], settings=REGISTRY_ONLY)
    chain = next(chain for chain in built(snapshot=snapshot).filter_chains if chain.name == "5432.tcp")
    assert chain.filters[-1].typed_config is not None
    assert TcpProxy.parse(chain.filters[-1].typed_config.value).idle_timeout == timedelta(minutes=5)


def test_pods_of_headless_services_belong_to_one_service() -> None:
    pods = (endpoint("10.2.0.1", 5432), endpoint("10.2.0.2", 5432))
    services = [service(name, (5432, Protocol.TCP), resolution=Resolution.HEADLESS) for name in ("b", "a")]
    snapshot = mesh(services, endpoints={each.host: pods for each in services})
    assert leads(built(snapshot=snapshot), 5432) == {
        ("10.2.0.1",): "outbound|5432||a.shop.svc.cluster.local",
        ("10.2.0.2",): "outbound|5432||a.shop.svc.cluster.local",
    }


def test_our_own_ports_are_a_dead_end() -> None:
    listener = built(service("odd", (15001, Protocol.HTTP), (15006, Protocol.TCP), addresses=("10.1.0.1",)))
    assert leads(listener, 15001) == leads(listener, 15006) == {(): "BlackHoleCluster"}


ADDRESSES = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), max_size=2).map(tuple)
SERVICES = st.lists(
    st.tuples(
        st.sampled_from([Protocol.HTTP, Protocol.TCP, Protocol.TLS, Protocol.DETECT, Protocol.UDP]),
        st.sampled_from(list(Resolution)),
        ADDRESSES,
    ),
    max_size=6,
)


@given(SERVICES, st.sampled_from([MeshSettings(), REGISTRY_ONLY]))
def test_no_two_chains_match_the_same_connection(
    drawn: list[tuple[Protocol, Resolution, tuple[str, ...]]], settings: MeshSettings
) -> None:
    services = [
        service(f"s{number}", (80, protocol), resolution=resolution, addresses=addresses, external_name="x.example")
        for number, (protocol, resolution, addresses) in enumerate(drawn)
    ]
    found = {
        each.host: tuple(endpoint(address) for address in dict.fromkeys(addresses))
        for each, (_, resolution, addresses) in zip(services, drawn, strict=True)
        if resolution is Resolution.HEADLESS
    }
    listener = built(snapshot=mesh(services, endpoints=found, settings=settings))
    seen: Counter[tuple[object, ...]] = Counter()
    for chain in listener.filter_chains:
        match = match_of(chain)
        addresses = [each.address_prefix for each in match.prefix_ranges] or [""]
        for combination in product([match.destination_port], addresses, match.application_protocols or [""]):
            seen[combination] += 1
    assert set(seen.values()) <= {1}
    assert len({chain.name for chain in listener.filter_chains}) == len(listener.filter_chains)
