"""Virtual hosts: what happens to the requests for one host at one port.

In each table there is one for every service that may speak HTTP there, one for every host of a VirtualService that
is no service, and `*` for all the rest.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, Route, RouteMatch, VirtualHost
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from model.asker import Capture
from model.names import CATCH_ALL_HOST, CLUSTER_DOMAIN, OutboundCluster, VirtualHostName
from model.routing import VirtualService
from model.services import Resolution, Service
from model.settings import OutboundTraffic
from model.view import View
from translators.domains import is_routed, is_taken, service_domains
from translators.endpoints import usable_endpoints
from translators.filter_metadata import pod_match
from translators.policy_matchers import quote
from translators.route_matches import build_catch_all
from translators.routes import (
    build_default_route,
    build_passthrough_route,
    build_pinned_route,
    build_refusal,
    build_routes,
)

FOREIGN_PORT = 80
"""The table that has every VirtualService's hosts that are no services; another table has those only whose
VirtualService also names a service of that port. Istio's rule."""


def virtual_host_names(port: int, view: View) -> tuple[VirtualHostName, ...]:
    """All virtual hosts of the table of `port` for this caller, sorted. `*` is always one of them."""
    services = (host for host in view.hosts_on_port(port) if routed_service(host, port, view) is not None)
    foreign = foreign_hosts(port, view)
    return tuple(VirtualHostName(port=port, host=host) for host in sorted({*services, *foreign, CATCH_ALL_HOST}))


def foreign_hosts(port: int, view: View) -> tuple[str, ...]:
    """The hosts of VirtualServices that have a virtual host of their own in the table of `port`."""
    return tuple(
        host
        for host in view.foreign_hosts
        if host != CATCH_ALL_HOST and foreign_routes(VirtualHostName(port=port, host=host), view)
    )


def build_virtual_host(name: VirtualHostName, view: View) -> VirtualHost | None:
    """The virtual host of that name, or None if the table of its port has none for this caller."""
    if name.host == CATCH_ALL_HOST:
        return build_named(name, (CATCH_ALL_HOST,), foreign_routes(name, view) or _rest(view))
    service = routed_service(name.host, name.port, view)
    if service is not None:
        return build_named(name, service_domains(service, view), service_routes(service, name.port, view))
    routes = foreign_routes(name, view)
    return build_named(name, (name.host,), routes) if routes else None


def build_named(name: VirtualHostName, domains: tuple[str, ...], routes: tuple[Route, ...]) -> VirtualHost:
    """These routes for these domains. The name is that of the resource: Envoy removes by it what VHDS takes back."""
    return VirtualHost(name=str(name), domains=list(domains), routes=list(routes), include_request_attempt_count=True)


def routed_service(host: str, port: int, view: View) -> Service | None:
    """The service of that host, if it is in the table of `port`."""
    service = view.service(host)
    return service if service is not None and is_routed(service, port) else None


def _rest(view: View) -> tuple[Route, ...]:
    """What becomes of hosts that nobody has declared. Without capture nobody knows where they were going."""
    if view.outbound_traffic is OutboundTraffic.REGISTRY_ONLY or view.capture is Capture.EXPLICIT:
        return (build_refusal("block_all", build_catch_all(), 502),)
    return (build_passthrough_route(),)


def service_routes(service: Service, port: int, view: View) -> tuple[Route, ...]:
    """The VirtualService's routes; or, where it has none for this caller, everything to the service."""
    declared = view.virtual_service(service.host, port)
    cluster = OutboundCluster(port=port, host=service.host)
    routes = _declared_routes(declared, port, view) or (build_default_route(cluster, view),)
    if service.resolution is Resolution.HEADLESS:
        return (*_pod_routes(service, cluster, view), *routes)
    return routes


def _declared_routes(declared: VirtualService | None, port: int, view: View) -> tuple[Route, ...]:
    if declared is None:
        return ()
    return tuple(built for route in declared.http for built in build_routes(route, port, view))


def foreign_routes(name: VirtualHostName, view: View) -> tuple[Route, ...]:
    """The routes of a VirtualService's host that is no service; empty if it has no place there."""
    declared = view.virtual_service(name.host, name.port)
    if declared is None or name.host not in declared.hosts:
        return ()
    if view.service(name.host) is not None or is_taken(name.host, name.port, view):
        return ()
    if name.host.startswith("*") and _has_services(name.host, name.port, view):
        return ()
    if name.port != FOREIGN_PORT and not any(_has_services(host, name.port, view) for host in declared.hosts):
        return ()
    return _declared_routes(declared, name.port, view)


def _has_services(host: str, port: int, view: View) -> bool:
    """Whether some service of the table of `port` is meant by a VirtualService's host."""
    if not host.startswith("*"):
        return routed_service(host, port, view) is not None
    return any(
        other.endswith(host[1:]) and routed_service(other, port, view) is not None for other in view.hosts_on_port(port)
    )


def _pod_routes(service: Service, cluster: OutboundCluster, view: View) -> tuple[Route, ...]:
    """One route for each pod that can be called by a name of its own (`web-0.web`).

    They come before the VirtualService's, which is for the service's name alone. A pod that is gone or not ready
    answers 503: whoever wants `web-0` must never reach `web-1`.
    """
    form = _name_forms(service)
    pinned = {
        endpoint.hostname: endpoint.address
        for endpoint in reversed(usable_endpoints(service, cluster.port, view))
        if endpoint.hostname
    }
    routes = [
        build_pinned_route(cluster, _authority(rf"{quote(hostname)}\.{form}"), pod_match(pinned[hostname]), view)
        for hostname in sorted(pinned)
    ]
    absent = build_refusal("no_such_pod", _authority(form, other_than=True), 503)
    return (*routes, absent)


def _name_forms(service: Service) -> str:
    """An expression for all forms of the service's name."""
    domain = "".join(rf"(\.{quote(label)}" for label in ("svc", CLUSTER_DOMAIN))
    return rf"{quote(service.ref.name)}(\.{quote(service.ref.namespace)}{domain})?)?)?"


def _authority(expression: str, *, other_than: bool = False) -> RouteMatch:
    """Requests whose Host, without port and final dot and whatever its case, is (or is not) what is given."""
    header = HeaderMatcher(
        name=":authority",
        string_match=StringMatcher(safe_regex=RegexMatcher(regex=rf"(?i){expression}\.?(:[0-9]+)?")),
        invert_match=other_than,
    )
    return RouteMatch(prefix="/", headers=[header])
