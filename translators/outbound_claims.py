"""Who owns which destination of a port, so that no two filter chains can match the same connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model.names import OutboundCluster
from model.services import Protocol, Resolution, Service, ServicePort
from model.view import View
from translators.virtual_hosts import foreign_hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Addresses at one port that are one service's. `per_pod`: they are its pods', and each is called as itself."""

    cluster: OutboundCluster
    protocol: Protocol
    addresses: tuple[str, ...]
    per_pod: bool = False

    @property
    def chains(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The filter chains that it has for bytes, each with its name and its addresses: one, or one a pod."""
        name = f"{self.cluster.host}:{self.cluster.port}"
        if not self.per_pod:
            return ((name, self.addresses),)
        return tuple((f"{name}.{address}", (address,)) for address in self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortClaims:
    """One destination port, and who has it.

    `http_anywhere`: some service speaks HTTP there, so every address that is nobody else's is taken for HTTP.
    `detect_anywhere`: requests may be routed whose address we do not know, those of a service of unknown protocol or of
    a host that only a VirtualService names. `tcp_anywhere`: the cluster of a service of bytes without known address.
    """

    port: int
    http_anywhere: bool
    detect_anywhere: bool
    tcp_anywhere: OutboundCluster | None
    exact: tuple[Claim, ...]


def shared_claims(port: int, view: View) -> PortClaims:
    """`claims_on`, worked out once for all askers that are alike in it. Whoever asks depends on the outcome alone."""
    return view.shared(_claims, port)


def _claims(view: View, port: int) -> PortClaims:
    return claims_on(port, view)


_ORDER: Mapping[Protocol, int] = {Protocol.HTTP: 0, Protocol.HTTP2: 0, Protocol.DETECT: 1}
"""Whose word counts where two services have the same address (headless ones with the same pods): who knows most."""


def claims_on(port: int, view: View) -> PortClaims:
    """Everything that is known of a port. An address belongs to one service: to the one that knows most of its
    protocol, then to the first by host."""
    found = _by_precedence(port, view)
    http_anywhere = any(declared.protocol.is_http for _, declared in found)
    wants_exact = any(not declared.protocol.is_http for _, declared in found)
    taken: set[str] = set()
    exact = []
    for service, declared in found if wants_exact else ():
        addresses = tuple(address for address in _addresses(service, port, view) if address not in taken)
        taken.update(addresses)
        if addresses and not declared.protocol.is_http:
            exact.append(
                Claim(
                    cluster=OutboundCluster(port=port, host=service.host),
                    protocol=declared.protocol,
                    addresses=addresses,
                    per_pod=service.resolution is Resolution.HEADLESS,
                )
            )
    unplaced = [pair for pair in found if pair[0].resolution is Resolution.EXTERNAL_NAME]
    detects = any(declared.protocol is Protocol.DETECT for _, declared in unplaced)
    bytes_only = [service for service, declared in unplaced if declared.protocol in (Protocol.TCP, Protocol.TLS)]
    return PortClaims(
        port=port,
        http_anywhere=http_anywhere,
        detect_anywhere=not http_anywhere and (detects or bool(foreign_hosts(port, view))),
        tcp_anywhere=OutboundCluster(port=port, host=bytes_only[0].host) if bytes_only and not http_anywhere else None,
        exact=tuple(exact),
    )


def pods_on(view: View, port: int) -> Mapping[str, str]:
    """The pods of headless services at a port, by address, to the one service's host to which each belongs."""
    owners: dict[str, str] = {}
    for service, _ in _by_precedence(port, view):
        if service.resolution is Resolution.HEADLESS:
            for address in _addresses(service, port, view):
                owners.setdefault(address, service.host)
    return owners


def _by_precedence(port: int, view: View) -> list[tuple[Service, ServicePort]]:
    return sorted(_services(port, view), key=lambda pair: (_ORDER.get(pair[1].protocol, 2), pair[0].host))


def _services(port: int, view: View) -> Iterator[tuple[Service, ServicePort]]:
    for host in view.hosts_on_port(port):
        service = view.service(host)
        declared = service.port(port) if service else None
        if service is not None and declared is not None and declared.protocol is not Protocol.UDP:
            yield service, declared


def _addresses(service: Service, port: int, view: View) -> tuple[str, ...]:
    """The addresses a client connects to, each once."""
    match service.resolution:
        case Resolution.CLUSTER_IP:
            return tuple(dict.fromkeys(service.addresses))
        case Resolution.HEADLESS:
            pods = (endpoint.address for endpoint in view.endpoints(service.host) if port in endpoint.ports)
            return tuple(sorted(dict.fromkeys(pods)))
        case Resolution.EXTERNAL_NAME:
            return ()
