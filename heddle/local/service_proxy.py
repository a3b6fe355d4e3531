"""What kube-proxy does: connections to a Service's address go to one of its endpoints.

All traffic of all pods crosses the mesh's own namespace, so the rules live there, once, and not in every pod. A
captured connection has reached its sidecar before it gets here; what gets here is the traffic of pods without one,
what a sidecar passes through, the supervisor's own, and the host's by its uplink. A connection that is under way keeps
its endpoint when the rules change, because only the first packet is looked at.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Literal

from injector.capture import IpVersion

Protocol = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Endpoint:
    """Where a ready pod listens."""

    address: IPv4Address | IPv6Address
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a Service that has an address. Without `endpoints`, connections are refused."""

    address: IPv4Address | IPv6Address
    port: int
    protocol: Protocol
    endpoints: tuple[Endpoint, ...]


def build_service_rules(ports: Iterable[ServicePort], *, services: IPv4Network, version: IpVersion) -> str:
    """The whole `nat` and `filter` tables of the mesh's namespace, for `iptables-restore` without --noflush.

    Endpoints are chosen at random, each as likely as the others. `services` is the range of Service addresses: a
    connection into it that found no endpoint, known Service or not, is refused at once.
    """
    mine = sorted((port for port in ports if port.address.version == version), key=_order)
    targets = sorted({endpoint.address for port in mine for endpoint in _reachable(port)}, key=int)
    outside = sorted({port.address for port in mine if port.address not in services}, key=int)
    refused = (*((services,) if version == 4 else ()), *outside)
    refusals = tuple(rule for destination in refused for rule in _refuse(str(destination), version))
    lines = (
        "*nat",
        ":SERVICES - [0:0]",
        "-A PREROUTING -j SERVICES",
        "-A OUTPUT -j SERVICES",
        *(f"-A SERVICES {rule}" for port in mine for rule in _balance(port)),
        # A pod that got itself as endpoint would drop a packet from its own address.
        *(f"-A POSTROUTING -s {address} -d {address} -j MASQUERADE" for address in targets),
        "COMMIT",
        "*filter",
        *(f"-A {chain} {rule}" for chain in ("FORWARD", "OUTPUT") for rule in refusals),
        "COMMIT",
    )
    return "\n".join(lines) + "\n"


def _order(service: ServicePort) -> tuple[int, str, int]:
    return int(service.address), service.protocol, service.port


def _reachable(service: ServicePort) -> tuple[Endpoint, ...]:
    """Its endpoints of its own IP version; no rule leads from one version to the other."""
    return tuple(e for e in service.endpoints if e.address.version == service.address.version)


def _balance(service: ServicePort) -> Iterator[str]:
    match = f"-d {service.address} -p {service.protocol} --dport {service.port}"
    endpoints = sorted(_reachable(service))
    left = len(endpoints)
    for endpoint in endpoints:
        # Each rule takes its share of what the rules before it left over.
        chance = f"-m statistic --mode random --probability {1 / left:.8f} " if left > 1 else ""
        host = f"[{endpoint.address}]" if endpoint.address.version == 6 else str(endpoint.address)
        yield f"{match} {chance}-j DNAT --to-destination {host}:{endpoint.port}"
        left -= 1


def _refuse(destination: str, version: IpVersion) -> Iterator[str]:
    unreachable = "icmp-port-unreachable" if version == 4 else "icmp6-port-unreachable"
    yield f"-d {destination} -p tcp -j REJECT --reject-with tcp-reset"
    yield f"-d {destination} -j REJECT --reject-with {unreachable}"
