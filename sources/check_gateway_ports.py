"""VirtualServices at gateways that do not say which port of a Service they mean, where the gateway's own is none."""

from __future__ import annotations

from collections.abc import Iterator

from model.gateways import Gateway, Server
from model.host_patterns import covers
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.routing import Destination, Forward, HttpRoute, VirtualService
from sources.inventory import Inventory
from sources.kinds import Object


def check_gateway_ports(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one VirtualService. A destination without a port is the one that its Service has, or that of the
    server by which the request came: Istio's rule."""
    value = entry.value
    if not isinstance(value, VirtualService):
        return
    named = [gateway for gateway in inventory.mesh.gateways if gateway.name in value.gateways]
    for place, route in enumerate(value.http if named else ()):
        if not isinstance(route.action, Forward):
            continue
        came_by = {server.port for gateway in named for server in _servers(gateway, route, value)}
        for position, weighted in enumerate(route.action.destinations):
            field = f"spec.http[{place}].route[{position}].destination"
            yield from _check(weighted.destination, sorted(came_by), field, inventory)


def _servers(gateway: Gateway, route: HttpRoute, value: VirtualService) -> Iterator[Server]:
    """Those by which a request for the route can come."""
    for server in gateway.servers:
        admits = any(
            own.admits(value.ref.namespace) and (covers(own.host, host) or covers(host, own.host))
            for own in server.hosts
            for host in value.hosts
        )
        matches = not route.matches or any(
            match.port in (None, server.port) and (match.gateways is None or gateway.name in match.gateways)
            for match in route.matches
        )
        if admits and matches and not server.https_redirect:
            yield server


def _check(destination: Destination, came_by: list[int], field: str, inventory: Inventory) -> Iterator[Problem]:
    service = inventory.mesh.services.get(destination.host)
    if service is None or destination.port is not None or len(service.ports) < 2:
        return
    lacking = [port for port in came_by if service.port(port) is None]
    if lacking:
        ports = ", ".join(str(port.number) for port in service.ports)
        yield Problem(
            severity=Severity.ERROR,
            code=ProblemCode.UNKNOWN_PORT,
            message=f"a request that comes by port {lacking[0]} of the gateway goes to that port of {service.ref}, "
            f"which has none such, and is answered with 503",
            fix=f"Say which of its ports is meant with port.number: {ports}.",
            field=field,
        )
