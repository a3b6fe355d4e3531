"""Services and workloads: selectors, ports and service accounts that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from model.pods import DEFAULT_SERVICE_ACCOUNT, Workload
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from model.services import Protocol, Service
from sources.cluster_objects import PodManifest
from sources.inventory import Inventory
from sources.kinds import Object


def check_service(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one Service."""
    service = entry.value
    if not isinstance(service, Service):
        return
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


def check_workload(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one Deployment, StatefulSet or Pod."""
    match entry.value:
        case Workload() as workload:
            spec = "spec.template.spec"
        case PodManifest(workload=workload):
            spec = "spec"
        case _:
            return
    account = workload.template.service_account
    if account != DEFAULT_SERVICE_ACCOUNT and (entry.ref.namespace, account) not in inventory.service_accounts:
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.UNKNOWN_SERVICE_ACCOUNT,
            message=f"there is no ServiceAccount {account} in namespace {entry.ref.namespace}",
            fix=f"Add the ServiceAccount {account}; Kubernetes would not start the pods without it.",
            field=f"{spec}.serviceAccountName",
        )
