"""Virtual hosts and route tables: who owns which domain, and what its requests do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache

import pytest
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost
from hypothesis import given
from hypothesis import strategies as st

from model.asker import Asker, Capture
from model.matching import Exact, Prefix, Present, Regex
from model.mesh import Mesh
from model.names import OutboundCluster, RouteTable, VirtualHostName
from model.routing import (
    Abort,
    Delay,
    Destination,
    DirectResponse,
    Fault,
    HeaderChanges,
    HeaderFormat,
    Headers,
    HttpMatch,
    HttpRoute,
    Mirror,
    Redirect,
    RetryPolicy,
    Rewrite,
    WeightedDestination,
)
from model.services import Protocol, Resolution, Service
from model.settings import MeshSettings, OutboundTraffic
from model.traffic import ConsistentHash, HashCookie, HashQueryParameter, HashSourceAddress, TrafficPolicy
from model.view import View, view_of
from tests.envoy_validation import refusal, refusals
from tests.unit.translators.outbound_meshes import (
    USERS,
    endpoint,
    forward,
    mesh,
    rule,
    seen_from,
    service,
    to_users,
    virtual_service,
)
from translators.domains import service_domains
from translators.route_tables import build_route_table
from translators.scope import http_ports, load_assignments, outbound_clusters
from translators.virtual_hosts import build_virtual_host, virtual_host_names

HTTP = Protocol.HTTP
ANSWER = HttpRoute(action=DirectResponse(status=200))


def built(view: View, host: str, port: int = 80) -> VirtualHost:
    found = build_virtual_host(VirtualHostName(port=port, host=host), view)
    assert found is not None
    return found


def clusters(virtual_host: VirtualHost) -> list[str | None]:
    return [route.route.cluster if route.route else None for route in virtual_host.routes]


def hosts(view: View, port: int = 80) -> list[str]:
    return [name.host for name in virtual_host_names(port, view)]


def test_a_service_has_all_forms_of_its_name() -> None:
    users = service("users", (80, HTTP), addresses=("10.96.0.1", "fd00::1"))
    near, far = seen_from(mesh([users])), seen_from(mesh([users]), "other")
    assert built(near, USERS).domains == [
        USERS,
        "users.shop.svc",
        "users.shop",
        "users",
        f"{USERS}.",
        "10.96.0.1",
        "[fd00::1]",
    ]
    assert "users" not in built(far, USERS).domains


def test_the_name_is_the_resource_s_whole_name() -> None:
    found = built(seen_from(mesh([service("users", (80, HTTP))])), USERS)
    assert found.name == f"80/{USERS}:80"
    assert found.include_request_attempt_count


def test_an_address_that_two_services_claim_is_the_first_one_s() -> None:
    one, two = (service(name, (80, HTTP), addresses=("10.96.0.1",)) for name in ("a", "b"))
    view = seen_from(mesh([one, two]))
    assert "10.96.0.1" in service_domains(one, view)
    assert "10.96.0.1" not in service_domains(two, view)


@pytest.mark.parametrize(
    ("protocol", "there"),
    [(HTTP, True), (Protocol.HTTP2, True), (Protocol.DETECT, True), (Protocol.TCP, False), (Protocol.UDP, False)],
)
def test_only_services_that_may_speak_http_are_in_a_table(protocol: Protocol, there: bool) -> None:
    view = seen_from(mesh([service("users", (80, protocol))]))
    assert (build_virtual_host(VirtualHostName(port=80, host=USERS), view) is not None) is there
    assert (USERS in hosts(view)) is there
    assert http_ports(view) == ((80,) if there else ())


def test_without_a_virtual_service_everything_goes_to_the_service() -> None:
    found = built(seen_from(mesh([service("users", (80, HTTP))])), USERS)
    assert clusters(found) == [f"outbound|80||{USERS}"]
    assert found.routes[0].name == "default"


def test_with_one_its_routes_are_all_there_is() -> None:
    routes = virtual_service(to_users(HttpMatch(uri=Prefix(value="/v2")), subset="v2"))
    view = seen_from(mesh([service("users", (80, HTTP))], routes=[routes]))
    assert clusters(built(view, USERS)) == [f"outbound|80|v2|{USERS}"]


def test_a_virtual_service_that_says_nothing_to_this_caller_leaves_the_default() -> None:
    routes = virtual_service(to_users(HttpMatch(source_namespace="other"), subset="v2"))
    view = seen_from(mesh([service("users", (80, HTTP))], routes=[routes]))
    assert clusters(built(view, USERS)) == [f"outbound|80||{USERS}"]


def test_unknown_hosts_pass_through_or_are_refused() -> None:
    refusing = MeshSettings(outbound_traffic=OutboundTraffic.REGISTRY_ONLY)
    passing = built(seen_from(mesh()), "*")
    refused = built(seen_from(mesh(settings=refusing)), "*")
    assert passing.domains == ["*"]
    assert clusters(passing) == ["PassthroughCluster"]
    assert refused.routes[0].direct_response is not None
    assert refused.routes[0].direct_response.status == 502


def test_without_capture_unknown_hosts_are_refused() -> None:
    asker = Asker(namespace="shop", pod="caller", service_account="caller", capture=Capture.EXPLICIT)
    refused = built(view_of(mesh(), asker), "*")
    assert refused.routes[0].direct_response is not None


def test_a_host_that_is_no_service_has_a_virtual_host_on_port_80() -> None:
    foreign = virtual_service(ANSWER, hosts=("api.example.com",))
    view = seen_from(mesh([service("users", (80, HTTP), (90, HTTP))], routes=[foreign]))
    assert hosts(view, 80) == ["*", "api.example.com", USERS]
    assert hosts(view, 90) == ["*", USERS]
    assert built(view, "api.example.com").domains == ["api.example.com"]


def test_port_80_has_a_table_for_such_hosts_alone() -> None:
    view = seen_from(mesh([service("users", (90, HTTP))], routes=[virtual_service(ANSWER, hosts=("api.example.com",))]))
    assert http_ports(view) == (80, 90)


def test_such_a_host_is_on_the_ports_of_the_services_beside_it() -> None:
    both = virtual_service(ANSWER, hosts=("api.example.com", USERS))
    view = seen_from(mesh([service("users", (90, HTTP))], routes=[both]))
    assert "api.example.com" in hosts(view, 90)


def test_a_wildcard_is_for_the_services_it_means_or_else_a_host_of_its_own() -> None:
    wildcard = virtual_service(ANSWER, hosts=("*.shop.svc.cluster.local",))
    alone = virtual_service(ANSWER, hosts=("*.example.com",))
    view = seen_from(mesh([service("users", (80, HTTP))], routes=[wildcard, alone]))
    assert hosts(view) == ["*", "*.example.com", USERS]
    assert built(view, USERS).routes[0].direct_response is not None


def test_a_star_that_means_no_service_is_the_rest() -> None:
    view = seen_from(mesh(routes=[virtual_service(ANSWER, hosts=("*",))]))
    assert built(view, "*").routes[0].direct_response is not None
    assert clusters(built(view, "*", 90)) == ["PassthroughCluster"]


@pytest.mark.parametrize("host", ["users.shop", "users.shop.svc", "10.96.0.1"])
def test_a_form_of_a_service_s_name_cannot_be_taken(host: str) -> None:
    users = service("users", (80, HTTP), addresses=("10.96.0.1",))
    view = seen_from(mesh([users], routes=[virtual_service(ANSWER, hosts=(host,))]))
    assert hosts(view) == ["*", USERS]
    assert build_virtual_host(VirtualHostName(port=80, host=host), view) is None


def test_pods_of_a_headless_service_are_called_by_name() -> None:
    web = service("web", (80, HTTP), resolution=Resolution.HEADLESS)
    pods = (endpoint("10.0.0.1", hostname="web-0"), endpoint("10.0.0.2", hostname="web-1", ready=False))
    view = seen_from(mesh([web], endpoints={web.host: pods}))
    found = built(view, web.host)
    assert {"*.web.shop.svc.cluster.local", "*.web"} < set(found.domains)
    pinned, absent, rest = found.routes
    assert pinned.match is not None
    (authority,) = pinned.match.headers
    assert authority.string_match is not None
    assert authority.string_match.safe_regex is not None
    assert authority.string_match.safe_regex.regex.startswith(r"(?i)web-0\.web")
    assert pinned.route is not None
    assert pinned.route.metadata_match is not None
    address = pinned.route.metadata_match.filter_metadata["envoy.lb"].fields["address"]
    assert address.string_value == "10.0.0.1"
    assert absent.direct_response is not None
    assert absent.direct_response.status == 503
    assert rest.route is not None
    assert rest.route.metadata_match is None


def test_a_table_carries_its_virtual_hosts_or_says_where_they_are() -> None:
    snapshot = mesh([service("users", (80, HTTP))])
    joined = build_route_table(RouteTable(port=80), seen_from(snapshot))
    apart = build_route_table(RouteTable(port=80), seen_from(snapshot, vhds=True))
    assert [host.name for host in joined.virtual_hosts] == ["80/*:80", f"80/{USERS}:80"]
    assert joined.vhds is None
    assert apart.virtual_hosts == []
    assert apart.vhds is not None
    assert (joined.name, joined.validate_clusters) == ("80", False)


def test_scope_has_every_port_and_subset() -> None:
    outside = service("out", (80, HTTP), resolution=Resolution.EXTERNAL_NAME, external_name="example.com")
    users = service("users", (80, HTTP), (53, Protocol.UDP))
    view = seen_from(mesh([users, outside], rules=[rule(USERS, "v1", "v2")]))
    assert list(map(str, outbound_clusters(view))) == [
        f"outbound|80||{outside.host}",
        f"outbound|80||{USERS}",
        f"outbound|80|v1|{USERS}",
        f"outbound|80|v2|{USERS}",
    ]
    assert OutboundCluster(port=80, host=outside.host) not in load_assignments(view)
    assert len(load_assignments(view)) == 3


LABELS = st.sampled_from(["a", "b", "svc", "cluster"])


@st.composite
def small_meshes(draw: st.DrawFn) -> Mesh:
    """Few names, so that their forms meet."""
    kinds = st.tuples(LABELS, LABELS, st.sampled_from([Resolution.CLUSTER_IP, Resolution.HEADLESS]), st.booleans())
    services: dict[str, Service] = {}
    for name, namespace, resolution, addressed in draw(st.lists(kinds, max_size=6)):
        addresses = ("10.96.0.1", "fd00::1") if addressed else ()
        each = service(name, (80, HTTP), namespace=namespace, resolution=resolution, addresses=addresses)
        services[each.host] = each
    names = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
    wild = names.map(lambda name: f"*.{name}")
    given_hosts = st.one_of(names, wild, st.sampled_from(["*", "*.a", "10.96.0.1", "fd00::1", *services]))
    routes = [virtual_service(ANSWER, hosts=(host,)) for host in draw(st.lists(given_hosts, unique=True, max_size=6))]
    return mesh(services.values(), routes=routes)


@given(small_meshes(), LABELS)
def test_no_domain_ever_stands_twice_in_a_table(snapshot: Mesh, namespace: str) -> None:
    table = build_route_table(RouteTable(port=80), seen_from(snapshot, namespace))
    domains = [domain.lower() for host in table.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains))
    assert "*" in domains


@given(small_meshes(), LABELS)
def test_the_names_of_a_table_are_the_virtual_hosts_that_can_be_built(snapshot: Mesh, namespace: str) -> None:
    view = seen_from(snapshot, namespace)
    every = {*snapshot.hosts, *snapshot.virtual_services, "*"}
    buildable = [
        host for host in sorted(every) if build_virtual_host(VirtualHostName(port=80, host=host), view) is not None
    ]
    assert hosts(view) == buildable


def weighted(subset: str, weight: int) -> WeightedDestination:
    headers = Headers(request=HeaderChanges(set=(("x-subset", "100%"),)), response=HeaderChanges(remove=("server",)))
    return WeightedDestination(destination=Destination(host=USERS, subset=subset), weight=weight, headers=headers)


EVERYTHING = virtual_service(
    HttpRoute(
        name="split",
        matches=(
            HttpMatch(
                uri=Regex(value="/a/.*"),
                headers=(("x-a", Present()), ("x-b", Prefix(value=""))),
                without_headers=(("x-c", Exact(value="1")), ("x-d", Present())),
                query_params=(("q", Exact(value="1")), ("p", Present())),
                method=Exact(value="GET"),
                scheme=Exact(value="http"),
                authority=Regex(value=".*"),
            ),
            HttpMatch(uri=Prefix(value=""), ignore_uri_case=True),
        ),
        action=forward(weighted("v1", 9), weighted("v2", 1)),
        rewrite=Rewrite(uri_regex=("^/a/(.*)$", r"/\1"), authority="other.example"),
        timeout=timedelta(seconds=3),
        retries=RetryPolicy(
            attempts=3,
            per_try_timeout=timedelta(seconds=1),
            retry_on="503,reset",
            backoff=timedelta(microseconds=5),
            remote_localities=True,
        ),
        fault=Fault(
            delay=Delay(fixed=timedelta(seconds=5), percentage=0.0001), abort=Abort(grpc_status=14, percentage=100)
        ),
        mirrors=(Mirror(destination=Destination(host="gone.shop.svc.cluster.local"), percentage=0.5),),
        headers=Headers(
            request=HeaderChanges(
                set=(("x-h", "50% %FOO% %"), ("x-f", HeaderFormat(format="%REQ(x-user)% %%"))),
                add=(("x-i", ""),),
                remove=("x-j",),
            )
        ),
    ),
    HttpRoute(matches=(HttpMatch(uri=Exact(value="/old")),), action=Redirect(uri="/new", scheme="https", code=303)),
    HttpRoute(matches=(HttpMatch(uri=Prefix(value="/p")),), action=Redirect(prefix_rewrite="/q", port=8080)),
    HttpRoute(matches=(HttpMatch(uri=Exact(value="/body")),), action=DirectResponse(status=200, body=b"x" * 100_000)),
    to_users(),
)


ACCEPTED = [
    mesh(),
    mesh([service("users", (80, HTTP), addresses=("10.96.0.1", "fd00::1"))], routes=[EVERYTHING]),
    mesh(
        [service("users", (80, HTTP), resolution=Resolution.HEADLESS)],
        endpoints={USERS: (endpoint("10.0.0.1", hostname="users-0"), endpoint("10.0.0.2", hostname="users-1"))},
    ),
    mesh(
        [service("users", (80, HTTP))],
        routes=[virtual_service(ANSWER, hosts=("*.example.com", "api.example.com", "users.shop"))],
        settings=MeshSettings(outbound_traffic=OutboundTraffic.REGISTRY_ONLY),
    ),
    *(
        mesh(
            [service("users", (80, HTTP))],
            rules=[rule(USERS, policy=TrafficPolicy(load_balancer=ConsistentHash(key=key)))],
        )
        for key in (
            HashCookie(name="c"),
            HashCookie(name="c", path="/", ttl=timedelta(0)),
            HashSourceAddress(),
            HashQueryParameter(name="q"),
        )
    ),
]


@cache
def refused_tables() -> Mapping[str, str]:
    """Which of them Envoy refuses, and why: asked of one Envoy, as each that starts takes longer than all else here."""
    return refusals({str(id(each)): [build_route_table(RouteTable(port=80), seen_from(each))] for each in ACCEPTED})


@pytest.mark.envoy
@pytest.mark.parametrize("snapshot", ACCEPTED)
def test_envoy_accepts_the_table(snapshot: Mesh) -> None:
    assert refused_tables().get(str(id(snapshot))) is None


@pytest.mark.envoy
def test_envoy_refuses_a_domain_that_stands_twice() -> None:
    """Why ownership matters."""
    twice = [VirtualHost(name=name, domains=["a"], routes=[]) for name in ("one", "two")]
    assert "Only unique values for domains" in (refusal([RouteConfiguration(name="80", virtual_hosts=twice)]) or "")
