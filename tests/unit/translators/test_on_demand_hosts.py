"""Virtual hosts learnt on demand: each host is answered for as in a table that has everything."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from envoy_data_plane.envoy.config.route.v3 import Route, VirtualHost
from hypothesis import given
from hypothesis import strategies as st

from model.matching import Prefix
from model.mesh import Mesh
from model.names import PLACEHOLDER_HOST, RouteTable, VirtualHostName
from model.routing import Destination, DirectResponse, HttpMatch, HttpRoute
from model.services import Protocol, Resolution
from model.settings import MeshSettings, OutboundTraffic
from model.view import View
from protos.type_urls import CLUSTER, VIRTUAL_HOST
from tests.unit.translators.outbound_meshes import (
    USERS,
    endpoint,
    forward,
    mesh,
    seen_from,
    service,
    to_users,
    virtual_service,
)
from translators.on_demand_hosts import answering, build_on_demand
from translators.resources import answering as answering_name
from translators.resources import names_in_scope
from translators.virtual_hosts import build_virtual_host, virtual_host_names

HTTP = Protocol.HTTP
TABLE = RouteTable(port=80)
REFUSING = MeshSettings(outbound_traffic=OutboundTraffic.REGISTRY_ONLY)


def answer(status: int) -> HttpRoute:
    return HttpRoute(action=DirectResponse(status=status))


def built(host: str, view: View) -> VirtualHost:
    found = answering(TABLE, host, view)
    assert found is not None
    virtual_host = build_on_demand(found.name, view)
    assert virtual_host is not None
    assert host in virtual_host.domains
    return virtual_host


def targets(virtual_host: VirtualHost) -> list[str | int | None]:
    return [
        route.route.cluster if route.route else route.direct_response.status if route.direct_response else None
        for route in virtual_host.routes
    ]


def test_every_form_of_a_service_s_name_leads_to_the_one_virtual_host() -> None:
    view = seen_from(mesh([service("users", (80, HTTP), addresses=("10.96.0.1", "fd00::1"))]), on_demand=True)
    asked = ("users", "users.shop", "users.shop.svc", USERS, f"{USERS}.", "10.96.0.1", "[fd00::1]")
    found = {answering(TABLE, host, view) for host in asked}
    (only,) = found
    assert only is not None
    assert only.declared
    assert only.name == VirtualHostName(port=80, host=USERS)
    assert set(built("users", view).domains) == set(asked)


@pytest.mark.parametrize("asked", ["80/users", "80/users:80", "80/users:9999", "80/10.96.0.1:80", "80/[fd00::1]:80"])
def test_the_port_of_a_host_header_is_ignored(asked: str) -> None:
    view = seen_from(mesh([service("users", (80, HTTP), addresses=("10.96.0.1", "fd00::1"))]), on_demand=True)
    found = answering_name(asked, view)
    assert found is not None
    assert (found.name, found.declared) == (f"80/{USERS}:80", True)


@pytest.mark.parametrize(
    "asked",
    ["80/*", "80/a*b", "80/a b", "80/a/b", "80/A", "80/ä", "80/" + "a" * 300, "nothing", "80/", "0/users", "80/:80"],
)
def test_what_is_no_host_is_nobody_s_and_never_a_domain(asked: str) -> None:
    assert answering_name(asked, seen_from(mesh(), on_demand=True)) is None


def test_an_undeclared_host_passes_through_or_is_nobody_s() -> None:
    passing = seen_from(mesh(), on_demand=True)
    found = answering(TABLE, "example.com", passing)
    assert found is not None
    assert not found.declared
    assert targets(built("example.com", passing)) == ["PassthroughCluster"]
    assert built("example.com", passing).domains == ["example.com"]
    assert answering(TABLE, "example.com", seen_from(mesh(settings=REFUSING), on_demand=True)) is None


@pytest.mark.parametrize("host", ["a~b", "a%20b", "user@users", "users,users", "a'b", "(a)", "[::1", "a_b|c"])
def test_a_host_of_odd_characters_is_a_host(host: str) -> None:
    passing = seen_from(mesh(routes=[virtual_service(answer(201), hosts=("*.wild",))]), on_demand=True)
    assert targets(built(host, passing)) == ["PassthroughCluster"]
    assert built(f"{host}.wild", passing).domains == [f"{host}.wild"]
    assert targets(built(f"{host}.wild", passing)) != ["PassthroughCluster"]


def test_under_a_wildcard_each_host_has_a_virtual_host_of_its_own() -> None:
    routes = [
        virtual_service(answer(201), hosts=("*.example.com",), name="wide"),
        virtual_service(answer(202), hosts=("*.deep.example.com",), name="deep"),
        virtual_service(answer(203), hosts=("exact.example.com",), name="exact"),
    ]
    view = seen_from(mesh(routes=routes, settings=REFUSING), on_demand=True)
    for host, status, declared in (
        ("a.example.com", 201, False),
        ("a.b.example.com", 201, False),
        ("a.deep.example.com", 202, False),
        ("exact.example.com", 203, True),
    ):
        virtual_host = built(host, view)
        assert virtual_host.domains == [host]
        assert targets(virtual_host)[0] == status
        found = answering(TABLE, host, view)
        assert found is not None
        assert found.declared is declared


def test_a_pod_of_a_headless_service_is_asked_for_by_its_own_name() -> None:
    web = service("web", (80, HTTP), resolution=Resolution.HEADLESS)
    snapshot = mesh([web], endpoints={web.host: (endpoint("10.1.0.1", hostname="web-0"),)})
    view = seen_from(snapshot, on_demand=True)
    assert not [domain for domain in built("web", view).domains if domain.startswith("*")]
    of_pod = built("web-0.web", view)
    assert of_pod.domains == ["web-0.web"]
    assert of_pod.routes[0].route is not None
    assert of_pod.routes[0].route.metadata_match is not None


def test_every_request_has_a_route() -> None:
    """Envoy's filter would ask again for a virtual host that has none for the request."""
    routes = virtual_service(to_users(HttpMatch(uri=Prefix(value="/v2"))))
    view = seen_from(mesh([service("users", (80, HTTP))], routes=[routes]), on_demand=True)
    assert targets(built("users", view)) == [f"outbound|80||{USERS}", 404]
    plain = seen_from(mesh([service("users", (80, HTTP))]), on_demand=True)
    assert targets(built("users", plain)) == [f"outbound|80||{USERS}"]


