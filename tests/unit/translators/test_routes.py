"""One entry of a VirtualService as Envoy's routes, field by field."""

from __future__ import annotations

from datetime import timedelta

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.config.route.v3 import RedirectActionRedirectResponseCode, Route, RouteAction
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault

from model.matching import Exact, Prefix, Present, Regex
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
from model.services import Protocol
from model.settings import DEFAULT_RETRY_ON, MeshSettings
from model.traffic import ConsistentHash, HashCookie, TrafficPolicy
from model.view import View
from tests.unit.translators.outbound_meshes import USERS, forward, mesh, rule, seen_from, service, to_users
from translators.routes import build_routes

VIEW = seen_from(mesh([service("users", (80, Protocol.HTTP))]))
MILLION = 1_000_000


def only(route: HttpRoute, view: View = VIEW, port: int = 80) -> Route:
    (found,) = build_routes(route, port, view)
    return found


def action(route: HttpRoute, view: View = VIEW) -> RouteAction:
    found = only(route, view).route
    assert found is not None
    return found


def test_without_anything_said_a_route_has_two_retries_and_no_timeout() -> None:
    found = action(to_users())
    assert found.cluster == f"outbound|80||{USERS}"
    assert found.timeout == timedelta(0)
    assert found.idle_timeout == timedelta(0)
    retry = found.retry_policy
    assert retry is not None
    assert (retry.num_retries, retry.retry_on) == (2, DEFAULT_RETRY_ON)
    assert [each.name for each in retry.retry_host_predicate] == ["envoy.retry_host_predicates.previous_hosts"]
    assert retry.host_selection_retry_max_attempts == 5
    assert retry.retriable_status_codes == []


def test_each_match_is_a_route_in_order_and_named() -> None:
    matches = (HttpMatch(name="a", uri=Prefix(value="/a")), HttpMatch(uri=Exact(value="/b")))
    first, second = build_routes(to_users(*matches, name="r"), 80, VIEW)
    assert (first.name, second.name) == ("r.a", "r")
    assert first.match is not None
    assert second.match is not None
    assert (first.match.prefix, second.match.path) == ("/a", "/b")


def test_a_match_asks_for_everything_it_names() -> None:
    match = HttpMatch(
        uri=Regex(value="/a/[0-9]+"),
        scheme=Exact(value="http"),
        method=Exact(value="GET"),
        authority=Prefix(value="users"),
        headers=(("x-a", Exact(value="1")), ("x-b", Present())),
        query_params=(("q", Regex(value="[a-z]+")), ("p", Present())),
    )
    found = only(to_users(match)).match
    assert found is not None
    assert found.safe_regex is not None
    assert found.safe_regex.regex == "/a/[0-9]+"
    assert found.case_sensitive is None
    assert [each.name for each in found.headers] == ["x-a", "x-b", ":scheme", ":method", ":authority"]
    assert found.headers[1].present_match is True
    assert [(each.name, each.present_match) for each in found.query_parameters] == [("q", None), ("p", True)]


def test_case_of_a_path_can_be_ignored_but_not_a_regular_expression_s() -> None:
    plain = only(to_users(HttpMatch(uri=Prefix(value="/A"), ignore_uri_case=True))).match
    expression = only(to_users(HttpMatch(uri=Regex(value="/A"), ignore_uri_case=True))).match
    assert plain is not None
    assert plain.case_sensitive is False
    assert expression is not None
    assert expression.case_sensitive is None


def test_without_headers_is_met_by_a_missing_header() -> None:
    match = HttpMatch(without_headers=(("x-a", Exact(value="1")), ("x-b", Present()), ("x-c", Regex(value=".*"))))
    found = only(to_users(match)).match
    assert found is not None
    value, present, anything = found.headers
    assert (value.invert_match, value.treat_missing_header_as_empty) == (True, True)
    for each in (present, anything):
        assert (each.present_match, each.invert_match, each.treat_missing_header_as_empty) == (True, True, False)


@pytest.mark.parametrize(
    ("match", "concerned"),
    [
        (HttpMatch(gateways=("mesh",)), True),
        (HttpMatch(gateways=("edge",)), False),
        (HttpMatch(port=80), True),
        (HttpMatch(port=81), False),
        (HttpMatch(source_namespace="shop"), True),
        (HttpMatch(source_namespace="other"), False),
        (HttpMatch(source_labels={"app": "web"}), True),
        (HttpMatch(source_labels={"app": "web", "v": "2"}), False),
    ],
)
def test_a_match_that_cannot_concern_the_caller_is_no_route(match: HttpMatch, concerned: bool) -> None:
    view = seen_from(mesh(), app="web")
    assert len(build_routes(to_users(match), 80, view)) == int(concerned)


def test_labels_of_the_caller_are_read_only_if_a_match_asks() -> None:
    view = seen_from(mesh(), app="web")
    build_routes(to_users(HttpMatch(uri=Prefix(value="/"))), 80, view)
    assert ("asker", "labels") not in view.reads
    build_routes(to_users(HttpMatch(source_labels={"app": "web"})), 80, view)
    assert ("asker", "labels") in view.reads


