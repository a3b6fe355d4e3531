"""Filter chains where destinations are learnt on demand: few, and leading where those of a full listener lead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import product

import pytest
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, FilterChainMatch, Listener
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from hypothesis import given
from hypothesis import strategies as st

from model.mesh import Mesh
from model.names import ADDRESS_CLUSTER, AddressCluster
from model.services import Protocol, Resolution, Service
from model.settings import MeshSettings, OutboundTraffic
from model.traffic import ConnectionPool, ConsistentHash, HashSourceAddress, TrafficPolicy
from protos.type_urls import CLUSTER
from tests.unit.translators.outbound_meshes import endpoint, mesh, rule, seen_from, service, to_users, virtual_service
from translators.address_clusters import build_address_cluster
from translators.outbound_listener import build_outbound_listener
from translators.resources import derive, names_in_scope

REGISTRY_ONLY = MeshSettings(outbound_traffic=OutboundTraffic.REGISTRY_ONLY)
TCP, HTTP, DETECT = Protocol.TCP, Protocol.HTTP, Protocol.DETECT
POOLS = (
    ConnectionPool(tcp_idle_timeout=timedelta(minutes=5)),
    ConnectionPool(max_connection_duration=timedelta(minutes=5)),
)


def built(snapshot: Mesh, *, on_demand: bool = True) -> Listener:
    return build_outbound_listener(seen_from(snapshot, on_demand=on_demand))


def match_of(chain: FilterChain) -> FilterChainMatch:
    return chain.filter_chain_match or FilterChainMatch()


def chain_names(snapshot: Mesh) -> list[str]:
    return [chain.name for chain in built(snapshot).filter_chains if not chain.name.startswith("trap.")]


def many(count: int, protocol: Protocol = TCP, port: int = 5432) -> list[Service]:
    return [service(f"s{n}", (port, protocol), addresses=(f"10.1.{n // 250}.{n % 250 + 1}",)) for n in range(count)]


def test_services_of_bytes_share_one_chain_and_change_nothing_of_the_listener() -> None:
    store = service("store", (6379, TCP), resolution=Resolution.HEADLESS)
    pods = {store.host: (endpoint("10.2.0.1", 6379), endpoint("10.2.0.2", 6379))}
    assert chain_names(mesh([*many(500), store], endpoints=pods)) == ["tcp"]
    assert built(mesh([*many(500), store], endpoints=pods)) == built(mesh(many(1)))


def test_services_of_detected_ports_share_two_chains_and_change_nothing_of_the_listener() -> None:
    assert chain_names(mesh(many(300, DETECT, 9000))) == ["9000.http", "9000.tcp", "tcp"]
    assert built(mesh(many(300, DETECT, 9000))) == built(mesh(many(1, DETECT, 9000)))


def test_addresses_that_cannot_be_the_meshs_are_not_asked_about() -> None:
    internet, ours = "198.51.100.7", "203.0.113.8"
    snapshot = mesh([service("far", (5432, TCP), addresses=(ours, "2001:db8:1::8")), *many(1), *many(1, DETECT, 9000)])
    listener = built(snapshot)
    assert lead(listener, ours, 5432) == lead(listener, "2001:db8:1:7::1", 5432) == "asks"
    assert lead(listener, internet, 5432) == lead(listener, "2001:db8:2::8", 5432) == "PassthroughCluster"
    assert lead(listener, internet, 9000) == lead(listener, internet, 9000, "http/1.1") == "PassthroughCluster"
    assert lead(listener, "10.255.0.1", 5432) == lead(listener, "fd00::7", 1) == "asks"


def test_on_a_port_of_requests_each_service_of_bytes_has_a_chain_that_stays_as_it_is() -> None:
    """What changes closes its connections."""
    store = service("store", (80, TCP), resolution=Resolution.HEADLESS)
    web = service("web", (80, HTTP), addresses=("10.9.0.1",))
    pod, other = endpoint("10.2.0.1", 80), endpoint("10.2.0.2", 80)
    before = built(mesh([web, store, *many(2, port=80)], endpoints={store.host: (pod,)}))
    odd = service("odd", (81, TCP), addresses=("10.9.0.2",))
    after = built(mesh([web, store, odd, *many(3, port=80)], endpoints={store.host: (pod, other)}))
    old = {chain.name: chain for chain in before.filter_chains}
    new = {chain.name: chain for chain in after.filter_chains}
    assert {name: new[name] for name in old} == old
    assert new.keys() - old.keys() == {"s2.shop.svc.cluster.local:80", "store.shop.svc.cluster.local:80.10.2.0.2"}


def test_bytes_for_certain_are_not_taken_for_http_on_a_detected_port() -> None:
    services = [service("raw", (9000, TCP), addresses=("10.9.0.1",)), *many(1, DETECT, 9000)]
    listener = built(mesh(services))
    assert lead(listener, "10.9.0.1", 9000, "http/1.1") == lead(listener, "10.1.0.1", 9000) == "asks"
    assert lead(listener, "10.1.0.1", 9000, "http/1.1") == "http"


def test_where_routes_have_hosts_of_their_own_requests_may_go_anywhere_and_bytes_are_asked_for_near() -> None:
    routes = virtual_service(to_users(), hosts=("api.example.com",))
    listener = built(mesh(many(1, DETECT, 80), routes=[routes]))
    internet = "198.51.100.7"
    assert lead(listener, internet, 80, "http/1.1") == lead(listener, "10.1.0.1", 80, "http/1.1") == "http"
    assert lead(listener, internet, 80) == "PassthroughCluster"
    assert lead(listener, "10.1.0.1", 80) == "asks"
    policy = rule("s0.shop.svc.cluster.local", policy=TrafficPolicy(connection_pool=POOLS[0]))
    for protocol, requests in ((DETECT, "http"), (TCP, "outbound|80||s0.shop.svc.cluster.local")):
        listener = built(mesh(many(1, protocol, 80), routes=[routes], rules=[policy]))
        assert lead(listener, "10.1.0.1", 80, "http/1.1") == requests
        assert lead(listener, "10.1.0.1", 80) == "outbound|80||s0.shop.svc.cluster.local"
        assert lead(listener, "10.1.0.9", 80, "http/1.1") == lead(listener, internet, 80, "http/1.1") == "http"
        assert lead(listener, "10.1.0.9", 80) == lead(listener, internet, 80) == "PassthroughCluster"


def test_an_external_name_of_bytes_is_ahead_where_nothing_else_may_pass_and_keeps_its_policy() -> None:
    far = service("far", (5432, TCP), resolution=Resolution.EXTERNAL_NAME, external_name="db.example.com")
    near = service("near", (5432, TCP), addresses=("10.1.0.1",))
    policy = rule(far.host, policy=TrafficPolicy(connection_pool=POOLS[0]))
    assert chain_names(mesh([far])) == ["tcp"]
    snapshot = mesh([far, near], rules=[policy], settings=REGISTRY_ONLY)
    assert chain_names(snapshot) == ["near.shop.svc.cluster.local:5432", "5432.elsewhere", "tcp"]
    listener = built(snapshot)
    assert lead(listener, "10.1.0.1", 5432) == "asks"
    assert lead(listener, "203.0.113.7", 5432) == lead(listener, "10.1.0.2", 5432) == f"outbound|5432||{far.host}"
    ahead = names_in_scope(CLUSTER, seen_from(snapshot, on_demand=True))
    assert [name for name in ahead if "|" in name] == [f"outbound|5432||{far.host}"]
    (last,) = next(chain for chain in listener.filter_chains if chain.name == "5432.elsewhere").filters
    assert last.typed_config is not None
    assert TcpProxy.parse(last.typed_config.value).idle_timeout == timedelta(minutes=5)


def test_a_pod_of_two_headless_services_is_the_one_s_that_is_the_first_by_host() -> None:
    services = [service(name, (5432, TCP), resolution=Resolution.HEADLESS) for name in ("b", "a")]
    snapshot = mesh(services, endpoints={each.host: (endpoint("10.2.0.1", 5432),) for each in services})
    assert answered(snapshot, "10.2.0.1", 5432) == "outbound|5432||a.shop.svc.cluster.local at 10.2.0.1"


@pytest.mark.parametrize(
    "policy",
    [
        *(TrafficPolicy(connection_pool=pool) for pool in POOLS),
        TrafficPolicy(load_balancer=ConsistentHash(key=HashSourceAddress())),
    ],
)
def test_what_a_policy_says_of_connections_has_a_chain_and_its_cluster_ahead(policy: TrafficPolicy) -> None:
    services = [service(name, (5432, TCP), addresses=(f"10.1.0.{n}",)) for n, name in enumerate(("cache", "db"), 1)]
    snapshot = mesh(services, rules=[rule("cache.shop.svc.cluster.local", policy=policy)])
    assert chain_names(snapshot) == ["cache.shop.svc.cluster.local:5432", "5432.tcp", "tcp"]
    view = seen_from(snapshot, on_demand=True)
    ahead = [name for name in names_in_scope(CLUSTER, view) if "|" in name]
    assert ahead == ["outbound|5432||cache.shop.svc.cluster.local"]
    assert derive(CLUSTER, ahead[0], view) is not None
    listener = build_outbound_listener(view)
    assert lead(listener, "10.1.0.1", 5432) == ahead[0]
    assert lead(listener, "10.1.0.2", 5432) == lead(listener, "10.1.0.77", 5432) == "asks"
    assert lead(listener, "203.0.113.1", 5432) == "PassthroughCluster"


def test_a_detected_port_with_such_a_policy_is_still_http_where_it_is_http() -> None:
    services = [service(name, (9000, DETECT), addresses=(f"10.1.0.{n}",)) for n, name in enumerate(("cache", "db"), 1)]
    policy = TrafficPolicy(connection_pool=POOLS[0])
    for drawn in (services, services[:1]):
        listener = built(mesh(drawn, rules=[rule("cache.shop.svc.cluster.local", policy=policy)]))
        assert lead(listener, "10.1.0.1", 9000, "http/1.1") == "http"
        assert lead(listener, "10.1.0.1", 9000) == "outbound|9000||cache.shop.svc.cluster.local"
        assert lead(listener, "10.1.0.2", 9000) == "asks"


# The same as with everything ahead


def lead(listener: Listener, address: str, port: int, application: str = "") -> str:
    """Where a connection leads as Envoy chooses: by port, then the longest range, then the application protocol."""
    chains: list[FilterChain] = [each for each in listener.filter_chains if match_of(each).destination_port == port]
    chains = chains or [each for each in listener.filter_chains if match_of(each).destination_port is None]
    lengths = {id(each): length for each in chains if (length := longest(each, address)) is not None}
    best = max(lengths.values(), default=None)
    near = [each for each in chains if lengths.get(id(each)) == best] if best is not None else []
    exact = [each for each in near if application and application in match_of(each).application_protocols]
    rest = [each for each in near if not match_of(each).application_protocols]
    chosen = [*exact, *rest][:1] or [listener.default_filter_chain]
    assert len(exact) <= 1
    assert len(rest) <= 1
    return target(chosen[0])


def longest(chain: FilterChain, address: str) -> int | None:
    ranges = match_of(chain).prefix_ranges
    lengths = [each.prefix_len or 0 for each in ranges if is_in(address, f"{each.address_prefix}/{each.prefix_len}")]
    return max(lengths, default=None) if ranges else 0


@cache
def is_in(address: str, block: str) -> bool:
    return ip_address(address) in ip_network(block)


def target(chain: FilterChain | None) -> str:
    assert chain is not None
    last = chain.filters[-1]
    if not last.name.endswith("tcp_proxy"):
        return "http"
    assert last.typed_config is not None
    proxy = TcpProxy.parse(last.typed_config.value)
    if proxy.on_demand is not None:
        return "asks"
    return f"{proxy.cluster}{pod_in(proxy.metadata_match)}"


def pod_in(metadata: Metadata | None) -> str:
    if metadata is None:
        return ""
    return f" at {metadata.filter_metadata['envoy.lb'].fields['address'].string_value}"


def answered(snapshot: Mesh, address: str, port: int) -> str:
    """Where the cluster leads that answers for an address."""
    cluster = build_address_cluster(AddressCluster(address=address, port=port), seen_from(snapshot, on_demand=True))
    assert cluster is not None
    assert cluster.name.startswith(ADDRESS_CLUSTER)
    subset = cluster.lb_subset_config.default_subset if cluster.lb_subset_config else None
    pod = f" at {subset.fields['address'].string_value}" if subset is not None else ""
    return f"{cluster.alt_stat_name}{pod}"


NOBODYS = (("http", "PassthroughCluster"), ("http", "BlackHoleCluster"))
PROTOCOLS = st.sampled_from([HTTP, TCP, Protocol.TLS, DETECT, Protocol.UDP])
KINDS = st.sampled_from(list(Resolution))
POLICIES = st.sampled_from([None, None, TrafficPolicy(connection_pool=POOLS[0])])
DRAWN = st.lists(st.tuples(PROTOCOLS, st.sampled_from((80, 81)), KINDS, st.integers(1, 3), POLICIES), max_size=6)


def drawn_mesh(
    drawn: Iterable[tuple[Protocol, int, Resolution, int, TrafficPolicy | None]], said: MeshSettings
) -> Mesh:
    """Some with addresses that are not private. No two have the same virtual address, as in a cluster; pods are
    shared."""
    services, endpoints, rules = [], {}, []
    for number, (protocol, port, resolution, pod, policy) in enumerate(drawn):
        addresses = (f"10.1.0.{number}", f"203.0.113.{number}") if resolution is Resolution.CLUSTER_IP else ()
        each = service(
            f"s{number}", (port, protocol), resolution=resolution, addresses=addresses, external_name="x.example"
        )
        services.append(each)
        if resolution is Resolution.HEADLESS:
            endpoints[each.host] = (endpoint(f"10.2.0.{pod}", port), endpoint(f"198.51.100.{pod}", port))
        if policy is not None:
            rules.append(rule(each.host, policy=policy))
    return mesh(services, endpoints=endpoints, rules=rules, settings=said)


ANYWHERE = (
    *(f"10.1.0.{n}" for n in range(6)),
    *(f"203.0.113.{n}" for n in range(6)),
    *(f"10.2.0.{n}" for n in range(1, 4)),
    *(f"198.51.100.{n}" for n in range(1, 4)),
    "10.99.0.1",
    "198.51.100.99",
)


@given(DRAWN, st.sampled_from([MeshSettings(), REGISTRY_ONLY]))
def test_every_connection_leads_where_it_would_if_all_were_known(
    drawn: list[tuple[Protocol, int, Resolution, int, TrafficPolicy | None]], said: MeshSettings
) -> None:
    snapshot = drawn_mesh(drawn, said)
    eager, asking = built(snapshot, on_demand=False), built(snapshot)
    for address, port, application in product(ANYWHERE, (80, 81, 82), ("", "http/1.1")):
        found = lead(asking, address, port, application)
        if found == "asks":
            found = answered(snapshot, address, port)
        known = lead(eager, address, port, application)
        # On a detected port, requests to a private address that is nobody's are led by their host.
        if application and (found, known) in NOBODYS and answered(snapshot, address, port) == known:
            continue
        assert found == known, (address, port, application)


@given(DRAWN, st.sampled_from([MeshSettings(), REGISTRY_ONLY]))
def test_no_two_chains_match_the_same_connection(
    drawn: list[tuple[Protocol, int, Resolution, int, TrafficPolicy | None]], said: MeshSettings
) -> None:
    listener = built(drawn_mesh(drawn, said))
    seen: Counter[tuple[object, ...]] = Counter()
    for chain in listener.filter_chains:
        match = match_of(chain)
        blocks = [(each.address_prefix, each.prefix_len) for each in match.prefix_ranges] or [("", 0)]
        for combination in product([match.destination_port], blocks, match.application_protocols or [""]):
            seen[combination] += 1
    assert set(seen.values()) <= {1}
    assert len({chain.name for chain in listener.filter_chains}) == len(listener.filter_chains)
