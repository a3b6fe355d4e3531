"""Virtual hosts where they are learnt on demand: which one answers for a host that an application asked for.

None of them has a wildcard among its domains, for that would take the requests of hosts that are not known yet. What a
wildcard means gets a virtual host of its own for each host that is asked for under it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envoy_data_plane.envoy.config.route.v3 import Route, VirtualHost

from model.host_patterns import patterns
from model.names import CATCH_ALL_HOST, PLACEHOLDER_HOST, RouteTable, VirtualHostName
from model.settings import OutboundTraffic
from model.view import View
from translators.domains import owner_of, service_domains
from translators.route_matches import build_catch_all
from translators.routes import build_passthrough_route, build_refusal
from translators.virtual_hosts import build_named, foreign_routes, routed_service, service_routes

_HOST = re.compile(r"[!-)+-.0-@\[-~]{1,255}")
"""What may stand as a domain of a virtual host as it is, and in its name: printable ASCII as Envoy asks, in lower case,
without `*`, which would be a wildcard, and `/`, which would be another table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """The virtual host for an asked host.

    `declared`: a service or a VirtualService has this very host, so that there are no more of them than the mesh has.
    The others are as many as a caller likes to invent.
    """

    name: VirtualHostName
    declared: bool


def answering(table: RouteTable, host: str, view: View) -> Answering | None:
    """The virtual host that answers for `host`, without port, in that table; None: nobody has it, nor may it pass.

    As Envoy chooses in a table that has everything: the very host, then the longest wildcard.
    """
    if _HOST.fullmatch(host) is None:
        return None
    owner = owner_of(host, table.port, view)
    if owner is not None and host in service_domains(owner, view):
        return Answering(name=VirtualHostName(port=table.port, host=owner.host), declared=True)
    own = VirtualHostName(port=table.port, host=host)
    if foreign_routes(own, view):
        return Answering(name=own, declared=True)
    return Answering(name=own, declared=False) if _undeclared_routes(own, view) else None


def build_on_demand(name: VirtualHostName, view: View) -> VirtualHost | None:
    """The virtual host of that name for a caller that learns on demand; None if another, or none, answers for it.

    Every request has a route: Envoy would ask for the virtual host again, and again, for one without.
    """
    if name.host == PLACEHOLDER_HOST:
        return build_named(name, (PLACEHOLDER_HOST,), (_nothing(),))
    found = answering(RouteTable(port=name.port), name.host, view)
    if found is None or found.name != name:
        return None
    service = routed_service(name.host, name.port, view)
    if service is not None:
        domains = tuple(domain for domain in service_domains(service, view) if not domain.startswith("*"))
        return build_named(name, domains, _complete(service_routes(service, name.port, view)))
    routes = foreign_routes(name, view) if found.declared else _undeclared_routes(name, view)
    return build_named(name, (name.host,), _complete(routes))


def _undeclared_routes(name: VirtualHostName, view: View) -> tuple[Route, ...]:
    """What a wildcard says of the host, the longest that says anything; else what becomes of all that is unknown."""
    for wildcard in patterns(name.host):
        if not wildcard.startswith("*."):
            continue
        owner = owner_of(wildcard, name.port, view)
        routes = (
            service_routes(owner, name.port, view)
            if owner is not None
            else foreign_routes(VirtualHostName(port=name.port, host=wildcard), view)
        )
        if routes:
            return routes
    rest = foreign_routes(VirtualHostName(port=name.port, host=CATCH_ALL_HOST), view)
    passes = view.outbound_traffic is OutboundTraffic.ALLOW_ANY
    return rest or ((build_passthrough_route(),) if passes else ())


def _complete(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    return routes if routes and routes[-1].match == build_catch_all() else (*routes, _nothing())


def _nothing() -> Route:
    return build_refusal("no_route", build_catch_all(), 404)
