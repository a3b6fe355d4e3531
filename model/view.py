"""The mesh as one asker sees it, recording what was read.

A translator reads the mesh through a `View` alone. What it read is the complete list of reasons for which its
result could change, so the result is good for as long as `still_holds` says so: for another asker too.

Where a Sidecar applies to the asker, the view is limited to what that names.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from model.asker import Asker
from model.gateways import Gateway
from model.host_patterns import patterns
from model.identity import SpiffeId
from model.mesh import Mesh
from model.names import host_namespace
from model.pods import ProxyKind
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.recorded_reads import SHARED, RecordedReads, SharedPart, Sharing
from model.routing import VirtualService
from model.services import Endpoint, Protocol, Service
from model.sidecars import ANY_NAMESPACE, Egress, Sidecar
from model.traffic import DestinationRule

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View(RecordedReads):
    """Questions to one snapshot on behalf of one asker. Every answer is recorded in `reads`."""

    # Parts

    @property
    def shares(self) -> bool:
        """Whether parts are kept for others: else they are worked out again by everyone who needs them."""
        return self._sharing is not None

    def shared(self, work: Callable[[View, K], T], key: K) -> T:
        """`work` with this view and `key`: done once for all askers that are alike in what it reads, and again only
        once that differs. Of it, only the outcome counts as read. `work` is a function of a module."""
        if self._sharing is None:
            return work(self, key)
        slot = (SHARED, (work, key))
        if slot not in self.reads:
            found = self._sharing(work, key)
            for attribute in found.attributes:
                self._ask("asker", attribute)
            self.reads[slot] = found
        part = cast(SharedPart, self.reads[slot])
        if part.error is not None:
            raise part.error
        return cast(T, part.value)

    # Gateways

    @property
    def gateways(self) -> tuple[Gateway, ...]:
        """The Gateways that the asker serves, the oldest first; none for a sidecar."""
        if self.kind is not ProxyKind.GATEWAY:
            return ()
        found = cast(tuple[Gateway, ...], self._ask("gateways", None))
        return tuple(gateway for gateway in found if gateway.selects(self.labels))

    def bound_port(self, number: int) -> int:
        """Where the asker listens for a server's port: the target of the Service port, or the very same port."""
        targets = cast(Mapping[int, int], self._ask("gateway_ports", (self.namespace, self.pod)) or {})
        return targets.get(number, number)

    def gateway_hosts(self, gateway: str) -> tuple[str, ...]:
        """The hosts of all VirtualServices that name a gateway (`NAMESPACE/NAME`), sorted."""
        return cast(tuple[str, ...], self._ask("gateway_hosts", gateway) or ())

    def gateway_routes(self, gateway: str, host: str) -> tuple[VirtualService, ...]:
        """The VirtualServices with just this host that name the gateway and are exported to the asker, oldest first."""
        found = cast(tuple[VirtualService, ...], self._ask("gateway_routes", (gateway, host)) or ())
        return tuple(value for value in found if self._exported(value.export_to, value.ref.namespace))

    def has_credential(self, name: str) -> bool:
        """Whether the asker's namespace has a Secret of that name with a usable certificate and key."""
        return cast(bool, self._ask("credentials", (self.namespace, name)))

    # The mesh

    def service(self, host: str) -> Service | None:
        """The service as the asker may call it, without the ports that are out of its scope; None if all are."""
        service = cast(Service | None, self._ask("services", host))
        if self._unlimited:
            return service
        limit = self._limit
        if service is None or limit is None:
            return service
        slot = ("service", host)
        if slot not in self._found:
            self._found[slot] = self._in_scope(service, limit)
        return cast(Service | None, self._found[slot])

    def _in_scope(self, service: Service, limit: Sidecar) -> Service | None:
        owner = service.ref.namespace
        entries = {port.number: limit.entry(port.number) for port in service.ports}
        named = {
            number
            for number, entry in entries.items()
            if entry is not None and entry.names(service.host, owner, self.namespace)
        }
        if len(named) == len(entries):
            return service if named else None
        ports = tuple(port for port in service.ports if port.number in named)
        return replace(service, ports=ports) if ports else None

    def destination(self, host: str) -> Service | None:
        """The service as the asker's routes may lead to it: also what is in its scope only as the destination of a
        VirtualService that is, with all ports."""
        whole = self.any_service(host)
        if whole is None or self._limit is None:
            return whole
        service = self.service(host)
        if service is whole:
            return service
        routes = cast(tuple[VirtualService, ...], self._ask("routes_to", host) or ())
        return whole if any(self._brought(route) for route in routes) else service

    def any_service(self, host: str) -> Service | None:
        """The service, in scope or not: what a name stands for once it is known that the asker is led to it."""
        return cast(Service | None, self._ask("services", host))

    def host_at(self, address: str) -> str | None:
        """The service whose virtual address it is, if it is in scope; each address is one service's."""
        owner = cast(str | None, self._ask("host_at", address))
        if owner is None or self._limit is None or self.service(owner) is not None:
            return owner
        return None

    def endpoints(self, host: str) -> tuple[Endpoint, ...]:
        """All endpoints of a service, the ones that are not ready included; sorted by address."""
        return cast(tuple[Endpoint, ...], self._ask("endpoints", host) or ())

    def identities(self, host: str) -> frozenset[SpiffeId]:
        """Who may answer for a service: the identities of its meshed endpoints."""
        return cast(frozenset[SpiffeId], self._ask("identities", host) or frozenset())

    def uncaptured_ports(self, host: str) -> frozenset[int]:
        """The ports of a service that lead past the sidecar of some endpoint."""
        return cast(frozenset[int], self._ask("uncaptured_ports", host) or frozenset())

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of all services that the asker may call or be led to, sorted."""
        limit = self._limit
        if limit is None:
            return cast(tuple[str, ...], self._ask("hosts", None))
        named = {host for entry in limit.egress or () for host in self._named(entry)}
        led_to = {host for route in self._brought_routes() for host in route.destinations}
        return tuple(sorted(host for host in named | led_to if self.destination(host) is not None))

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of all services that the asker may call but UDP's, sorted."""
        limit = self._limit
        if limit is None:
            return cast(tuple[int, ...], self._ask("ports", None))
        found = {host: self.service(host) for entry in limit.egress or () for host in self._named(entry)}
        return tuple(
            sorted(
                {
                    port.number
                    for service in found.values()
                    for port in (service.ports if service else ())
                    if port.protocol is not Protocol.UDP
                }
            )
        )

    def hosts_on_port(self, port: int) -> tuple[str, ...]:
        """The services that the asker may call at this port (UDP left out), sorted."""
        limit = self._limit
        if limit is None:
            return cast(tuple[str, ...], self._ask("hosts_on_port", port) or ())
        slot = ("hosts_on_port", port)
        if slot not in self._found:
            entry = limit.entry(port)
            named = set(self._named(entry)) if entry is not None else set()
            self._found[slot] = tuple(sorted(host for host in named if self._has_port(host, port)))
        return cast(tuple[str, ...], self._found[slot])

    def _has_port(self, host: str, number: int) -> bool:
        service = self.service(host)
        return service is not None and any(
            port.number == number and port.protocol is not Protocol.UDP for port in service.ports
        )

    def _named(self, entry: Egress) -> Iterator[str]:
        """The hosts that an entry can mean, perhaps more."""
        for each in entry.hosts:
            owner = each.owner(self.namespace)
            if each.excluded:
                continue
            if not each.host.startswith("*"):
                yield each.host
            elif owner == ANY_NAMESPACE:
                yield from cast(tuple[str, ...], self._ask("hosts", None))
            else:
                yield from cast(tuple[str, ...], self._ask("hosts_in", owner) or ())

    @property
    def foreign_hosts(self) -> tuple[str, ...]:
        """The hosts of VirtualServices that may be no service's for the asker, wildcards included, sorted."""
        if self._limit is None:
            return cast(tuple[str, ...], self._ask("foreign_hosts", None))
        return self.routed_hosts

    @property
    def routed_hosts(self) -> tuple[str, ...]:
        """The hosts of all VirtualServices that can be in scope as they stand there, wildcards included, sorted."""
        limit = self._limit
        owners = None if limit is None else self._route_owners(limit)
        if owners is None:
            return cast(tuple[str, ...], self._ask("routed_hosts", None))
        found = (cast(tuple[str, ...], self._ask("routed_in", owner) or ()) for owner in owners)
        return tuple(sorted({host for hosts in found for host in hosts}))

    def _route_owners(self, limit: Sidecar) -> set[str] | None:
        """The namespaces whose VirtualServices can be in scope, None for all."""
        named = (each for entry in limit.egress or () for each in entry.hosts if not each.excluded)
        owners = {each.owner(self.namespace) for each in named}
        return None if ANY_NAMESPACE in owners else owners

    def _brought_routes(self) -> Iterator[VirtualService]:
        for host in self.routed_hosts:
            for route in cast(tuple[VirtualService, ...], self._ask("virtual_services", host) or ()):
                if self._brought(route):
                    yield route

    def _brought(self, route: VirtualService, port: int | None = None) -> bool:
        """Whether a VirtualService is in scope at a port (None: at any)."""
        owner = route.ref.namespace
        if not self._exported(route.export_to, owner):
            return False
        limit = self._limit
        if limit is None:
            return True
        entries = limit.egress or () if port is None else (limit.entry(port),)
        return any(entry is not None and entry.brings(route.hosts, owner, self.namespace) for entry in entries)

    def virtual_service(self, host: str, port: int | None = None) -> VirtualService | None:
        """What routes `host` for this asker at a port (None: at any), or None: the most specific host, then the
        oldest object.

        Seen are those of the asker's namespace, of the host's own namespace and of the root namespace, if in scope and
        exported to the asker: a namespace cannot route another's hosts for third parties (Istio bulletin 2026-002).
        """
        for pattern in patterns(host):
            found = cast(tuple[VirtualService, ...], self._ask("virtual_services", pattern) or ())
            for candidate in found:
                owner = candidate.ref.namespace
                near = owner in (self.namespace, host_namespace(host), self.settings.root_namespace)
                foreign = self.any_service(host) is None
                if (near or foreign) and self._brought(candidate, port):
                    return candidate
        return None

    def destination_rule(self, host: str) -> DestinationRule | None:
        """What configures calls to `host` for this asker, or None.

        The asker's namespace first, then the host's own, then the root namespace; in each the most specific host.
        """
        slot = ("destination_rule", host)
        if slot not in self._found:
            self._found[slot] = self._find_rule(host)
        return cast(DestinationRule | None, self._found[slot])

    def _find_rule(self, host: str) -> DestinationRule | None:
        wanted = dict.fromkeys((self.namespace, host_namespace(host), self.settings.root_namespace))
        for namespace in wanted:
            for pattern in patterns(host):
                found = cast(tuple[DestinationRule, ...], self._ask("destination_rules", pattern) or ())
                for rule in found:
                    if rule.ref.namespace == namespace and self._exported(rule.export_to, namespace):
                        return rule
        return None

    def peer_authentications(self, namespace: str) -> tuple[PeerAuthentication, ...]:
        """Those in `namespace`, oldest first."""
        return cast(tuple[PeerAuthentication, ...], self._ask("peer_authentications", namespace) or ())

    def authorization_policies(self, namespace: str) -> tuple[AuthorizationPolicy, ...]:
        """Those in `namespace`, by name."""
        return cast(tuple[AuthorizationPolicy, ...], self._ask("authorization_policies", namespace) or ())

    def _exported(self, export_to: tuple[str, ...], owner: str) -> bool:
        visible = export_to or self.settings.default_export_to
        return "*" in visible or self.namespace in visible or ("." in visible and self.namespace == owner)


def view_of(mesh: Mesh, asker: Asker, sharing: Sharing | None = None) -> View:
    """A view that has read nothing yet but whether there are Sidecars."""
    return View(mesh, asker, {("has_sidecars", None): mesh.has_sidecars}, not mesh.has_sidecars, {}, sharing)
