"""Workloads: service accounts, data and probes that lead nowhere, and what is said in vain about a sidecar."""

from __future__ import annotations

from collections.abc import Iterator

from model.on_demand import SIDECAR_CONFIG, SidecarConfig, parse_sidecar_config
from model.pods import (
    DEFAULT_SERVICE_ACCOUNT,
    FALSE,
    INJECT,
    TRUE,
    Container,
    HttpGet,
    KeyOf,
    PodTemplate,
    TcpSocket,
    Workload,
)
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Problem, Severity
from sources.cluster_objects import PodManifest
from sources.containers import ALL_SOURCES, KEY_SOURCES
from sources.inventory import Inventory
from sources.kinds import Object
from sources.unused_annotations import annotation_without_effect

PROXY_CONFIG = "proxy.istio.io/config"
_CAPTURE, _SIDECAR = "traffic.sidecar.istio.io/", "sidecar.istio.io/"
_INJECTION_STATUS = "sidecar.istio.io/status"
"""What an injector wrote down, not what anybody asks for."""
_KEY_FIELDS = {kind: name for name, kind in KEY_SOURCES.items()}
_ALL_FIELDS = {kind: name for name, kind in ALL_SOURCES.items()}


def check_workload(entry: Object, inventory: Inventory) -> Iterator[Problem]:
    """The problems of one Deployment, StatefulSet or Pod."""
    match entry.value:
        case Workload() as workload:
            spec = "spec.template.spec"
        case PodManifest(workload=workload):
            spec = "spec"
        case _:
            return
    yield from _check_injection(workload.template, f"{spec.removesuffix('spec')}metadata")
    if workload.template.host_network:
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.NOT_IMPLEMENTED,
            message="a pod on the host's network gets no sidecar: no policy protects it and no route applies to it",
            fix="Remove hostNetwork, if the pod is to be part of the mesh.",
            field=f"{spec}.hostNetwork",
        )
    account = workload.template.service_account
    if account != DEFAULT_SERVICE_ACCOUNT and (entry.ref.namespace, account) not in inventory.service_accounts:
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.UNKNOWN_SERVICE_ACCOUNT,
            message=f"there is no ServiceAccount {account} in namespace {entry.ref.namespace}",
            fix=f"Add the ServiceAccount {account}; Kubernetes would not start the pods without it.",
            field=f"{spec}.serviceAccountName",
        )
    lists = {"initContainers": workload.template.init_containers, "containers": workload.template.containers}
    for name, containers in lists.items():
        for index, container in enumerate(containers):
            for needed, place in _needs(container, f"{spec}.{name}[{index}]"):
                yield from _check_data(needed, place, entry, inventory)
            yield from _check_probes(container, f"{spec}.{name}[{index}]")


def _check_probes(container: Container, path: str) -> Iterator[Problem]:
    probes = (("readinessProbe", container.readiness), ("livenessProbe", container.liveness))
    for field, probe in (*probes, ("startupProbe", container.startup)):
        if probe is None or not isinstance(probe.check, HttpGet | TcpSocket):
            continue
        wanted = probe.check.port
        if isinstance(wanted, str) and not any(port.name == wanted for port in container.ports):
            kind = "httpGet" if isinstance(probe.check, HttpGet) else "tcpSocket"
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.UNKNOWN_PORT,
                message=f"the container has no port named {wanted[:80]!r}; the probe never succeeds",
                fix=f"Name a container port {wanted[:80]}, or give the port's number.",
                field=f"{path}.{field}.{kind}.port",
            )


def _check_injection(template: PodTemplate, path: str) -> Iterator[Problem]:
    for where, values in (("labels", template.labels), ("annotations", template.annotations)):
        said = values.get(INJECT)
        if said is not None and said.lower() not in (*TRUE, *FALSE):
            yield Problem(
                severity=Severity.WARNING,
                code=ProblemCode.INVALID_VALUE,
                message=f"{INJECT} is {said[:80]!r}, which says nothing about a sidecar",
                fix="Write 'true' or 'false'.",
                field=f"{path}.{where}['{INJECT}']",
            )
    try:
        parse_sidecar_config(template.annotations)
    except ValueError:
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.INVALID_VALUE,
            message=(
                f"{SIDECAR_CONFIG} is {template.annotations[SIDECAR_CONFIG][:80]!r}, which says nothing about how a "
                "sidecar learns its destinations; the mesh's setting holds"
            ),
            fix=f"Write {', '.join(repr(word.value) for word in SidecarConfig)}.",
            field=f"{path}.annotations['{SIDECAR_CONFIG}']",
        )
    if SIDECAR_CONFIG in template.labels:
        yield Problem(
            severity=Severity.WARNING,
            code=ProblemCode.MISPLACED_FIELD,
            message=f"{SIDECAR_CONFIG} is an annotation; as a label it has no effect",
            fix="Put it under annotations.",
            field=f"{path}.labels['{SIDECAR_CONFIG}']",
        )
    for name in template.annotations:
        severity = _severity_of(name)
        if severity is not None:
            yield annotation_without_effect(name, path, severity)


def _severity_of(annotation: str) -> Severity | None:
    """How bad it is that an annotation of a pod has no effect, None for one that has or needs none."""
    if annotation == PROXY_CONFIG or annotation.startswith(_CAPTURE):
        return Severity.WARNING
    if annotation.startswith(_SIDECAR) and annotation not in (INJECT, _INJECTION_STATUS):
        return Severity.INFO
    return None


def _needs(container: Container, path: str) -> Iterator[tuple[KeyOf, str]]:
    """The data that must be there before the container starts, and where that is said. An empty key: any."""
    for index, variable in enumerate(container.env):
        if isinstance(variable.value, KeyOf) and not variable.value.optional:
            yield variable.value, f"{path}.env[{index}].valueFrom.{_KEY_FIELDS[variable.value.kind]}"
    for index, source in enumerate(container.env_from):
        if not source.optional:
            yield (
                KeyOf(kind=source.kind, name=source.name, key=""),
                f"{path}.envFrom[{index}].{_ALL_FIELDS[source.kind]}",
            )


def _check_data(needed: KeyOf, place: str, entry: Object, inventory: Inventory) -> Iterator[Problem]:
    ref = ObjectRef(kind=needed.kind, namespace=entry.ref.namespace, name=needed.name)
    keys = inventory.data.get(ref)
    if keys is None:
        field = f"{place}.name"
        message = f"there is no {ref}; the container is not started"
        fix = f"Add the {needed.kind}, or set optional: true."
    elif needed.key and needed.key not in keys:
        field = f"{place}.key"
        message = f"{ref} has no key {needed.key[:80]!r}; the container is not started"
        fix = f"Use one of its keys: {', '.join(sorted(keys)[:10])}." if keys else "Add the key."
    else:
        return
    yield Problem(severity=Severity.WARNING, code=ProblemCode.UNKNOWN_DATA, message=message, fix=fix, field=field)