def test_ahead_is_sent_only_what_lets_listeners_begin() -> None:
    database = service("db", (5432, Protocol.TCP), addresses=("10.96.0.9",))
    services = [service("users", (80, HTTP)), service("other", (8080, HTTP)), database]
    view = seen_from(mesh(services), on_demand=True)
    assert names_in_scope(VIRTUAL_HOST, view) == {f"80/{PLACEHOLDER_HOST}:80", f"8080/{PLACEHOLDER_HOST}:8080"}
    assert names_in_scope(CLUSTER, view) == {"BlackHoleCluster", "InboundPassthroughCluster", "PassthroughCluster"}
    placeholder = build_on_demand(VirtualHostName(port=80, host=PLACEHOLDER_HOST), view)
    assert placeholder is not None
    assert placeholder.domains == [PLACEHOLDER_HOST]


NAMES = ("a", "b", "web")
HOSTS = ("a", "b.shop", "web", "web-0.web", "x.web.shop", "a.other", "a.example.com", "b.a.example.com", "example.com")
PATTERNS = ("*", "*.example.com", "*.a.example.com", "a.example.com", "*.web.shop", "a", f"{NAMES[0]}.other", "*.shop")


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    services = []
    for name in NAMES:
        for namespace in ("shop", "other", "web"):
            if draw(st.booleans()):
                protocol = draw(st.sampled_from([HTTP, Protocol.TCP, Protocol.DETECT]))
                kind = Resolution.HEADLESS if name == "web" else Resolution.CLUSTER_IP
                services.append(service(name, (80, protocol), namespace=namespace, resolution=kind))
    hosts = draw(st.lists(st.sampled_from(PATTERNS), unique=True, max_size=4))
    routes = [
        virtual_service(answer(210 + number), hosts=(host,), name=f"r{number}") for number, host in enumerate(hosts)
    ]
    endpoints = {each.host: (endpoint("10.1.0.1", hostname="web-0"),) for each in services if each.ref.name == "web"}
    settings = draw(st.sampled_from([MeshSettings(), REFUSING]))
    return mesh(services, endpoints=endpoints, routes=routes, settings=settings)


def chosen(host: str, table: Iterable[VirtualHost]) -> VirtualHost:
    """What Envoy chooses: the very domain, then the longest wildcard."""
    by_domain = {domain: each for each in table for domain in each.domains}
    if host in by_domain:
        return by_domain[host]
    suffixes = [domain for domain in by_domain if domain.startswith("*") and host.endswith(domain[1:])]
    return by_domain[max((domain for domain in suffixes if len(host) >= len(domain)), key=len)]


@given(meshes(), st.sampled_from(HOSTS))
def test_a_host_is_answered_for_as_in_a_table_that_has_everything(snapshot: Mesh, host: str) -> None:
    eager = seen_from(snapshot, vhds=True)
    table = [build_virtual_host(name, eager) for name in virtual_host_names(80, eager)]
    expected = chosen(host, [each for each in table if each is not None])
    view = seen_from(snapshot, on_demand=True)
    found = answering(TABLE, host, view)
    if found is None:
        assert [route.name for route in expected.routes] == ["block_all"]
        return
    virtual_host = build_on_demand(found.name, view)
    assert virtual_host is not None
    assert host in virtual_host.domains
    assert without_end(virtual_host.routes) == without_end(expected.routes)


def without_end(routes: list[Route]) -> list[Route]:
    return [route for route in routes if route.name != "no_route"]


@given(meshes())
def test_no_domain_has_two_owners(snapshot: Mesh) -> None:
    """Envoy refuses a table in which one stands twice."""
    view = seen_from(snapshot, on_demand=True)
    names = {found.name for host in HOSTS if (found := answering(TABLE, host, view)) is not None}
    hosts = [build_on_demand(name, view) for name in names]
    domains = [domain for each in hosts if each is not None for domain in each.domains]
    assert len(domains) == len(set(domains))
    assert not [domain for domain in domains if "*" in domain]


def test_an_alias_names_no_virtual_host_of_its_own() -> None:
    routes = virtual_service(HttpRoute(action=forward(Destination(host=USERS))), hosts=("users.shop",))
    view = seen_from(mesh([service("users", (80, HTTP))], routes=[routes]), on_demand=True)
    assert build_on_demand(VirtualHostName(port=80, host="users.shop"), view) is None
