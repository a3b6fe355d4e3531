"""Containers and their probes, as pods and pod templates list them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType

from model.pods import (
    Container,
    ContainerPort,
    EnvFrom,
    EnvVar,
    Exec,
    FieldPath,
    HttpGet,
    KeyOf,
    Literal,
    Probe,
    TcpSocket,
)
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources import ignored_fields
from sources.bounded import one_of
from sources.fields import Fields
from sources.kubernetes_names import is_dns_label, is_port_name
from sources.services import PORT_NAME_FIX, parse_port_reference

KEY_SOURCES: Mapping[str, str] = MappingProxyType({"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"})
"""The fields of `valueFrom` that name one key, and the kinds they name."""
ALL_SOURCES: Mapping[str, str] = MappingProxyType({"configMapRef": "ConfigMap", "secretRef": "Secret"})
"""The fields of `envFrom[]`, and the kinds they name."""
_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")
_SOURCES_LATER = ("resourceFieldRef", "fileKeyRef")

DOWNWARD_FIELDS = frozenset(
    (
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    )
)
"""What `fieldRef` may name. Source: Kubernetes, "Downward API", available fields."""
_DOWNWARD_KEYS = re.compile(r"metadata\.(?:labels|annotations)\['[^']+'\]")


def parse_containers(spec: Fields, name: str, *, others: Sequence[Container] = ()) -> tuple[Container, ...]:
    """The containers in one list of a pod's spec. Their names differ from each other's and from those of `others`."""
    found: list[Container] = []
    for fields in spec.each(name):
        container = _parse_container(fields)
        if any(other.name == container.name for other in (*others, *found)):
            message = f"the container name {container.name!r} stands twice"
            fields.problem(ProblemCode.INVALID_NAME, message, "Give each container its own name.", field="name")
        found.append(container)
    return tuple(found)


def _parse_container(fields: Fields) -> Container:
    name = fields.required_text("name")
    if name and not is_dns_label(name):
        message = f"{name[:80]!r} is no name for a container"
        fix = "Use up to 63 lower-case letters, digits and '-'."
        fields.problem(ProblemCode.INVALID_NAME, message, fix, field="name")
    container = Container(
        name=name,
        image=fields.text("image"),
        command=fields.texts("command"),
        args=fields.texts("args"),
        working_dir=fields.text("workingDir"),
        env=tuple(_parse_variable(entry) for entry in fields.each("env")),
        env_from=tuple(source for entry in fields.each("envFrom") for source in _parse_all_of(entry)),
        ports=_parse_ports(fields),
        readiness=_parse_probe(fields, "readinessProbe"),
        liveness=_parse_probe(fields, "livenessProbe"),
        startup=_parse_probe(fields, "startupProbe"),
    )
    fields.later("lifecycle", "restartPolicy")
    fields.later("volumeMounts", "securityContext", severity=Severity.INFO)
    fields.finish(ignored_fields.CONTAINER)
    return container


def _parse_variable(fields: Fields) -> EnvVar:
    name = fields.required_text("name")
    if name and ("=" in name or not (name.isascii() and name.isprintable())):
        message = f"{name[:80]!r} is no name for a variable"
        fields.problem(ProblemCode.INVALID_NAME, message, "Use letters, digits and '_'.", field="name")
    text = _without_nul(fields, "value", fields.text("value"))
    source = fields.child("valueFrom")
    fields.finish()
    if source is None:
        return EnvVar(name=name, value=Literal(value=text))
    if text:
        fields.problem(
            ProblemCode.INVALID_VALUE, "value and valueFrom exclude each other", "Remove one.", field="value"
        )
    _check_one(source, ("fieldRef", *KEY_SOURCES, *_SOURCES_LATER))
    value: FieldPath | KeyOf | None = None
    reference = source.child("fieldRef")
    if reference is not None:
        value = FieldPath(path=_parse_path(reference))
        reference.finish(ignored_fields.FIELD_REF)
    for key, kind in KEY_SOURCES.items():
        reference = source.child(key)
        if reference is not None:
            value = KeyOf(
                kind=kind,
                name=reference.required_text("name"),
                key=reference.required_text("key"),
                optional=reference.boolean("optional"),
            )
            reference.finish()
    source.later(*_SOURCES_LATER)
    source.finish()
    return EnvVar(name=name, value=value)


def _without_nul(fields: Fields, name: str, text: str) -> str:
    if "\0" in text:
        message = f"{name} has a NUL in it, which no process can be given"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Remove it.", field=name)
    return text


def _check_one(source: Fields, names: Sequence[str]) -> None:
    one_of(source, *names)
    if not any(source.has(name) for name in names):
        source.problem(ProblemCode.MISSING_FIELD, "it says nothing to read from", f"Add one of {', '.join(names)}.")


def _parse_path(reference: Fields) -> str:
    path = reference.required_text("fieldPath")
    if path and path not in DOWNWARD_FIELDS and not _DOWNWARD_KEYS.fullmatch(path):
        message = f"the downward API has no field {path[:80]!r}"
        fix = f"Use metadata.labels['KEY'], metadata.annotations['KEY'] or one of {', '.join(sorted(DOWNWARD_FIELDS))}."
        reference.problem(ProblemCode.INVALID_VALUE, message, fix, field="fieldPath")
    return path


def _parse_all_of(fields: Fields) -> tuple[EnvFrom, ...]:
    _check_one(fields, tuple(ALL_SOURCES))
    prefix = fields.text("prefix")
    found = []
    for key, kind in ALL_SOURCES.items():
        reference = fields.child(key)
        if reference is not None:
            name, optional = reference.required_text("name"), reference.boolean("optional")
            found.append(EnvFrom(kind=kind, name=name, prefix=prefix, optional=optional))
            reference.finish()
    fields.finish()
    return tuple(found)


def _parse_ports(container: Fields) -> tuple[ContainerPort, ...]:
    found: list[ContainerPort] = []
    for fields in container.each("ports"):
        port = _parse_port(fields)
        if port is None:
            continue
        if port.name and any(other.name == port.name for other in found):
            message = f"the port name {port.name[:80]!r} stands twice"
            fields.problem(ProblemCode.INVALID_NAME, message, "Give each port its own name.", field="name")
        found.append(port)
    return tuple(found)


def _parse_port(fields: Fields) -> ContainerPort | None:
    number = fields.integer("containerPort", minimum=1, maximum=65535) if fields.required("containerPort") else None
    name = fields.text("name")
    if name and not is_port_name(name):
        message = f"{name[:80]!r} is no name for a container's port"
        fields.problem(ProblemCode.INVALID_NAME, message, PORT_NAME_FIX, field="name")
    protocol = fields.defaulted_choice("protocol", ("TCP", "UDP", "SCTP"), "TCP")
    fields.finish(ignored_fields.CONTAINER_PORT)
    return ContainerPort(number=number, name=name, protocol=protocol) if number is not None else None


def _parse_probe(container: Fields, name: str) -> Probe | None:
    fields = container.child(name)
    if fields is None:
        return None
    one_of(fields, *_HANDLERS)
    check = _parse_check(fields)
    fields.later("grpc")
    probe = None
    # As in Kubernetes, 0 is the default.
    delay, period = _seconds(fields, "initialDelaySeconds", 0), _seconds(fields, "periodSeconds", 10)
    timeout = _seconds(fields, "timeoutSeconds", 1)
    successes = fields.integer("successThreshold", minimum=0) or 1
    failures = fields.integer("failureThreshold", minimum=0) or 3
    if name != "readinessProbe" and successes != 1:
        message = f"successThreshold of a {name} can only be 1"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Remove it.", field="successThreshold")
    if check is not None:
        probe = Probe(
            check=check,
            initial_delay=delay,
            period=period,
            timeout=timeout,
            success_threshold=successes,
            failure_threshold=failures,
        )
    elif not any(fields.has(kind) for kind in _HANDLERS):
        message = f"{name} says nothing to check"
        container.problem(ProblemCode.MISSING_FIELD, message, "Add httpGet, tcpSocket or exec.", field=name)
    fields.finish(ignored_fields.PROBE)
    return probe


def _seconds(fields: Fields, name: str, default: int) -> timedelta:
    return timedelta(seconds=fields.integer(name, minimum=0, maximum=10**8) or default)


def _parse_check(fields: Fields) -> HttpGet | TcpSocket | Exec | None:
    check: HttpGet | TcpSocket | Exec | None = None
    get, socket, command = fields.child("httpGet"), fields.child("tcpSocket"), fields.child("exec")
    if get is not None:
        port = parse_port_reference(get, "port") if get.required("port") else None
        scheme = get.defaulted_choice("scheme", ("HTTP", "HTTPS"), "HTTP")
        path, headers = get.text("path", "/") or "/", tuple(_parse_header(each) for each in get.each("httpHeaders"))
        get.later("host")
        get.finish(ignored_fields.HTTP_GET)
        check = HttpGet(port=port, path=path, scheme=scheme, headers=headers) if port else None
    if socket is not None:
        port = parse_port_reference(socket, "port") if socket.required("port") else None
        socket.later("host")
        socket.finish()
        check = TcpSocket(port=port) if port else None
    if command is not None:
        check = Exec(command=command.texts("command"))
        command.finish()
    return check


def _parse_header(fields: Fields) -> tuple[str, str]:
    name, value = fields.required_text("name"), fields.text("value")
    fields.finish()
    return name, value
