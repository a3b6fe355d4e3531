"""What the name server and the packet filter are told, read off the mesh."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_address

from heddle.local.names import Address, NamedService, NameTable, build_name_table
from heddle.local.service_proxy import Endpoint, ServicePort
from model.mesh import Mesh
from model.names import CLUSTER_DOMAIN
from model.services import Protocol, Resolution, Service, in_service


def to_name_table(mesh: Mesh) -> NameTable:
    """Every Service by its full name: to its own address, to its ready pods, or to another name."""
    return build_name_table((_to_named(service, mesh) for service in mesh.services.values()), domain=CLUSTER_DOMAIN)


def to_service_ports(mesh: Mesh) -> tuple[ServicePort, ...]:
    """Every port of every address of a Service, with the endpoints of its IP version that are in service."""
    found = []
    for host, service in mesh.services.items():
        endpoints = [(ip_address(endpoint.address).version, endpoint) for endpoint in mesh.endpoints.get(host, ())]
        for text in service.addresses:
            address = ip_address(text)
            alike = [endpoint for version, endpoint in endpoints if version == address.version]
            for port in service.ports:
                behind = tuple(
                    Endpoint(address=ip_address(endpoint.address), port=endpoint.ports[port.number])
                    for endpoint in in_service(alike, port.number)
                )
                udp = port.protocol is Protocol.UDP
                found.append(
                    ServicePort(address=address, port=port.number, protocol="udp" if udp else "tcp", endpoints=behind)
                )
    return tuple(found)


def _to_named(service: Service, mesh: Mesh) -> NamedService:
    namespace, name = service.ref.namespace, service.ref.name
    if service.resolution is Resolution.EXTERNAL_NAME:
        return NamedService(namespace=namespace, name=name, external_name=service.external_name)
    if service.resolution is Resolution.CLUSTER_IP:
        addresses = tuple(ip_address(address) for address in service.addresses)
        return NamedService(namespace=namespace, name=name, addresses=addresses)
    ready: list[Address] = []
    by_hostname: defaultdict[str, list[Address]] = defaultdict(list)
    for endpoint in mesh.endpoints.get(service.host, ()):
        if endpoint.ready:
            ready.append(ip_address(endpoint.address))
            if endpoint.hostname:
                by_hostname[endpoint.hostname].append(ip_address(endpoint.address))
    pods = {hostname: tuple(addresses) for hostname, addresses in by_hostname.items()}
    return NamedService(namespace=namespace, name=name, addresses=tuple(ready), pods=pods)
