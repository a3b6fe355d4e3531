"""One entry of a VirtualService's `http` as Envoy's routes, and the routes of a service that has no VirtualService."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher

from model.names import PASSTHROUGH_CLUSTER, OutboundCluster
from model.routing import DirectResponse, Forward, Headers, HttpMatch, HttpRoute, Redirect, WeightedDestination
from model.view import View
from protos.encoder import to_any
from translators.destinations import hash_key, to_cluster
from translators.faults import FAULT_FILTER, build_fault
from translators.header_changes import HeaderFields, build_headers
from translators.load_balancing import build_hash_policy
from translators.mirrors import build_mirrors
from translators.redirects import build_direct_response, build_redirect
from translators.retries import build_retry_policy
from translators.route_matches import SIDECARS, build_catch_all, build_route_match, concerns

DEFAULT_ROUTE = "default"
"""The name of the route of a service without a VirtualService; Istio's."""

UNLIMITED = timedelta(0)
"""How Envoy writes "no timeout"; its own default would be 15 s for a response and the listener's bound for silence."""


def build_routes(route: HttpRoute, port: int, view: View, *, gateways: frozenset[str] = SIDECARS) -> tuple[Route, ...]:
    """One Envoy route for each match that can concern this caller in the table of `port`, in order.

    `gateways` are those by which the requests of the table come.
    """
    if not route.matches:
        return (_build_route(route, None, port, view),)
    concerning = (match for match in route.matches if concerns(match, port, view, gateways=gateways))
    return tuple(_build_route(route, match, port, view) for match in concerning)


def build_default_route(cluster: OutboundCluster, view: View) -> Route:
    """Everything to one cluster, with the mesh's own retries and no timeout."""
    return Route(name=DEFAULT_ROUTE, match=build_catch_all(), route=_action_to(cluster, view))


def build_pinned_route(cluster: OutboundCluster, match: RouteMatch, endpoint: Metadata, view: View) -> Route:
    """What `match` says to one endpoint of a cluster, chosen by its metadata."""
    return Route(name=DEFAULT_ROUTE, match=match, route=_action_to(cluster, view, endpoint))


def build_passthrough_route() -> Route:
    """Everything to where the application wanted it to go."""
    action = RouteAction(cluster=PASSTHROUGH_CLUSTER, timeout=UNLIMITED, idle_timeout=UNLIMITED)
    return Route(name="allow_any", match=build_catch_all(), route=action)


def build_refusal(name: str, match: RouteMatch, status: int) -> Route:
    """A status and nothing else."""
    return Route(name=name, match=match, direct_response=DirectResponseAction(status=status))


def _action_to(cluster: OutboundCluster, view: View, endpoint: Metadata | None = None) -> RouteAction:
    key = hash_key(cluster, view)
    return RouteAction(
        cluster=str(cluster),
        metadata_match=endpoint,
        timeout=UNLIMITED,
        idle_timeout=UNLIMITED,
        retry_policy=build_retry_policy(view.settings.default_retries, sticky=key is not None),
        hash_policy=[build_hash_policy(key)] if key is not None else [],
    )


def _build_route(route: HttpRoute, match: HttpMatch | None, port: int, view: View) -> Route:
    action = _build_action(route, port, view)
    return Route(
        name=".".join(part for part in (route.name, match.name if match else "") if part),
        match=build_route_match(match) if match else build_catch_all(),
        route=action.forward,
        redirect=action.redirect,
        direct_response=action.direct_response,
        typed_per_filter_config={FAULT_FILTER: to_any(build_fault(route.fault))} if route.fault else {},
        request_headers_to_add=action.headers.request_add,
        request_headers_to_remove=action.headers.request_remove,
        response_headers_to_add=action.headers.response_add,
        response_headers_to_remove=action.headers.response_remove,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    """One of the first three is set."""

    forward: RouteAction | None = None
    redirect: RedirectAction | None = None
    direct_response: DirectResponseAction | None = None
    headers: HeaderFields = field(default_factory=HeaderFields)


def _build_action(route: HttpRoute, port: int, view: View) -> _Action:
    match route.action:
        case Redirect():
            return _Action(redirect=build_redirect(route.action, port), headers=build_headers(route.headers))
        case DirectResponse():
            return _Action(direct_response=build_direct_response(route.action), headers=build_headers(route.headers))
        case Forward():
            return _forward(route, route.action.destinations, port, view)
        case _:
            assert_never(route.action)


def _forward(route: HttpRoute, destinations: Sequence[WeightedDestination], port: int, view: View) -> _Action:
    used = [each for each in destinations if each.weight > 0] or list(destinations[:1])
    if not used:
        return _Action(direct_response=DirectResponseAction(status=503), headers=build_headers(route.headers))
    clusters = [to_cluster(each.destination, port, view) for each in used]
    keys = tuple(dict.fromkeys(key for cluster in clusters if (key := hash_key(cluster, view)) is not None))
    shared = (route.headers, used[0].headers) if len(used) == 1 else (route.headers,)
    # Envoy changes a share's headers before its route's. So that a destination has the last word, its share gets both.
    apart = len(used) > 1 and any(each.headers != Headers() for each in used)
    retries = view.settings.default_retries if route.retries is None else route.retries
    rewrite = route.rewrite
    return _Action(
        forward=RouteAction(
            cluster=str(clusters[0]) if len(used) == 1 else None,
            weighted_clusters=(
                _weighted(used, clusters, route.headers if apart else Headers()) if len(used) > 1 else None
            ),
            prefix_rewrite=rewrite.uri if rewrite and not rewrite.uri_regex else "",
            regex_rewrite=_regex_rewrite(rewrite.uri_regex) if rewrite and rewrite.uri_regex else None,
            host_rewrite_literal=rewrite.authority if rewrite and rewrite.authority else None,
            timeout=UNLIMITED if route.timeout is None else route.timeout,
            idle_timeout=UNLIMITED,
            retry_policy=build_retry_policy(retries, sticky=bool(keys)),
            request_mirror_policies=build_mirrors(route.mirrors, port, view),
            hash_policy=[build_hash_policy(key) for key in keys],
        ),
        headers=HeaderFields() if apart else build_headers(*shared),
    )


def _weighted(
    used: Sequence[WeightedDestination], clusters: Sequence[OutboundCluster], first: Headers
) -> WeightedCluster:
    """Shares of the sum of the weights; each changes headers as `first` says, then as its destination does."""
    return WeightedCluster(
        clusters=[_share(each, cluster, first) for each, cluster in zip(used, clusters, strict=True)]
    )


def _share(destination: WeightedDestination, cluster: OutboundCluster, first: Headers) -> WeightedClusterClusterWeight:
    headers = build_headers(first, destination.headers)
    return WeightedClusterClusterWeight(
        name=str(cluster),
        weight=destination.weight,
        request_headers_to_add=headers.request_add,
        request_headers_to_remove=headers.request_remove,
        response_headers_to_add=headers.response_add,
        response_headers_to_remove=headers.response_remove,
    )


def _regex_rewrite(rewrite: tuple[str, str]) -> RegexMatchAndSubstitute:
    pattern, substitution = rewrite
    return RegexMatchAndSubstitute(pattern=RegexMatcher(regex=pattern), substitution=substitution)
