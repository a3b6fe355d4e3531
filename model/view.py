"""The mesh as one asker sees it, recording what was read.

A translator reads the mesh through a `View` alone. What it read is the complete list of reasons for which its
result could change, so the result is good for as long as `still_holds` says so: for another asker too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from model.asker import Asker, Capture
from model.gateways import Credential, Gateway
from model.host_patterns import patterns
from model.identity import SpiffeId
from model.mesh import InboundPort, Mesh
from model.pods import ProxyKind
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.routing import VirtualService
from model.services import Endpoint, Locality, Service
from model.settings import MeshSettings
from model.traffic import DestinationRule

Key: TypeAlias = str | int | tuple[str, str] | None
Reads: TypeAlias = Mapping[tuple[str, Key], object]
"""(what was asked, its argument) to the answer."""


@dataclass(frozen=True, slots=True)
class View:
    """Questions to one snapshot on behalf of one asker. Every answer is recorded in `reads`."""

    _mesh: Mesh
    _asker: Asker
    reads: dict[tuple[str, Key], object]

    # Who asks

    @property
    def namespace(self) -> str:
        """The namespace of the asker."""
        return cast(str, self._ask("asker", "namespace"))

    @property
    def pod(self) -> str:
        return cast(str, self._ask("asker", "pod"))

    @property
    def kind(self) -> ProxyKind:
        """Whether a sidecar asks or a gateway."""
        return cast(ProxyKind, self._ask("asker", "kind"))

    @property
    def service_account(self) -> str:
        return cast(str, self._ask("asker", "service_account"))

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the asker's pod."""
        return cast(Mapping[str, str], self._ask("asker", "labels"))

    @property
    def locality(self) -> Locality:
        return cast(Locality, self._ask("asker", "locality"))

    @property
    def address(self) -> str:
        """The asker's own address."""
        return cast(str, self._ask("asker", "address"))

    @property
    def application_address(self) -> str:
        return cast(str, self._ask("asker", "application_address"))

    @property
    def capture(self) -> Capture:
        return cast(Capture, self._ask("asker", "capture"))

    @property
    def vhds(self) -> bool:
        """Whether virtual hosts are sent apart from their route table."""
        return cast(bool, self._ask("asker", "vhds"))

    @property
    def on_demand(self) -> bool:
        """Whether the asker learns its destinations one by one, as its application asks for them."""
        return cast(bool, self._ask("asker", "on_demand"))

    @property
    def ipv6(self) -> bool:
        """Whether the asker's machine has IPv6."""
        return cast(bool, self._ask("asker", "ipv6"))

    @property
    def inbound_ports(self) -> tuple[InboundPort, ...]:
        """The ports that the asker's own pod declares, by number."""
        key = (self.namespace, self.pod)
        return cast(tuple[InboundPort, ...], self._ask("inbound_ports", key) or ())

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

    @property
    def settings(self) -> MeshSettings:
        return cast(MeshSettings, self._ask("settings", None))

    def service(self, host: str) -> Service | None:
        return cast(Service | None, self._ask("services", host))

    def host_at(self, address: str) -> str | None:
        """The service whose virtual address it is; each address is one service's."""
        return cast(str | None, self._ask("host_at", address))

    def endpoints(self, host: str) -> tuple[Endpoint, ...]:
        """All endpoints of a service, the ones that are not ready included; sorted by address."""
        return cast(tuple[Endpoint, ...], self._ask("endpoints", host) or ())

    def identities(self, host: str) -> frozenset[SpiffeId]:
        """Who may answer for a service: the identities of its meshed endpoints."""
        return cast(frozenset[SpiffeId], self._ask("identities", host) or frozenset())

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of all services, sorted."""
        return cast(tuple[str, ...], self._ask("hosts", None))

    @property
    def ports(self) -> tuple[int, ...]:
        """All Service ports but UDP's, sorted."""
        return cast(tuple[int, ...], self._ask("ports", None))

    def hosts_on_port(self, port: int) -> tuple[str, ...]:
        """The services that have this port (UDP left out), sorted."""
        return cast(tuple[str, ...], self._ask("hosts_on_port", port) or ())

    @property
    def routed_hosts(self) -> tuple[str, ...]:
        """The hosts of all VirtualServices as they stand there, wildcards included, sorted."""
        return cast(tuple[str, ...], self._ask("routed_hosts", None))

    def virtual_service(self, host: str) -> VirtualService | None:
        """What routes `host` for this asker, or None: the most specific host, then the oldest object.

        Seen are those of the asker's namespace, of the host's own namespace and of the root namespace, if
        exported to the asker: a namespace cannot route another's hosts for third parties (Istio bulletin 2026-002).
        """
        for pattern in patterns(host):
            found = cast(tuple[VirtualService, ...], self._ask("virtual_services", pattern) or ())
            for candidate in found:
                owner = candidate.ref.namespace
                near = owner in (self.namespace, host_namespace(host), self.settings.root_namespace)
                foreign = self.service(host) is None
                if (near or foreign) and self._exported(candidate.export_to, owner):
                    return candidate
        return None

    def destination_rule(self, host: str) -> DestinationRule | None:
        """What configures calls to `host` for this asker, or None.

        The asker's namespace first, then the host's own, then the root namespace; in each the most specific host.
        """
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

    def _ask(self, question: str, key: Key) -> object:
        slot = (question, key)
        if slot in self.reads:
            return self.reads[slot]
        found = _answer(self._mesh, self._asker, question, key)
        self.reads[slot] = found
        return found


def view_of(mesh: Mesh, asker: Asker) -> View:
    """A view with nothing read yet."""
    return View(mesh, asker, {})


def still_holds(reads: Reads, mesh: Mesh, asker: Asker) -> bool:
    """Whether every question in `reads` has the same answer for this mesh and this asker."""
    for (question, key), then in reads.items():
        now = _answer(mesh, asker, question, key)
        if now is not then and now != then:
            return False
    return True


def host_namespace(host: str) -> str:
    """The namespace in `name.NAMESPACE.svc.cluster.local`, '' for any other host."""
    match host.split("."):
        case [*_, namespace, "svc", "cluster", "local"]:
            return namespace
        case _:
            return ""


def _answer(mesh: Mesh, asker: Asker, question: str, key: Key) -> object:
    match question:
        case "asker":
            return getattr(asker, cast(str, key))
        case "settings":
            return mesh.settings
        case "hosts":
            return mesh.hosts
        case "ports":
            return mesh.ports
        case "gateways":
            return mesh.gateways
        case "credentials":
            # Whether there is one is all that a resource may depend on: the key itself is in no record.
            return isinstance(mesh.credentials.get(cast(tuple[str, str], key)), Credential)
        case "routed_hosts":
            return mesh.routed_hosts
        case _:
            return getattr(mesh, question).get(key)