def test_weights_count_against_their_sum_and_zero_is_left_out() -> None:
    def share(subset: str, weight: int) -> WeightedDestination:
        return WeightedDestination(destination=Destination(host=USERS, subset=subset), weight=weight)

    split = action(HttpRoute(action=forward(share("v1", 9), share("v2", 1), share("v3", 0)))).weighted_clusters
    assert split is not None
    assert [(each.name, each.weight) for each in split.clusters] == [
        (f"outbound|80|v1|{USERS}", 9),
        (f"outbound|80|v2|{USERS}", 1),
    ]
    assert action(HttpRoute(action=forward(share("v1", 0), share("v2", 100)))).cluster == f"outbound|80|v2|{USERS}"


def test_the_port_is_the_one_named_or_the_only_one_or_the_table_s() -> None:
    one, two = service("one", (9090, Protocol.HTTP)), service("two", (80, Protocol.HTTP), (81, Protocol.HTTP))
    view = seen_from(mesh([one, two]))

    def cluster(host: str, port: int | None = None) -> str | None:
        return action(HttpRoute(action=forward(Destination(host=host, port=port))), view).cluster

    assert cluster(one.host) == f"outbound|9090||{one.host}"
    assert cluster(two.host) == f"outbound|80||{two.host}"
    assert cluster(two.host, 81) == f"outbound|81||{two.host}"
    assert cluster("gone.shop.svc.cluster.local") == "outbound|80||gone.shop.svc.cluster.local"


def test_retries_are_as_the_route_or_else_the_mesh_says() -> None:
    off = HttpRoute(action=forward(Destination(host=USERS)), retries=RetryPolicy(attempts=0))
    assert action(off).retry_policy is None
    assert action(to_users(), seen_from(mesh(settings=MeshSettings(default_retries=RetryPolicy(attempts=0))))) == (
        action(off, seen_from(mesh()))
    )
    policy = RetryPolicy(
        attempts=3,
        per_try_timeout=timedelta(seconds=2),
        retry_on="503, reset,503,504",
        backoff=timedelta(microseconds=1),
        remote_localities=True,
        ignore_previous_hosts=False,
    )
    found = action(HttpRoute(action=forward(Destination(host=USERS)), retries=policy)).retry_policy
    assert found is not None
    assert found.retry_on == "reset,retriable-status-codes"
    assert found.retriable_status_codes == [503, 504]
    assert found.per_try_timeout == timedelta(seconds=2)
    assert found.retry_back_off is not None
    assert found.retry_back_off.base_interval == timedelta(milliseconds=1)
    assert found.retry_priority is not None
    assert found.retry_host_predicate == []


def test_a_timeout_is_the_route_s() -> None:
    route = HttpRoute(action=forward(Destination(host=USERS)), timeout=timedelta(seconds=1))
    assert action(route).timeout == timedelta(seconds=1)


def test_faults_act_on_their_share() -> None:
    fault = Fault(delay=Delay(fixed=timedelta(seconds=5), percentage=0.1), abort=Abort(http_status=503, percentage=50))
    packed = only(HttpRoute(action=forward(Destination(host=USERS)), fault=fault)).typed_per_filter_config
    found = HttpFault.parse(packed["envoy.filters.http.fault"].value)
    assert found.delay is not None
    assert found.delay.fixed_delay == timedelta(seconds=5)
    assert found.delay.percentage is not None
    assert found.delay.percentage.numerator == MILLION // 1000
    assert found.abort is not None
    assert found.abort.http_status == 503
    assert found.abort.percentage is not None
    assert found.abort.percentage.numerator == MILLION // 2


def test_a_grpc_status_can_be_the_abort() -> None:
    fault = Fault(abort=Abort(grpc_status=14, percentage=100))
    packed = only(HttpRoute(action=forward(Destination(host=USERS)), fault=fault)).typed_per_filter_config
    abort = HttpFault.parse(packed["envoy.filters.http.fault"].value).abort
    assert abort is not None
    assert (abort.grpc_status, abort.http_status) == (14, None)


def test_mirrors_copy_their_share_under_the_same_host() -> None:
    copies = (Mirror(destination=Destination(host=USERS, subset="v2"), percentage=25),)
    silent = (Mirror(destination=Destination(host=USERS, subset="v3"), percentage=0),)
    route = HttpRoute(action=forward(Destination(host=USERS)), mirrors=copies + silent)
    (found,) = action(route).request_mirror_policies
    assert found.cluster == f"outbound|80|v2|{USERS}"
    assert found.disable_shadow_host_suffix_append
    assert found.runtime_fraction is not None
    assert found.runtime_fraction.default_value is not None
    assert found.runtime_fraction.default_value.numerator == MILLION // 4


