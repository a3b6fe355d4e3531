"""The virtual hosts of a gateway: where the hosts of its servers and those of VirtualServices meet.

Each is derived by its domain alone. A domain is a VirtualService's host that a server's host covers, or a server's
host that a VirtualService's covers, whichever is narrower. `*` is in every table: what nobody has is answered with 404.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from envoy_data_plane.envoy.config.route.v3 import Route, VirtualHost, VirtualHostTlsRequirementType

from model.age import age
from model.host_patterns import covers, patterns
from model.names import CATCH_ALL_HOST, GatewayTable, GatewayVirtualHostName
from model.problems import ObjectRef
from model.routing import VirtualService
from model.server_binding import BoundServer
from model.view import View
from translators.gateway_ports import gateway_tables
from translators.route_matches import build_catch_all
from translators.routes import build_routes


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A VirtualService that routes a domain: requests for it come by these `gateways`, to the server's `port`."""

    value: VirtualService
    gateways: frozenset[str]
    port: int


def gateway_virtual_host_names(table: GatewayTable, view: View) -> tuple[GatewayVirtualHostName, ...]:
    """All virtual hosts of a table, sorted; none for a table that the asker does not have."""
    servers = gateway_tables(view).get(table)
    if servers is None:
        return ()
    return tuple(GatewayVirtualHostName(table=table, host=domain) for domain in sorted(_domains(servers, view)))


def build_gateway_virtual_host(name: GatewayVirtualHostName, view: View) -> VirtualHost | None:
    """The virtual host of that name, None if the asker has none such."""
    servers = gateway_tables(view).get(name.table)
    if servers is None:
        return None
    admitted = admitted_to(name.host, servers, view)
    redirects = _redirects(name.host, servers)
    if not admitted and not redirects and name.host != CATCH_ALL_HOST:
        return None
    return VirtualHost(
        name=str(name),
        domains=[name.host],
        routes=_merged([route for each in admitted for route in _routes(each, view)]),
        require_tls=VirtualHostTlsRequirementType.ALL if redirects else VirtualHostTlsRequirementType.NONE,
        include_request_attempt_count=True,
    )


def all_admitted(view: View) -> tuple[Admitted, ...]:
    """Everything that routes requests of the asker, each once for every way that they come in."""
    found: dict[object, Admitted] = {}
    for servers in gateway_tables(view).values():
        for domain in sorted(_domains(servers, view)):
            found.update(
                ((each.value.ref, each.gateways, each.port), each) for each in admitted_to(domain, servers, view)
            )
    return tuple(found.values())


def admitted_to(domain: str, servers: Sequence[BoundServer], view: View) -> tuple[Admitted, ...]:
    """The VirtualServices that route a domain, the oldest first: those with the most specific host there is."""
    for host in patterns(domain):
        found: dict[ObjectRef, Admitted] = {}
        for bound in servers:
            gateway = bound.gateway.name
            for value in view.gateway_routes(gateway, host):
                if _admits(bound, host, domain, value.ref.namespace):
                    way = Admitted(value=value, gateways=frozenset({gateway}), port=bound.server.port)
                    before = found.setdefault(value.ref, way)
                    found[value.ref] = replace(before, gateways=before.gateways | {gateway})
        if found:
            return tuple(sorted(found.values(), key=lambda each: age(each.value)))
    return ()


def _admits(bound: BoundServer, host: str, domain: str, owner: str) -> bool:
    """Whether a server lets a VirtualService of the namespace `owner` route `domain` by its host `host`."""
    return any(
        entry.admits(owner) and (covers(entry.host, domain) if host == domain else entry.host == domain)
        for entry in bound.hosts
    )


def _domains(servers: Iterable[BoundServer], view: View) -> set[str]:
    found = {CATCH_ALL_HOST}
    for bound in servers:
        own = {entry.host for entry in bound.hosts}
        if bound.server.https_redirect:
            found |= own
        for host in view.gateway_hosts(bound.gateway.name):
            owners = {value.ref.namespace for value in view.gateway_routes(bound.gateway.name, host)}
            meant = [host] if own.intersection(patterns(host)) else []
            if host.startswith("*"):
                meant += [narrower for narrower in own if covers(host, narrower)]
            found.update(domain for domain in meant if any(_admits(bound, host, domain, owner) for owner in owners))
    return found


def _redirects(domain: str, servers: Iterable[BoundServer]) -> bool:
    """Whether plain requests for a domain are sent to HTTPS: the server with the most specific host for it decides."""
    covering = [
        (len(entry.host), bound.server.https_redirect)
        for bound in servers
        for entry in bound.hosts
        if covers(entry.host, domain)
    ]
    longest = max((length for length, _ in covering), default=0)
    return any(redirects for length, redirects in covering if length == longest)


def _routes(admitted: Admitted, view: View) -> list[Route]:
    return [
        built
        for route in admitted.value.http
        for built in build_routes(route, admitted.port, view, gateways=admitted.gateways)
    ]


def _merged(routes: Sequence[Route]) -> list[Route]:
    """In order, but what takes every request comes last: it may be of another VirtualService than what follows."""
    everything = build_catch_all()
    last = [route for route in routes if route.match == everything]
    return [*(route for route in routes if route.match != everything), *last]
