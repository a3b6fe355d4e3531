"""Objects and observations to the mesh. Only what a change can have touched is built again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter

from model.age import age
from model.gateways import Gateway
from model.mesh import EMPTY, Mesh
from model.pods import Pod, Workload
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.routing import VirtualService
from model.services import Protocol, Resolution, Service
from model.settings import MeshSettings
from model.sidecars import Sidecar
from model.traffic import DestinationRule
from sources.cluster_objects import EndpointSlice, Secret
from sources.credentials import KnownSecret, read_credentials
from sources.grouping import differences, regroup
from sources.inbound import Declared, declare_ports
from sources.keeping import keep_equal
from sources.rules import (
    MergedRules,
    SubsetClash,
    gateway_hosts,
    hosts_of_gateways,
    merge_destination_rules,
    sidecar_hosts,
)
from sources.selection import PodIndex
from sources.service_endpoints import Backing, Surroundings, back_service
from sources.sidecar_indexes import index_sidecars

Name = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """Everything a mesh is made of, by (namespace, name). A mapping that did not change is the same object.

    `managed_slices` as in `Surroundings`; it is one for the life of a store.
    """

    settings: MeshSettings = field(default_factory=MeshSettings)
    managed_slices: bool = False
    services: Mapping[Name, Service] = field(default_factory=dict)
    endpoint_slices: Mapping[Name, EndpointSlice] = field(default_factory=dict)
    stateful_sets: Mapping[Name, Workload] = field(default_factory=dict)
    pods: Mapping[Name, Pod] = field(default_factory=dict)
    service_addresses: Mapping[Name, tuple[str, ...]] = field(default_factory=dict)
    virtual_services: Mapping[Name, VirtualService] = field(default_factory=dict)
    destination_rules: Mapping[Name, DestinationRule] = field(default_factory=dict)
    peer_authentications: Mapping[Name, PeerAuthentication] = field(default_factory=dict)
    authorization_policies: Mapping[Name, AuthorizationPolicy] = field(default_factory=dict)
    gateways: Mapping[Name, Gateway] = field(default_factory=dict)
    secrets: Mapping[Name, Secret] = field(default_factory=dict)
    sidecars: Mapping[Name, Sidecar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assembly:
    """A mesh, and what the next one can take over from it."""

    inputs: Inputs = field(default_factory=Inputs)
    mesh: Mesh = EMPTY
    backings: Mapping[str, Backing] = field(default_factory=dict)
    declared: Mapping[Name, Declared] = field(default_factory=dict)
    rules: Mapping[str, MergedRules] = field(default_factory=dict)
    secrets: Mapping[Name, KnownSecret] = field(default_factory=dict)

    @property
    def clashes(self) -> Iterator[SubsetClash]:
        """The subsets of DestinationRules that are defined twice."""
        return (clash for merged in self.rules.values() for clash in merged.clashes)


def assemble(inputs: Inputs, last: Assembly) -> Assembly:
    """The mesh of `inputs`. Values equal to those of `last` are the same objects; so is the mesh if all are."""
    was, mesh = last.inputs, last.mesh
    services = mesh.services
    if inputs.services is not was.services or inputs.service_addresses is not was.service_addresses:
        services = keep_equal(mesh.services, _place_services(inputs))
    pods = mesh.pods
    if inputs.pods is not was.pods:
        pods = keep_equal(mesh.pods, {name: inputs.pods[name] for name in sorted(inputs.pods)})
    settings = mesh.settings if mesh.settings == inputs.settings else inputs.settings
    backings = last.backings
    if (
        services is not mesh.services
        or pods is not mesh.pods
        or inputs.endpoint_slices is not was.endpoint_slices
        or inputs.stateful_sets is not was.stateful_sets
        or settings.trust_domain != mesh.settings.trust_domain
    ):
        fresh = settings.trust_domain != mesh.settings.trust_domain or inputs.stateful_sets is not was.stateful_sets
        backings = _back_services(services, pods, inputs, settings.trust_domain, {} if fresh else last.backings)
    declared = last.declared
    if backings is not last.backings:
        declared = declare_ports(pods, backings.values(), last.declared)
    parts: dict[str, object] = {"services": services, "pods": pods, "settings": settings}
    if services is not mesh.services:
        parts["hosts_on_port"] = keep_equal(mesh.hosts_on_port, _index_ports(services))
    if backings is not last.backings:
        endpoints = {host: backing.endpoints for host, backing in backings.items()}
        identities = {host: backing.identities for host, backing in backings.items()}
        uncaptured = {host: backing.uncaptured for host, backing in backings.items() if backing.uncaptured}
        inbound = {name: entry.ports for name, entry in declared.items()}
        bound = {name: entry.targets for name, entry in declared.items() if entry.targets}
        parts["endpoints"] = keep_equal(mesh.endpoints, endpoints)
        parts["identities"] = keep_equal(mesh.identities, identities)
        parts["uncaptured_ports"] = keep_equal(mesh.uncaptured_ports, uncaptured)
        parts["inbound_ports"] = keep_equal(mesh.inbound_ports, inbound)
        parts["gateway_ports"] = keep_equal(mesh.gateway_ports, bound)
    rules = _merge_rules(inputs, last)
    if rules is not last.rules:
        in_force = {host: merged.rules for host, merged in rules.items()}
        parts["destination_rules"] = keep_equal(mesh.destination_rules, in_force)
    parts |= _group_rules(inputs, was, mesh)
    scoped_differ = services is not mesh.services or inputs.virtual_services is not was.virtual_services
    if inputs.sidecars is not was.sidecars or (inputs.sidecars and scoped_differ):
        parts |= index_sidecars(inputs.sidecars, services, inputs.virtual_services.values(), mesh)
    secrets = last.secrets
    if inputs.gateways is not was.gateways or inputs.secrets is not was.secrets:
        gateways = tuple(sorted(inputs.gateways.values(), key=age))
        parts["gateways"] = mesh.gateways if mesh.gateways == gateways else gateways
        secrets = read_credentials(gateways, inputs.secrets, last.secrets)
        credentials = {name: known.credential for name, known in secrets.items()}
        parts["credentials"] = keep_equal(mesh.credentials, credentials)
    changed = {name: value for name, value in parts.items() if value is not getattr(mesh, name)}
    rebuilt = mesh.with_parts(**changed) if changed else mesh
    return Assembly(inputs=inputs, mesh=rebuilt, backings=backings, declared=declared, rules=rules, secrets=secrets)


def _merge_rules(inputs: Inputs, last: Assembly) -> Mapping[str, MergedRules]:
    gone, come = differences(last.inputs.destination_rules, inputs.destination_rules)
    if not (gone or come):
        return last.rules
    before = {host: merged.of for host, merged in last.rules.items()}
    return merge_destination_rules(regroup(before, gone, come, keys=lambda rule: (rule.host,), order=age), last.rules)


def _group_rules(inputs: Inputs, was: Inputs, mesh: Mesh) -> dict[str, object]:
    routes = differences(was.virtual_services, inputs.virtual_services)
    at_gateways = regroup(mesh.gateway_routes, *routes, keys=gateway_hosts, order=age)
    hosts = mesh.gateway_hosts
    if at_gateways is not mesh.gateway_routes:
        hosts = keep_equal(hosts, hosts_of_gateways(at_gateways))
    peers = differences(was.peer_authentications, inputs.peer_authentications)
    policies = differences(was.authorization_policies, inputs.authorization_policies)
    by_name = attrgetter("ref.name")
    return {
        "virtual_services": regroup(mesh.virtual_services, *routes, keys=sidecar_hosts, order=age),
        "gateway_routes": at_gateways,
        "gateway_hosts": hosts,
        "peer_authentications": regroup(mesh.peer_authentications, *peers, keys=_namespace, order=age),
        "authorization_policies": regroup(mesh.authorization_policies, *policies, keys=_namespace, order=by_name),
    }


def _namespace(value: PeerAuthentication | AuthorizationPolicy) -> tuple[str]:
    return (value.ref.namespace,)


def _place_services(inputs: Inputs) -> dict[str, Service]:
    found = {}
    for name, service in inputs.services.items():
        addresses = inputs.service_addresses.get(name, ())
        if addresses and service.resolution is Resolution.CLUSTER_IP and addresses != service.addresses:
            service = replace(service, addresses=addresses)
        found[service.host] = service
    return {host: found[host] for host in sorted(found)}


def _index_ports(services: Mapping[str, Service]) -> dict[int, tuple[str, ...]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for host, service in services.items():
        for number in dict.fromkeys(port.number for port in service.ports if port.protocol is not Protocol.UDP):
            found[number].append(host)
    return {number: tuple(found[number]) for number in sorted(found)}


def _back_services(
    services: Mapping[str, Service],
    pods: Mapping[Name, Pod],
    inputs: Inputs,
    trust_domain: str,
    previous: Mapping[str, Backing],
) -> Mapping[str, Backing]:
    slices: defaultdict[Name, list[EndpointSlice]] = defaultdict(list)
    for name in sorted(inputs.endpoint_slices):
        entry = inputs.endpoint_slices[name]
        slices[entry.ref.namespace, entry.service].append(entry)
    around = Surroundings(
        pods=PodIndex(pods.values()),
        trust_domain=trust_domain,
        stateful_sets={name: workload.service_name for name, workload in inputs.stateful_sets.items()},
        managed_slices=inputs.managed_slices,
    )
    return {
        host: back_service(
            service, tuple(slices.get((service.ref.namespace, service.ref.name), ())), around, previous.get(host)
        )
        for host, service in services.items()
    }