def test_rewrites_replace_prefix_pattern_and_host() -> None:
    to = forward(Destination(host=USERS))
    plain = action(HttpRoute(action=to, rewrite=Rewrite(uri="/new", authority="other.example")))
    pattern = action(HttpRoute(action=to, rewrite=Rewrite(uri_regex=("^/a/(.*)$", r"/\1"))))
    assert (plain.prefix_rewrite, plain.host_rewrite_literal) == ("/new", "other.example")
    assert pattern.prefix_rewrite == ""
    assert pattern.host_rewrite_literal is None
    assert pattern.regex_rewrite is not None
    assert pattern.regex_rewrite.substitution == r"/\1"


@pytest.mark.parametrize(
    ("redirect", "port"),
    [
        (Redirect(), 0),
        (Redirect(port=8443), 8443),
        (Redirect(port=80), 0),
        (Redirect(port=443, scheme="https"), 0),
        (Redirect(derive_port="FROM_REQUEST_PORT"), 9090),
        (Redirect(derive_port="FROM_PROTOCOL_DEFAULT"), 0),
    ],
)
def test_a_redirect_s_port(redirect: Redirect, port: int) -> None:
    found = only(HttpRoute(action=redirect), port=9090).redirect
    assert found is not None
    assert found.port_redirect == port


def test_a_redirect_says_where_to() -> None:
    found = only(HttpRoute(action=Redirect(uri="/x", authority="a.example", scheme="https", code=308))).redirect
    assert found is not None
    assert (found.path_redirect, found.host_redirect, found.scheme_redirect) == ("/x", "a.example", "https")
    assert found.response_code is RedirectActionRedirectResponseCode.PERMANENT_REDIRECT


def test_a_direct_response_is_status_and_body() -> None:
    found = only(HttpRoute(action=DirectResponse(status=418, body=b"\xff"))).direct_response
    empty = only(HttpRoute(action=DirectResponse(status=204))).direct_response
    assert found is not None
    assert found.body is not None
    assert (found.status, found.body.inline_bytes) == (418, b"\xff")
    assert empty is not None
    assert empty.body is None


def values(options: list[HeaderValueOption]) -> list[tuple[str, str, bool]]:
    """(name, value, whether it replaces)."""
    replace = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    return [
        (each.header.key, each.header.value, each.append_action is replace)
        for each in options
        if each.header is not None
    ]


def test_headers_are_set_added_and_removed() -> None:
    changes = Headers(
        request=HeaderChanges(set=(("a", "1"),), add=(("b", "2"),), remove=("c",)),
        response=HeaderChanges(set=(("d", ""),), remove=("e",)),
    )
    alone = WeightedDestination(
        destination=Destination(host=USERS),
        headers=Headers(request=HeaderChanges(set=(("a", "3"),), remove=("c", "f"))),
    )
    found = only(HttpRoute(action=forward(alone), headers=changes))
    assert values(found.request_headers_to_add) == [("a", "1", True), ("b", "2", False), ("a", "3", True)]
    assert found.request_headers_to_remove == ["c", "f"]
    assert values(found.response_headers_to_add) == [("d", "", True)]
    assert found.response_headers_to_add[0].keep_empty_value
    assert found.response_headers_to_remove == ["e"]


def test_a_percent_sign_is_text_unless_the_parser_found_a_format() -> None:
    changes = HeaderChanges(set=(("a", "100%"), ("b", HeaderFormat(format="%REQ(x)% 100%%"))))
    found = only(HttpRoute(action=DirectResponse(status=200), headers=Headers(response=changes)))
    assert values(found.response_headers_to_add) == [("a", "100%%", True), ("b", "%REQ(x)% 100%%", True)]


def test_each_of_several_destinations_changes_headers_for_itself() -> None:
    def share(subset: str, value: str) -> WeightedDestination:
        headers = Headers(request=HeaderChanges(set=(("a", value),)))
        return WeightedDestination(destination=Destination(host=USERS, subset=subset), weight=1, headers=headers)

    common = Headers(request=HeaderChanges(set=(("a", "0"),)))
    found = only(HttpRoute(action=forward(share("v1", "1"), share("v2", "2")), headers=common))
    assert found.request_headers_to_add == []
    assert found.route is not None
    assert found.route.weighted_clusters is not None
    shares = [values(each.request_headers_to_add) for each in found.route.weighted_clusters.clusters]
    assert shares == [[("a", "0", True), ("a", "1", True)], [("a", "0", True), ("a", "2", True)]]


def test_a_consistent_hash_is_the_route_s_part_of_the_bargain() -> None:
    key = HashCookie(name="user", path="/", ttl=timedelta(seconds=60))
    policy = TrafficPolicy(load_balancer=ConsistentHash(key=key))
    view = seen_from(mesh([service("users", (80, Protocol.HTTP))], rules=[rule(USERS, policy=policy)]))
    found = action(to_users(), view)
    (hashed,) = found.hash_policy
    assert hashed.cookie is not None
    assert (hashed.cookie.name, hashed.cookie.path, hashed.cookie.ttl) == ("user", "/", timedelta(seconds=60))
    assert found.retry_policy is not None
    assert found.retry_policy.retry_host_predicate == []
