"""What a pod listens on, as its services and its containers declare it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from model.mesh import InboundPort
from model.pods import Pod, ProxyKind
from model.services import Protocol, Service
from sources.keeping import same_objects
from sources.service_endpoints import Backing, resolve_target

_OPAQUE = frozenset({Protocol.TCP, Protocol.TLS})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Declared:
    """The declared ports of one pod, with what they were derived from.

    `targets`, of gateway pods alone: the port of a Service that selects it, to the pod's own. Of several Services with
    the same port the first by host decides.
    """

    pod: Pod
    services: tuple[Service, ...]
    ports: tuple[InboundPort, ...]
    targets: Mapping[int, int] = field(default_factory=dict)


def declare_ports(
    pods: Mapping[tuple[str, str], Pod], backings: Iterable[Backing], previous: Mapping[tuple[str, str], Declared]
) -> Mapping[tuple[str, str], Declared]:
    """What every pod declares; worked out again only where the pod or its services changed."""
    services: defaultdict[tuple[str, str], list[Service]] = defaultdict(list)
    for backing in backings:
        for pod in backing.pods:
            services[pod.ref.namespace, pod.ref.name].append(backing.service)
    found = {}
    for key, pod in pods.items():
        own = tuple(services.get(key, ()))
        before = previous.get(key)
        if before is not None and before.pod is pod and same_objects(before.services, own):
            found[key] = before
        else:
            targets = service_targets(pod, own) if pod.proxy is ProxyKind.GATEWAY else {}
            found[key] = Declared(pod=pod, services=own, ports=inbound_ports(pod, own), targets=targets)
    return found


def service_targets(pod: Pod, services: Iterable[Service]) -> dict[int, int]:
    """Where each Service port leads to in a pod, by number; UDP is left out."""
    found: dict[int, int] = {}
    for service in services:
        for port in service.ports:
            number = resolve_target(port, pod) if port.protocol is not Protocol.UDP else None
            if number is not None:
                found.setdefault(port.number, number)
    return dict(sorted(found.items()))


def inbound_ports(pod: Pod, services: Iterable[Service]) -> tuple[InboundPort, ...]:
    """The ports of one pod, by number; UDP is left out. Services that disagree leave it to detection."""
    said: defaultdict[int, set[Protocol]] = defaultdict(set)
    for service in services:
        for port in service.ports:
            number = resolve_target(port, pod) if port.protocol is not Protocol.UDP else None
            if number is not None:
                said[number].add(port.protocol)
    for own in pod.ports:
        if own.protocol == "TCP" and own.number not in said:
            said[own.number].add(Protocol.DETECT)
    return tuple(InboundPort(number=number, protocol=_agreed(said[number])) for number in sorted(said))


def _agreed(protocols: set[Protocol]) -> Protocol:
    if len(protocols) == 1:
        return next(iter(protocols))
    return Protocol.TCP if protocols <= _OPAQUE else Protocol.DETECT
