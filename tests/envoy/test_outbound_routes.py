"""The derived routes and clusters at work in a real Envoy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from model.matching import Exact, Prefix, Present
from model.mesh import Mesh
from model.on_demand import SidecarConfig
from model.routing import (
    Abort,
    Delay,
    Destination,
    DirectResponse,
    Fault,
    HeaderChanges,
    Headers,
    HttpMatch,
    HttpRoute,
    Mirror,
    RetryPolicy,
    Rewrite,
    WeightedDestination,
)
from model.services import Endpoint, Protocol, Resolution
from model.settings import MeshSettings, OutboundTraffic
from model.traffic import ConsistentHash, HashHeader, TrafficPolicy
from tests.envoy.outbound_proxy import Answer, Proxy, Server, proxying, serving
from tests.unit.translators.outbound_meshes import USERS, forward, mesh, rule, seen_from, service, virtual_service
from translators.domains import service_domains

pytestmark = pytest.mark.envoy
IN_BOTH_MODES = True

HTTP = Protocol.HTTP


def behind(server: Server, *, hostname: str = "", ready: bool = True, **labels: str) -> Endpoint:
    return Endpoint(address=server.address, ports={80: server.port}, labels=labels, hostname=hostname, ready=ready)


@pytest.fixture(scope="module")
def v1() -> Iterator[Server]:
    with serving("v1", "127.0.0.2") as server:
        yield server


@pytest.fixture(scope="module")
def v2() -> Iterator[Server]:
    with serving("v2", "127.0.0.3") as server:
        yield server


def weighted(subset: str, weight: int = 0, *, mark: str = "") -> WeightedDestination:
    headers = Headers(request=HeaderChanges(set=(("x-mark", mark),))) if mark else Headers()
    return WeightedDestination(destination=Destination(host=USERS, subset=subset), weight=weight, headers=headers)


def at(path: str, route: HttpRoute, match: HttpMatch | None = None) -> HttpRoute:
    """The route for that path, and what else `match` wants."""
    return replace(route, matches=(replace(match or HttpMatch(), uri=Prefix(value=path)),))


V1 = HttpRoute(action=forward(weighted("v1")))
V2 = HttpRoute(action=forward(weighted("v2")))
MARKS = Headers(
    request=HeaderChanges(set=(("x-mark", "route"), ("x-percent", "100% %FOO%")), remove=("x-secret",)),
    response=HeaderChanges(set=(("x-from", "100%"),)),
)
SPLIT = forward(weighted("v1", 3, mark="one"), weighted("v2", 1, mark="two"))

ROUTES = virtual_service(
    at("/gone/host", HttpRoute(action=forward(Destination(host="gone.shop.svc.cluster.local")))),
    at("/gone/subset", HttpRoute(action=forward(Destination(host=USERS, subset="v9")))),
    at("/gone/endpoints", HttpRoute(action=forward(Destination(host=USERS, subset="v3")))),
    at("/split", HttpRoute(action=SPLIT, headers=MARKS)),
    at("/headers", HttpRoute(action=forward(weighted("v1", mark="one")), headers=MARKS)),
    at("/rewrite/prefix", replace(V1, rewrite=Rewrite(uri="/new", authority="other.example"))),
    at("/rewrite/regex", replace(V1, rewrite=Rewrite(uri_regex=("/rewrite/([a-z]+)/([a-z]+)", r"/\2/\1")))),
    at(
        "/abort",
        replace(V1, fault=Fault(abort=Abort(http_status=418, percentage=100))),
        HttpMatch(headers=(("x-user", Exact(value="abort")),)),
    ),
    at("/abort", V1),
    at("/late", replace(V1, fault=Fault(delay=Delay(fixed=timedelta(hours=1), percentage=0)))),
    at("/mirror", replace(V1, mirrors=(Mirror(destination=Destination(host=USERS, subset="v2")),))),
    at("/broken/default", V1),
    at("/broken/declared", replace(V1, retries=RetryPolicy(attempts=2, retry_on="503"))),
    at("/body", HttpRoute(action=DirectResponse(status=200, body=b"x" * 100_000))),
    at("/without", V1, HttpMatch(without_headers=(("x-a", Exact(value="1")),))),
    at("/present", V1, HttpMatch(headers=(("x-a", Present()),))),
    at("/query", V1, HttpMatch(query_params=(("q", Exact(value="1")), ("p", Present())))),
)


@pytest.fixture(scope="module")
def proxy(v1: Server, v2: Server, config: SidecarConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    snapshot = mesh(
        [service("users", (80, HTTP), addresses=("10.96.0.1", "fd00::1"))],
        endpoints={USERS: (behind(v1, version="v1"), behind(v2, version="v2"))},
        rules=[rule(USERS, "v1", "v2", "v3")],
        routes=[ROUTES],
    )
    with proxying(snapshot, tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


@pytest.mark.parametrize("path", ["/gone/host", "/gone/subset", "/gone/endpoints"])
def test_a_destination_that_is_not_there_answers_503_for_itself_alone(proxy: Proxy, path: str) -> None:
    assert proxy.get("users", path).status == 503
    assert proxy.get("users", "/abort").status == 200


def test_what_no_route_matches_is_404(proxy: Proxy) -> None:
    assert proxy.get("users", "/nothing").status == 404


@pytest.mark.parametrize("host", [*service_domains(service("users", addresses=("10.96.0.1",)), seen_from(mesh()))[:5]])
@pytest.mark.parametrize("spelled", ["{}", "{}:80", "{}:9999"])
def test_every_form_of_the_name_is_the_service(proxy: Proxy, host: str, spelled: str) -> None:
    for each in (host, host.upper()):
        assert proxy.get(spelled.format(each), "/abort").body == "v1"


@pytest.mark.parametrize("host", ["10.96.0.1", "10.96.0.1:80", "[fd00::1]", "[fd00::1]:80"])
def test_the_service_s_addresses_are_the_service(proxy: Proxy, host: str) -> None:
    assert proxy.get(host, "/abort").body == "v1"


def test_weights_divide_the_requests(proxy: Proxy) -> None:
    found = Counter(proxy.get("users", "/split").body for _ in range(400))
    assert set(found) == {"v1", "v2"}
    assert 240 <= found["v1"] <= 350


def test_headers_change_on_the_way_and_the_destination_has_the_last_word(proxy: Proxy, v1: Server) -> None:
    for path in ("/headers", "/split"):
        answer = proxy.get("users", path, x_secret="s")
        while answer.status == 200 and path == "/split" and v1.seen.empty():
            answer = proxy.get("users", path, x_secret="s")
        got = v1.last()
        assert got.headers["x-mark"] == "one", path
        assert got.headers["x-percent"] == "100% %FOO%"
        assert "x-secret" not in got.headers
        assert answer.headers["x-from"] == "100%"


def test_paths_and_hosts_are_rewritten(proxy: Proxy, v1: Server) -> None:
    proxy.get("users", "/rewrite/prefix/x?y=1")
    got = v1.last()
    assert (got.path, got.headers["host"]) == ("/new/x?y=1", "other.example")
    proxy.get("users", "/rewrite/regex/tail")
    assert v1.last().path == "/tail/regex"


def test_a_fault_strikes_whom_its_match_names(proxy: Proxy) -> None:
    assert proxy.get("users", "/abort", x_user="abort").status == 418
    assert proxy.get("users", "/abort", x_user="other").status == 200
    assert proxy.get("users", "/late").status == 200


def test_a_mirror_gets_the_same_host(proxy: Proxy, v2: Server) -> None:
    v2.forget()
    assert proxy.get("users.shop", "/mirror").body == "v1"
    assert v2.last().headers["host"] == "users.shop"


def test_an_answer_of_the_application_is_not_retried_unless_declared(proxy: Proxy, v1: Server) -> None:
    v1.forget()
    assert proxy.get("users", "/broken/default").status == 503
    assert v1.count() == 1
    assert proxy.get("users", "/broken/declared").status == 503
    assert v1.count() == 3


def test_an_answer_of_the_sidecar_s_own_may_be_large(proxy: Proxy) -> None:
    assert len(proxy.get("users", "/body").body) == 100_000


def test_headers_and_query_parameters_are_matched(proxy: Proxy) -> None:
    def status(answer: Answer) -> int:
        return answer.status

    assert status(proxy.get("users", "/without")) == 200
    assert status(proxy.get("users", "/without", x_a="2")) == 200
    assert status(proxy.get("users", "/without", x_a="1")) == 404
    assert status(proxy.get("users", "/present")) == 404
    assert status(proxy.get("users", "/present", x_a="")) == 200
    assert status(proxy.get("users", "/query?q=1&p=")) == 200
    assert status(proxy.get("users", "/query?q=1")) == 404


def test_unknown_hosts_are_refused_if_the_mesh_says_so(v1: Server, config: SidecarConfig, tmp_path: Path) -> None:
    snapshot = mesh(
        [service("users", (80, HTTP))],
        endpoints={USERS: (behind(v1),)},
        settings=MeshSettings(outbound_traffic=OutboundTraffic.REGISTRY_ONLY),
    )
    with proxying(snapshot, tmp_path, config) as refusing:
        refused = refusing.get("example.com").status
        assert refused == (404 if config is SidecarConfig.ON_DEMAND else 502), "as docs/on-demand.md says"
        assert refusing.get("users").body == "v1"


def headless(*endpoints: Endpoint) -> Mesh:
    web = service("web", (80, HTTP), resolution=Resolution.HEADLESS)
    return mesh([web], endpoints={web.host: endpoints})


def test_a_pod_of_a_headless_service_is_reached_by_its_name_alone(
    v1: Server, v2: Server, config: SidecarConfig, tmp_path: Path
) -> None:
    absent = behind(replace(v1, address="127.0.0.9"), hostname="web-2", ready=False)
    snapshot = headless(behind(v1, hostname="web-0"), behind(v2, hostname="web-1"), absent)
    with proxying(snapshot, tmp_path, config) as running:
        for host in ("web-0.web", "web-0.web.shop", "WEB-0.Web.shop.svc:80", "web-0.web.shop.svc.cluster.local."):
            assert {running.get(host).body for _ in range(6)} == {"v1"}, host
        assert {running.get("web-1.web").body for _ in range(6)} == {"v2"}
        assert running.get("web-2.web").status == 503
        assert {running.get("web.shop").body for _ in range(20)} == {"v1", "v2"}


def test_a_consistent_hash_keeps_a_user_at_one_endpoint(
    v1: Server, v2: Server, config: SidecarConfig, tmp_path: Path
) -> None:
    hashed = TrafficPolicy(load_balancer=ConsistentHash(key=HashHeader(name="x-user")))
    snapshot = mesh(
        [service("users", (80, HTTP))],
        endpoints={USERS: (behind(v1), behind(v2))},
        rules=[rule(USERS, policy=hashed)],
    )
    with proxying(snapshot, tmp_path, config) as running:
        homes = {user: {running.get("users", x_user=user).body for _ in range(5)} for user in map(str, range(20))}
    assert all(len(home) == 1 for home in homes.values())
    assert {name for home in homes.values() for name in home} == {"v1", "v2"}
