"""Services: selectors and ports that lead nowhere, addresses that are taken."""

from __future__ import annotations

from collections.abc import Iterator

from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.services import Protocol, Service
from sources.inventory import Inventory
from sources.kinds import Object
from sources.node_ports import node_ports
from sources.unused_annotations import annotation_without_effect

EXPORT_TO = "networking.istio.io/exportTo"


def check_service(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one Service."""
    service = entry.value
    if not isinstance(service, Service):
        return
    if EXPORT_TO in entry.metadata.annotations:
        yield annotation_without_effect(EXPORT_TO, "metadata", Severity.WARNING)
    pods = inventory.pods(service.ref.namespace, service.selector) if service.selector else ()
    if service.selector and not pods:
        labels = ", ".join(f"{key}={value}" for key, value in service.selector.items())
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.UNUSED_SELECTOR,
            message=f"no pod in namespace {service.ref.namespace} has the labels {labels}",
            fix="Correct the selector, or add the workload it is for.",
            field="spec.selector",
        )
    yield from _check_address(service, entry, inventory)
    yield from _check_node_ports(service, entry, inventory)
    for index, port in enumerate(service.ports):
        if port.protocol is Protocol.DETECT:
            yield Problem(
                severity=Severity.INFO,
                code=ProblemCode.UNDETECTED_PROTOCOL,
                message=f"neither the name nor appProtocol of port {port.number} says what is spoken; it is detected",
                fix="Name the port http, grpc, tcp, ..., or http-..., or set appProtocol.",
                field=f"spec.ports[{index}]",
            )
        if isinstance(port.target, str) and pods and not any(port.target == p.name for pod in pods for p in pod.ports):
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.UNKNOWN_PORT,
                message=f"no container behind {service.ref} has a port named {port.target}",
                fix=f"Name a container port {port.target}, or give targetPort a number.",
                field=f"spec.ports[{index}].targetPort",
            )


def _check_address(service: Service, entry: Object, inventory: Inventory) -> Iterator[Problem]:
    for address in service.addresses:
        others = [ref for ref in inventory.services_at.get(address, ()) if ref != service.ref]
        if others and others[0] < service.ref and entry.find("spec.clusterIP") is not None:
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.ADDRESS_TAKEN,
                message=f"the address {address} is also that of {others[0]}; Kubernetes would refuse the second",
                fix="Remove clusterIP, so that the Service gets an address of its own.",
                field="spec.clusterIP",
            )


def _check_node_ports(service: Service, entry: Object, inventory: Inventory) -> Iterator[Problem]:
    for node_port in node_ports(entry):
        first = inventory.node_ports[node_port.number, node_port.transport][0]
        if first != service.ref:
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.ADDRESS_TAKEN,
                message=f"the nodePort {node_port.number} is also that of {first}; Kubernetes would refuse the second",
                fix="Remove nodePort, so that the Service gets a port of its own.",
                field=node_port.field,
            )
