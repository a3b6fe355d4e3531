"""The names of everything outbound that exists for a caller."""

from __future__ import annotations

from collections.abc import Iterator

from model.names import OutboundCluster
from model.services import Protocol, Service
from model.traffic import policy_for
from model.view import View
from translators.discovery import Discovery, discovery_of
from translators.domains import is_routed
from translators.virtual_hosts import FOREIGN_PORT, foreign_hosts


def outbound_clusters(view: View) -> tuple[OutboundCluster, ...]:
    """One cluster for each service port and each of its subsets, and one for all of the port; sorted."""
    return tuple(sorted(name for service in _services(view) for name in _clusters(service, view)))


def load_assignments(view: View) -> tuple[OutboundCluster, ...]:
    """The clusters whose endpoints come by EDS, sorted."""
    return tuple(
        sorted(
            name for service in _services(view) for name in _clusters(service, view) if _discovers(name, service, view)
        )
    )


def http_ports(view: View) -> tuple[int, ...]:
    """The ports that have a route table: where some service may speak HTTP, and where VirtualServices have hosts of
    their own; sorted."""
    return view.shared(_http_ports, None)


def _http_ports(view: View, _: None) -> tuple[int, ...]:
    ports = {port for port in view.ports if any(is_routed(service, port) for service in _on_port(port, view))}
    foreign = {FOREIGN_PORT} if FOREIGN_PORT not in ports and foreign_hosts(FOREIGN_PORT, view) else set()
    return tuple(sorted(ports | foreign))


def _services(view: View) -> Iterator[Service]:
    for host in view.hosts:
        service = view.destination(host)
        if service is not None:
            yield service


def _on_port(port: int, view: View) -> Iterator[Service]:
    for host in view.hosts_on_port(port):
        service = view.service(host)
        if service is not None:
            yield service


def _clusters(service: Service, view: View) -> Iterator[OutboundCluster]:
    rule = view.destination_rule(service.host)
    subsets = ("", *(subset.name for subset in rule.subsets)) if rule else ("",)
    for port in service.ports:
        if port.protocol is not Protocol.UDP:
            for subset in dict.fromkeys(subsets):
                yield OutboundCluster(port=port.number, subset=subset, host=service.host)


def _discovers(name: OutboundCluster, service: Service, view: View) -> bool:
    policy = policy_for(view.destination_rule(name.host), name.subset, name.port)
    return discovery_of(service, policy, view) is Discovery.EDS
