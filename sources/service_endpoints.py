"""What stands behind a service: EndpointSlices if it has any, else the pods that its selector selects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.identity import SpiffeId
from model.inbound_capture import inbound_capture
from model.pods import Pod, ProxyKind
from model.services import Endpoint, Protocol, Resolution, Service, ServicePort
from sources.cluster_objects import EndpointSlice, SliceEndpoint
from sources.keeping import same_objects
from sources.selection import PodIndex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backing:
    """The endpoints of one service, with what they were derived from: `pods` and `slices` it read, in order.

    `identities` and `uncaptured` are of all endpoints together.
    """

    service: Service
    slices: tuple[EndpointSlice, ...]
    pods: tuple[Pod, ...]
    endpoints: tuple[Endpoint, ...]
    identities: frozenset[SpiffeId]
    uncaptured: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surroundings:
    """What all services share. `stateful_sets` maps (namespace, name) to the name of the headless service.

    `managed_slices`: a cluster's controllers write the EndpointSlices, so that a service has no endpoints but theirs.
    """

    pods: PodIndex
    trust_domain: str
    stateful_sets: Mapping[tuple[str, str], str]
    managed_slices: bool = False


def back_service(
    service: Service, slices: tuple[EndpointSlice, ...], around: Surroundings, previous: Backing | None
) -> Backing:
    """The backing of `service`; `previous` itself if it was derived from the very same values."""
    namespace = service.ref.namespace
    pods: tuple[Pod, ...] = ()
    if service.resolution is not Resolution.EXTERNAL_NAME:
        pods = _pods_of_slices(slices, namespace, around)
        if around.managed_slices:
            # A pod listens for its service before the cluster has listed it.
            pods = _without_repeats((*pods, *around.pods.select(namespace, service.selector)))
        elif not slices:
            pods = around.pods.select(namespace, service.selector)
    read: tuple[object, ...] = (service, *slices, *pods)
    if previous is not None and same_objects((previous.service, *previous.slices, *previous.pods), read):
        return previous
    listed = bool(slices) or around.managed_slices
    found = _from_slices(service, slices, around) if listed else _from_pods(service, pods, around)
    endpoints = tuple(sorted(found, key=lambda endpoint: (":" in endpoint.address, endpoint.address)))
    identities = frozenset(endpoint.identity for endpoint in endpoints if endpoint.identity is not None)
    uncaptured = frozenset(port for endpoint in endpoints for port in endpoint.uncaptured)
    if previous is not None:
        endpoints = previous.endpoints if previous.endpoints == endpoints else endpoints
        identities = previous.identities if previous.identities == identities else identities
    return Backing(
        service=service, slices=slices, pods=pods, endpoints=endpoints, identities=identities, uncaptured=uncaptured
    )


def resolve_target(port: ServicePort, pod: Pod) -> int | None:
    """The number of the pod's port that a Service port leads to; None if the pod has no port of that name."""
    if isinstance(port.target, int):
        return port.target
    transport = "UDP" if port.protocol is Protocol.UDP else "TCP"
    named = (own.number for own in pod.ports if own.name == port.target and own.protocol == transport)
    return next(named, None)


def _from_pods(service: Service, pods: tuple[Pod, ...], around: Surroundings) -> list[Endpoint]:
    found = []
    for pod in pods:
        if not pod.addresses:
            continue
        ports: dict[int, int] = {}
        for port in service.ports:
            number = resolve_target(port, pod)
            if number is not None:
                # TCP stands before UDP of the same number, and it is what a sidecar handles.
                ports.setdefault(port.number, number)
        if ports or not service.ports:
            listed = SliceEndpoint(addresses=pod.addresses, ready=pod.ready)
            found.append(_endpoint(service, pod.addresses[0], ports, pod, listed, around))
    return found


def _from_slices(service: Service, slices: tuple[EndpointSlice, ...], around: Surroundings) -> list[Endpoint]:
    found: dict[object, Endpoint] = {}
    for entry in slices:
        targets = {port.name: port.number for port in entry.ports}
        ports: dict[int, int] = {}
        for port in service.ports:
            if port.name in targets:
                # TCP stands before UDP of the same number, and it is what a sidecar handles.
                ports.setdefault(port.number, targets[port.name])
        if service.ports and not ports:
            continue
        for listed in entry.endpoints:
            for address in listed.addresses:
                pod = _find_pod(entry.ref.namespace, listed, address, around)
                if pod is None and listed.pod and around.managed_slices:
                    # The slice came before its pod: without it nobody can say who answers there, and how.
                    continue
                endpoint = _endpoint(service, address, ports, pod, listed, around)
                # A pod with two families stands in two slices; one endpoint is enough, the v4 one.
                key = address if pod is None else (pod.ref, tuple(ports))
                other = found.get(key)
                if other is None or (":" in other.address and ":" not in address):
                    found[key] = endpoint
    return list(found.values())


def _endpoint(
    service: Service,
    address: str,
    ports: Mapping[int, int],
    pod: Pod | None,
    listed: SliceEndpoint,
    around: Surroundings,
) -> Endpoint:
    ready = listed.ready or service.publish_not_ready
    if pod is None:
        return Endpoint(address=address, ports=ports, hostname=listed.hostname, ready=ready, draining=listed.draining)
    # A gateway speaks what its servers say, and never the mesh's own mutual TLS.
    meshed = pod.meshed and pod.proxy is ProxyKind.SIDECAR
    return Endpoint(
        address=address,
        ports=ports,
        labels=pod.labels,
        identity=_identity(pod, around.trust_domain) if meshed else None,
        meshed=meshed,
        locality=pod.locality,
        hostname=listed.hostname or _hostname(service, pod, around),
        ready=ready,
        draining=listed.draining,
        uncaptured=_uncaptured(pod, ports) if meshed else frozenset(),
    )


def _uncaptured(pod: Pod, ports: Mapping[int, int]) -> frozenset[int]:
    try:
        capture = inbound_capture(pod.annotations)
    except ValueError:
        # The injector refuses such a pod; whoever broke the annotation later changed nothing of what is captured.
        return frozenset()
    return frozenset(port for port, number in ports.items() if not capture.captures(number))


def _hostname(service: Service, pod: Pod, around: Surroundings) -> str:
    if service.resolution is not Resolution.HEADLESS:
        return ""
    if pod.subdomain == service.ref.name and pod.hostname:
        return pod.hostname
    if around.stateful_sets.get((pod.ref.namespace, pod.workload)) == service.ref.name:
        return pod.ref.name
    return ""


def _identity(pod: Pod, trust_domain: str) -> SpiffeId:
    return SpiffeId(trust_domain=trust_domain, namespace=pod.ref.namespace, service_account=pod.service_account)


def _pods_of_slices(slices: tuple[EndpointSlice, ...], namespace: str, around: Surroundings) -> tuple[Pod, ...]:
    found = (
        _find_pod(namespace, endpoint, address, around)
        for entry in slices
        for endpoint in entry.endpoints
        for address in endpoint.addresses
    )
    return tuple(pod for pod in found if pod is not None)


def _find_pod(namespace: str, endpoint: SliceEndpoint, address: str, around: Surroundings) -> Pod | None:
    namespace = endpoint.pod_namespace or namespace
    if around.managed_slices and endpoint.pod:
        # Addresses are used again: another pod that had this one is not the one that is meant.
        return around.pods.named(namespace, endpoint.pod)
    return around.pods.find(namespace, endpoint.pod, address)


def _without_repeats(pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
    return tuple({pod.ref: pod for pod in pods}.values())
