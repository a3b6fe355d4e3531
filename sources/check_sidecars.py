"""Sidecars: in each other's way, for nobody, and hosts or ports that nothing has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.names import host_namespace
from model.pods import Pod, ProxyKind
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.services import Protocol, Service
from model.sidecars import ANY_NAMESPACE, OWN_NAMESPACE, Egress, EgressHost, Sidecar
from sources.inventory import Inventory
from sources.kinds import Object

SELECTOR = "spec.workloadSelector.labels"


def check_sidecar(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one Sidecar."""
    value = entry.value
    if not isinstance(value, Sidecar):
        return
    pods = _pods(value, inventory)
    if value.selector and not pods:
        yield _unused_selector(value)
    yield from _check_others(value, pods, inventory)
    for each in value.egress or ():
        for index, host in enumerate(each.hosts):
            yield from _check_host(value, each, host, f"spec.egress[{each.index}].hosts[{index}]", inventory)
        yield from _check_protocol(value, each, inventory)


def _pods(value: Sidecar, inventory: Inventory) -> list[Pod]:
    """The pods that it selects. It is for no gateway."""
    found = inventory.pods(value.ref.namespace, value.selector or {})
    return [pod for pod in found if pod.proxy is ProxyKind.SIDECAR]


def _unused_selector(value: Sidecar) -> Problem:
    labels = ", ".join(f"{key}={label}" for key, label in sorted((value.selector or {}).items()))
    return Problem(
        severity=Severity.WARNING,
        code=ProblemCode.UNUSED_SELECTOR,
        message=f"no pod in namespace {value.ref.namespace} has the labels {labels} (gateways do not count)",
        fix="Correct the labels, or add the workload they are for. A selector reaches into no other namespace.",
        field=SELECTOR,
    )


def _check_others(value: Sidecar, pods: Sequence[Pod], inventory: Inventory) -> Iterator[Problem]:
    """The first of those that apply before this one to the same workloads, with or without selectors as this one."""
    left = list(pods)
    for other in _earlier(value, inventory):
        same = other.selector == value.selector
        shared = [pod for pod in left if (other.selector or {}).items() <= pod.labels.items()]
        if not same and not shared:
            continue
        left = [pod for pod in left if pod not in shared]
        none_left = same or not left
        effect = "this object is not" if none_left else f"this object is not for {len(shared)} of {len(pods)} workloads"
        yield Problem(
            severity=Severity.ERROR if none_left else Severity.WARNING,
            code=ProblemCode.CONFLICTING_SIDECARS,
            message=f"{other.ref} is for the same workloads and older, so it is in force and {effect}",
            fix="Remove one of the two, or give them selectors that exclude each other (Istio promises no order).",
            field="" if value.selector is None else SELECTOR,
        )
        if none_left:
            return


def _earlier(value: Sidecar, inventory: Inventory) -> Iterator[Sidecar]:
    namespace = value.ref.namespace
    for choice in inventory.mesh.sidecar_choices.get(namespace, ()):
        if choice.name == value.ref.name:
            return
        other = inventory.mesh.sidecars[namespace, choice.name]
        if (other.selector is None) == (value.selector is None):
            yield other


def _check_host(value: Sidecar, entry: Egress, host: EgressHost, field: str, inventory: Inventory) -> Iterator[Problem]:
    own = value.ref.namespace
    if host.namespace == OWN_NAMESPACE and own == inventory.mesh.settings.root_namespace and value.selector is None:
        return
    owner = host.owner(own)
    if owner not in (ANY_NAMESPACE, *inventory.namespaces):
        yield _unused_host(f"there is no namespace {owner}", "Correct the namespace.", field)
        return
    if host.host.startswith("*"):
        return
    service = inventory.mesh.services.get(host.host)
    if service is not None and host.is_of(service.ref.namespace, own):
        if entry.port is not None and not host.excluded and not _has(service, entry.port):
            yield _unknown_port(service, entry.port, field)
        return
    routes = inventory.mesh.virtual_services.get(host.host, ())
    if any(host.is_of(route.ref.namespace, own) for route in routes):
        return
    if service is not None:
        fix = f"Write {service.ref.namespace}/{host.host}."
        yield _unused_host(f"{host.host} is a service of namespace {service.ref.namespace}, not of {owner}", fix, field)
        return
    meant = inventory.suggest_host(host.host, host_namespace(host.host) or own)
    fix = f"Did you mean {host_namespace(meant)}/{meant}?" if meant else "Correct the host, or add the Service."
    yield _unused_host(f"there is no service {host.host}", fix, field)


def _has(service: Service, number: int) -> bool:
    return any(port.number == number and port.protocol is not Protocol.UDP for port in service.ports)


def _unused_host(message: str, fix: str, field: str) -> Problem:
    return Problem(severity=Severity.WARNING, code=ProblemCode.UNUSED_HOST, message=message, fix=fix, field=field)


def _unknown_port(service: Service, number: int, field: str) -> Problem:
    ports = ", ".join(str(port.number) for port in service.ports)
    return Problem(
        severity=Severity.WARNING,
        code=ProblemCode.UNKNOWN_PORT,
        message=f"{service.host} has no port {number}, for which this entry is",
        fix=f"Use one of its ports: {ports}." if ports else "Add the port to the Service.",
        field=field,
    )


def _check_protocol(value: Sidecar, entry: Egress, inventory: Inventory) -> Iterator[Problem]:
    """A protocol beside the port's number that is not what a Service says of its port: only the latter counts."""
    if entry.port is None or entry.protocol is None:
        return
    for service in inventory.mesh.services.values():
        port = service.port(entry.port)
        if port is None or port.protocol.is_http == entry.protocol.is_http:
            continue
        if entry.names(service.host, service.ref.namespace, value.ref.namespace):
            said = f"{service.ref} says {port.protocol} of port {port.number}"
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.NOT_IMPLEMENTED,
                message=f"protocol has no effect: {said}, and that counts",
                fix="Name the protocol in the Service: its port's name or appProtocol.",
                field=f"spec.egress[{entry.index}].port.protocol",
            )
            return
