"""Which Host headers belong to whom in the route table of a port.

Envoy refuses a whole table in which a domain stands twice. Each virtual host is derived alone, so who owns a domain
must follow from the domain: a service owns every form of its own name, and what a VirtualService says of such a
form as if it were a host of its own has no effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

from model.names import CLUSTER_DOMAIN, service_host
from model.services import Protocol, Resolution, Service
from model.view import View


def is_routed(service: Service, port: int) -> bool:
    """Whether a service is in the table of `port`: it has the port, and HTTP may come over it."""
    declared = service.port(port)
    return declared is not None and (declared.protocol.is_http or declared.protocol is Protocol.DETECT)


def service_domains(service: Service, view: View) -> tuple[str, ...]:
    """All names of a service for this caller: every form that the cluster's DNS resolves, and its own addresses.

    Without ports: the tables ignore the port of a Host header. A headless service has its pods' names too.
    """
    name, namespace = service.ref.name, service.ref.namespace
    qualified = [f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}", f"{name}.{namespace}.svc", f"{name}.{namespace}"]
    near = [name] if view.namespace == namespace else []
    forms = [*qualified, *near, f"{qualified[0]}."]
    pods = [f"*.{form}" for form in forms] if service.resolution is Resolution.HEADLESS else []
    addresses = [_literal(address) for address in service.addresses if view.host_at(address) == service.host]
    return tuple(dict.fromkeys((*forms, *addresses, *pods)))


def is_taken(domain: str, port: int, view: View) -> bool:
    """Whether a service of the table of `port` owns `domain` for this caller."""
    return owner_of(domain, port, view) is not None


def owner_of(domain: str, port: int, view: View) -> Service | None:
    """The service of the table of `port` that owns `domain` for this caller; a wildcard is a headless one's."""
    name = domain.removeprefix("*.")
    wildcard = name != domain
    for host in hosts_meant(name, view):
        service = view.service(host)
        if service is not None and is_routed(service, port):
            return service if not wildcard or service.resolution is Resolution.HEADLESS else None
    return None


def hosts_meant(name: str, view: View) -> Iterator[str]:
    """The one service that `name` could be a form or an address of, if it is either."""
    address = _address(name)
    if address is not None:
        owner = view.host_at(address)
        if owner is not None:
            yield owner
        return
    match name.removesuffix(".").split("."):
        case [service]:
            yield service_host(service, view.namespace)
        case [service, namespace] | [service, namespace, "svc"] | [service, namespace, "svc", "cluster", "local"]:
            yield service_host(service, namespace)
        case _:
            return


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _literal(address: str) -> str:
    """An address as it stands in a Host header."""
    return f"[{address}]" if isinstance(ip_address(address), IPv6Address) else address
