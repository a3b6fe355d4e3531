"""The mesh as one immutable snapshot, indexed for the questions translators ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from model.gateways import BrokenCredential, Credential, Gateway
from model.identity import SpiffeId
from model.pods import Pod
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.routing import VirtualService
from model.services import Endpoint, Protocol, Service
from model.settings import MeshSettings
from model.sidecars import Sidecar, SidecarChoice
from model.traffic import DestinationRule

_UNKNOWN_OWNERS: Mapping[str, str] = {}
_UNKNOWN_HOSTS = ("",)
"""What is still to be worked out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundPort:
    """A port of a workload that a Service or a container declares. UDP ports are left out."""

    number: int
    protocol: Protocol


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """Everything in force at one instant. Two snapshots share the values that did not change (same objects),
    so that "did this change" is mostly an identity test.

    Keys: hosts are fully qualified and in lower case; `virtual_services` and `destination_rules` are keyed by
    the host as the object has it, which may be a wildcard (`*.shop.svc.cluster.local`, `*`), each list oldest
    first; pods by (namespace, name); policies by namespace. Every mapping is in the order of its keys.
    """

    settings: MeshSettings = field(default_factory=MeshSettings)
    services: Mapping[str, Service] = field(default_factory=dict)
    endpoints: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    identities: Mapping[str, frozenset[SpiffeId]] = field(default_factory=dict)
    """The identities of the meshed endpoints behind each host."""
    uncaptured_ports: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The ports of a host that lead past the sidecar of some endpoint; hosts without one are left out."""
    hosts_on_port: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Which services have that port (UDP ports left out), sorted."""
    pods: Mapping[tuple[str, str], Pod] = field(default_factory=dict)
    inbound_ports: Mapping[tuple[str, str], tuple[InboundPort, ...]] = field(default_factory=dict)
    """The declared ports of each pod, by number."""
    virtual_services: Mapping[str, tuple[VirtualService, ...]] = field(default_factory=dict)
    """Those that apply to sidecars (gateway `mesh`)."""
    destination_rules: Mapping[str, tuple[DestinationRule, ...]] = field(default_factory=dict)
    peer_authentications: Mapping[str, tuple[PeerAuthentication, ...]] = field(default_factory=dict)
    authorization_policies: Mapping[str, tuple[AuthorizationPolicy, ...]] = field(default_factory=dict)
    gateways: tuple[Gateway, ...] = ()
    """All of them, the oldest first."""
    gateway_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The hosts of the VirtualServices that name a gateway (`NAMESPACE/NAME`), sorted."""
    gateway_routes: Mapping[tuple[str, str], tuple[VirtualService, ...]] = field(default_factory=dict)
    """Those VirtualServices by gateway and host, the oldest first."""
    gateway_ports: Mapping[tuple[str, str], Mapping[int, int]] = field(default_factory=dict)
    """Of each gateway pod: the port of a Service that selects it, to the pod's own port."""
    credentials: Mapping[tuple[str, str], Credential | BrokenCredential] = field(default_factory=dict)
    """The Secrets that servers may name, by (namespace, name)."""
    sidecars: Mapping[tuple[str, str], Sidecar] = field(default_factory=dict)
    sidecar_choices: Mapping[str, tuple[SidecarChoice, ...]] = field(default_factory=dict)
    """The Sidecars of a namespace: those with a selector first, then the oldest first. The first that fits applies."""
    hosts_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The hosts of the services of a namespace, sorted. This and the next two are empty where there is no Sidecar."""
    routed_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The hosts of the VirtualServices of a namespace as they stand there, sorted."""
    routes_to: Mapping[str, tuple[VirtualService, ...]] = field(default_factory=dict)
    """The VirtualServices that send requests, or copies of them, to a host; by namespace and name."""
    host_at: Mapping[str, str] = field(default_factory=lambda: _UNKNOWN_OWNERS)
    """Whose virtual address it is. Of services that say they have the same one, the first by host. Follows from
    `services`, as `foreign_hosts` does from them and the hosts of `virtual_services`: neither is to be given."""
    foreign_hosts: tuple[str, ...] = _UNKNOWN_HOSTS
    """The hosts of VirtualServices that are no service's, wildcards included, sorted."""
    has_sidecars: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if self.host_at is _UNKNOWN_OWNERS:
            owners: dict[str, str] = {}
            for host, service in self.services.items():
                for address in service.addresses:
                    owners.setdefault(address, host)
            object.__setattr__(self, "host_at", owners)
        if self.foreign_hosts is _UNKNOWN_HOSTS:
            foreign = tuple(host for host in self.virtual_services if host not in self.services)
            object.__setattr__(self, "foreign_hosts", foreign)
        object.__setattr__(self, "has_sidecars", bool(self.sidecars))

    def with_parts(self, **parts: Any) -> Mesh:
        """The snapshot with other values of these fields. What follows is worked out only if it may differ."""
        follows: dict[str, Any] = {}
        if "services" in parts:
            follows["host_at"] = _UNKNOWN_OWNERS
        named = [name for name in ("services", "virtual_services") if name in parts]
        if any(tuple(parts[name]) != tuple(getattr(self, name)) for name in named):
            follows["foreign_hosts"] = _UNKNOWN_HOSTS
        return replace(self, **parts, **follows)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of all services, sorted (the assembler keeps `services` in that order)."""
        return tuple(self.services)

    @property
    def ports(self) -> tuple[int, ...]:
        """All Service ports but UDP's, sorted."""
        return tuple(self.hosts_on_port)

    @property
    def routed_hosts(self) -> tuple[str, ...]:
        """The hosts of all VirtualServices as they stand there, sorted."""
        return tuple(self.virtual_services)


EMPTY = Mesh()
