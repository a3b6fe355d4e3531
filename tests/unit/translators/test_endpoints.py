"""Load assignments: who is in, where, and how each may be called."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LbEndpoint

from model.asker import Asker
from model.mesh import Mesh
from model.names import OutboundCluster
from model.policies import MtlsMode, PeerAuthentication
from model.problems import ObjectRef
from model.services import Endpoint, Locality, Protocol, Resolution
from model.traffic import SimpleBalancer, TrafficPolicy
from protos.type_urls import ENDPOINT
from tests.unit.translators.outbound_meshes import USERS, endpoint, mesh, rule, seen_from, service
from translators import endpoints
from translators.endpoints import build_load_assignment
from translators.resources import derive, names_in_scope
from xds.events import Event
from xds.memo import Memo
from xds.read_memo import KnownAsker

NAME = OutboundCluster(port=80, host=USERS)
V1 = OutboundCluster(port=80, subset="v1", host=USERS)


def shop(*endpoints: Endpoint, resolution: Resolution = Resolution.CLUSTER_IP) -> Mesh:
    users = service("users", (80, Protocol.HTTP), (90, Protocol.TCP), resolution=resolution)
    return mesh([users], endpoints={USERS: endpoints}, rules=[rule(USERS, "v1")])


def assigned(snapshot: Mesh, name: OutboundCluster = NAME) -> ClusterLoadAssignment:
    found = build_load_assignment(name, seen_from(snapshot))
    assert found is not None
    return found


def flat(assignment: ClusterLoadAssignment) -> list[LbEndpoint]:
    return [each for group in assignment.endpoints for each in group.lb_endpoints]


def addresses(assignment: ClusterLoadAssignment) -> list[tuple[str, int]]:
    found = []
    for each in flat(assignment):
        assert each.endpoint is not None
        assert each.endpoint.address is not None
        socket = each.endpoint.address.socket_address
        assert socket is not None
        found.append((socket.address, socket.port_value or 0))
    return found


def marks(endpoint: LbEndpoint) -> dict[str, dict[str, str | None]]:
    if endpoint.metadata is None:
        return {}
    return {
        name: {key: value.string_value for key, value in struct.fields.items()}
        for name, struct in endpoint.metadata.filter_metadata.items()
    }


MUTUAL = {"envoy.transport_socket_match": {"tlsMode": "istio"}}


def test_ready_endpoints_are_listed_by_address_with_the_workload_s_port() -> None:
    found = assigned(shop(endpoint("10.0.0.2"), endpoint("10.0.0.1"), endpoint("10.0.0.3", ready=False)))
    assert found.cluster_name == f"outbound|80||{USERS}"
    assert addresses(found) == [("10.0.0.1", 1080), ("10.0.0.2", 1080)]


def test_endpoints_that_end_are_called_only_while_none_of_the_port_is_ready() -> None:
    ending = replace(endpoint("10.0.0.1", 80, 90, ready=False, version="v1"), draining=True)
    ready = endpoint("10.0.0.2", 80, version="v2")
    lost = endpoint("10.0.0.3", ready=False)
    assert addresses(assigned(shop(ending, lost))) == [("10.0.0.1", 1080)]
    assert addresses(assigned(shop(ending, lost, ready))) == [("10.0.0.2", 1080)]
    # Another port of the same service has its own answer, and a subset has that of its service.
    assert addresses(assigned(shop(ending, ready), replace(NAME, port=90))) == [("10.0.0.1", 1090)]
    assert addresses(assigned(shop(ending, ready), V1)) == []
    assert addresses(assigned(shop(ending, lost), V1)) == [("10.0.0.1", 1080)]


def test_a_subset_is_chosen_by_labels() -> None:
    found = assigned(shop(endpoint("10.0.0.1", version="v1"), endpoint("10.0.0.2", version="v2")), V1)
    assert addresses(found) == [("10.0.0.1", 1080)]


def test_an_endpoint_without_the_port_is_left_out() -> None:
    snapshot = shop(endpoint("10.0.0.1", 80), endpoint("10.0.0.2", 80, 90))
    assert addresses(assigned(snapshot, OutboundCluster(port=90, host=USERS))) == [("10.0.0.2", 1090)]


@pytest.mark.parametrize("resolution", [Resolution.CLUSTER_IP, Resolution.HEADLESS])
def test_of_endpoints_of_which_one_changes_that_one_is_built_anew(
    resolution: Resolution, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, built = endpoints._build_endpoint, []

    def counted(address: str, port: int, mutual: bool, headless: bool) -> LbEndpoint:
        built.append(address)
        return build(address, port, mutual, headless)

    monkeypatch.setattr(endpoints, "_build_endpoint", counted)
    some = [endpoint(f"10.77.0.{one}", meshed=one % 2 == 0) for one in range(100)]
    changes = [some, [*some[:7], *some[8:]], some, [*some, endpoint("10.77.1.1")]]
    changes.append([replace(some[0], ports={80: 99}), *some[1:], endpoint("10.77.1.1")])
    memo = Memo(derive=derive, names=names_in_scope, report=_fail, mesh=shop(resolution=resolution))
    asker = KnownAsker(Asker(namespace="shop", pod="web-1", service_account="web"))
    anew = []
    for change in changes:
        snapshot = shop(*change, resolution=resolution)
        memo.advance(snapshot)
        found = memo.find(ENDPOINT, str(NAME), asker).resource
        anew.append(built.copy())
        assert found is not None
        assert ClusterLoadAssignment.parse(bytes(found.body)) == assigned(snapshot)
        built.clear()
    assert len(anew[0]) == 100
    assert anew[1:] == [[], [], ["10.77.1.1"], ["10.77.0.0"]]


def _fail(event: Event) -> None:
    raise AssertionError(event)


def test_r42_no_endpoints_are_an_empty_assignment_and_not_silence() -> None:
    assert flat(assigned(shop())) == []
    assert flat(assigned(shop(endpoint("10.0.0.1", version="v2")), V1)) == []


def test_what_does_not_exist_has_no_assignment() -> None:
    view = seen_from(shop())
    assert build_load_assignment(OutboundCluster(port=81, host=USERS), view) is None
    assert build_load_assignment(OutboundCluster(port=80, subset="v9", host=USERS), view) is None
    assert build_load_assignment(OutboundCluster(port=80, host="x.shop.svc.cluster.local"), view) is None


def test_a_cluster_that_finds_its_endpoints_otherwise_has_no_assignment() -> None:
    users = service("users", (80, Protocol.HTTP))
    passthrough = rule(USERS, policy=TrafficPolicy(load_balancer=SimpleBalancer.PASSTHROUGH))
    assert build_load_assignment(NAME, seen_from(mesh([users], rules=[passthrough]))) is None


def test_endpoints_are_grouped_by_locality() -> None:
    def at(address: str, zone: str) -> Endpoint:
        return Endpoint(address=address, ports={80: 8080}, locality=Locality(region="eu", zone=zone))

    found = assigned(shop(at("10.0.0.1", "b"), at("10.0.0.2", "a"), at("10.0.0.3", "b"), endpoint("10.0.0.4")))
    zones = [(group.locality.zone if group.locality else "", len(group.lb_endpoints)) for group in found.endpoints]
    assert zones == [("", 1), ("a", 1), ("b", 2)]


def test_only_meshed_endpoints_are_marked_for_mutual_tls() -> None:
    found = flat(assigned(shop(endpoint("10.0.0.1"), endpoint("10.0.0.2", meshed=False))))
    assert [marks(each) for each in found] == [MUTUAL, {}]


def peer(mode: MtlsMode | None, namespace: str = "shop", **selector: str) -> PeerAuthentication:
    ref = ObjectRef(kind="PeerAuthentication", namespace=namespace, name="peer")
    return PeerAuthentication(ref=ref, selector=selector, mode=mode)


def test_a_workload_that_refuses_mutual_tls_is_called_in_plaintext() -> None:
    users = service("users", (80, Protocol.HTTP))
    two = (endpoint("10.0.0.1", version="v1"), endpoint("10.0.0.2", version="v2"))
    some = mesh([users], endpoints={USERS: two}, peers=[peer(MtlsMode.DISABLE, version="v1")])
    none = mesh([users], endpoints={USERS: two}, peers=[peer(MtlsMode.DISABLE)])
    assert [marks(each) for each in flat(assigned(some))] == [{}, MUTUAL]
    assert [marks(each) for each in flat(assigned(none))] == [{}, {}]


@pytest.mark.parametrize(("mode", "mark"), [(None, {}), (MtlsMode.DISABLE, {}), (MtlsMode.STRICT, MUTUAL)])
def test_a_port_past_the_sidecar_is_called_in_plaintext_unless_that_is_forbidden(
    mode: MtlsMode | None, mark: dict[str, dict[str, str]]
) -> None:
    users = service("users", (80, Protocol.HTTP), (90, Protocol.HTTP))
    past = replace(endpoint("10.0.0.1", 80, 90), uncaptured=frozenset({80}))
    snapshot = mesh([users], endpoints={USERS: (past,)}, peers=[peer(mode)] if mode else [])
    assert [marks(each) for each in flat(assigned(snapshot))] == [mark]
    captured = marks(flat(assigned(snapshot, replace(NAME, port=90)))[0])
    assert captured == ({} if mode is MtlsMode.DISABLE else MUTUAL)


def test_a_headless_service_s_endpoints_can_be_told_apart_by_address() -> None:
    found = flat(assigned(shop(endpoint("10.0.0.1"), resolution=Resolution.HEADLESS)))
    assert [marks(each) for each in found] == [{"envoy.lb": {"address": "10.0.0.1"}, **MUTUAL}]


def test_an_alias_has_the_endpoints_of_what_it_names() -> None:
    users = service("users", (80, Protocol.HTTP))
    alias = service("alias", (80, Protocol.HTTP), resolution=Resolution.EXTERNAL_NAME, external_name=f"{USERS}.")
    snapshot = mesh([users, alias], endpoints={USERS: (endpoint("10.0.0.1"),)})
    assert addresses(assigned(snapshot, OutboundCluster(port=80, host=alias.host))) == [("10.0.0.1", 1080)]


def test_the_order_of_the_input_does_not_matter() -> None:
    one, two = endpoint("10.0.0.1"), endpoint("10.0.0.2", meshed=False)
    assert assigned(shop(one, two)) == assigned(shop(two, one))
