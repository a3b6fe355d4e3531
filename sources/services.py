"""The kind Service."""

from __future__ import annotations

from collections.abc import Mapping

from model.problem_codes import ProblemCode
from model.problems import Severity
from model.services import Protocol, Resolution, Service, ServicePort
from sources import ignored_fields
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.kubernetes_names import is_dns_label, is_dns_name, is_port_name, parse_address, parse_addresses
from sources.labels import parse_labels

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
PORT_NAME_FIX = "Use up to 15 lower-case letters, digits and '-', with a letter among them."
_TRANSPORTS = ("TCP", "UDP", "SCTP")

_BY_NAME: Mapping[str, Protocol] = {
    "http": Protocol.HTTP,
    "http_proxy": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.HTTP2,
    "https": Protocol.TLS,
    "tls": Protocol.TLS,
    "tcp": Protocol.TCP,
    "mongo": Protocol.TCP,
    "mysql": Protocol.TCP,
    "redis": Protocol.TCP,
    "udp": Protocol.UDP,
}
_BY_APP_PROTOCOL: Mapping[str, Protocol] = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.TLS,
}
_SERVER_FIRST_PORTS = frozenset({25, 53, 3306, 27017})
"""Where detection would wait for a client that waits for the server. Source: Istio's well-known ports."""


def select_protocol(*, number: int, name: str, transport: str = "TCP", app_protocol: str = "") -> Protocol:
    """What is spoken on a port: by `appProtocol`, else by the port's name up to its first '-', else DETECT.

    Source: Istio's protocol selection. Well-known server-first ports without either are TCP.
    """
    if transport == "UDP":
        return Protocol.UDP
    if app_protocol in _BY_APP_PROTOCOL:
        return _BY_APP_PROTOCOL[app_protocol]
    hint = (app_protocol or name).lower()
    if hint.startswith("grpc-web"):
        return Protocol.HTTP2
    found = _BY_NAME.get(hint.partition("-")[0])
    if found is not None:
        return found
    return Protocol.TCP if number in _SERVER_FIRST_PORTS else Protocol.DETECT


def parse_service(root: Fields, metadata: Metadata) -> Service | None:
    """A Service, or None without a spec."""
    if not is_dns_label(metadata.ref.name):
        message = f"{metadata.ref.name[:80]!r} is no name for a Service"
        fix = "Use up to 63 lower-case letters, digits and '-'."
        root.problem(ProblemCode.INVALID_NAME, message, fix, field="metadata")
    elif metadata.ref.name[0].isdigit():
        message = f"Kubernetes refuses {metadata.ref.name!r}, unless its feature RelaxedServiceNameValidation is on"
        fix = "Let the name begin with a letter."
        inner = root.child("metadata")
        if inner is not None:
            inner.problem(ProblemCode.INVALID_NAME, message, fix, field="name", severity=Severity.WARNING)
    if not root.required("spec"):
        return None
    spec = root.child("spec")
    if spec is None:
        return None
    kind = spec.defaulted_choice("type", _TYPES, "ClusterIP")
    headless = spec.has("clusterIP") and spec.text("clusterIP") == "None"
    service = Service(
        ref=metadata.ref,
        resolution=Resolution.EXTERNAL_NAME
        if kind == "ExternalName"
        else Resolution.HEADLESS
        if headless
        else Resolution.CLUSTER_IP,
        addresses=() if headless or kind == "ExternalName" else _parse_cluster_addresses(spec),
        ports=_parse_ports(spec, needed=not headless and kind != "ExternalName"),
        selector=parse_labels(spec, "selector"),
        external_name=_parse_external_name(spec) if kind == "ExternalName" else "",
        publish_not_ready=spec.boolean("publishNotReadyAddresses"),
    )
    _check_type(spec, kind)
    spec.ignore("clusterIP", "clusterIPs", "externalName", "sessionAffinity")
    if spec.text("internalTrafficPolicy") == "Local":
        spec.later("internalTrafficPolicy")
    spec.later("trafficDistribution", "externalIPs")
    spec.finish(ignored_fields.SERVICE_SPEC)
    return service


def _check_type(spec: Fields, kind: str) -> None:
    """What a Service of one type may not have. Source: Kubernetes, `ValidateService`."""
    said = spec.text("clusterIP") if spec.has("clusterIP") else ""
    if kind == "ExternalName" and said not in ("", "None"):
        message = "a Service of type ExternalName has no clusterIP"
        spec.problem(ProblemCode.CONFLICTING_FIELDS, message, "Remove clusterIP.", field="clusterIP")
    if kind in ("NodePort", "LoadBalancer") and said == "None":
        message = f"a Service of type {kind} cannot be headless"
        spec.problem(ProblemCode.CONFLICTING_FIELDS, message, "Remove clusterIP, or type.", field="clusterIP")
    taken: set[tuple[int, str]] = set()
    for fields in spec.each("ports"):
        if not fields.has("nodePort"):
            continue
        number, transport = fields.integer("nodePort", minimum=0, maximum=65535), fields.text("protocol", "TCP")
        if not number:
            continue
        if kind == "ClusterIP":
            message = f"a Service of type {kind} has no nodePort"
            fields.problem(
                ProblemCode.CONFLICTING_FIELDS, message, "Remove it, or set type: NodePort.", field="nodePort"
            )
        if (number, transport) in taken:
            message = f"the nodePort {number} stands twice"
            fields.problem(ProblemCode.INVALID_VALUE, message, "Remove one of the two.", field="nodePort")
        taken.add((number, transport))


def _parse_cluster_addresses(spec: Fields) -> tuple[str, ...]:
    if spec.has("clusterIPs"):
        return parse_addresses(spec, "clusterIPs")
    address = parse_address(spec, "clusterIP")
    return (address,) if address else ()


def _parse_external_name(spec: Fields) -> str:
    name = spec.required_text("externalName").rstrip(".").lower()
    if name and not is_dns_name(name):
        message = f"externalName is {name[:80]!r}, which is no DNS name"
        spec.problem(
            ProblemCode.INVALID_VALUE, message, "Give a DNS name such as db.example.com.", field="externalName"
        )
        return ""
    return name


def _parse_ports(spec: Fields, *, needed: bool) -> tuple[ServicePort, ...]:
    found: list[ServicePort] = []
    listed = spec.each("ports")
    node = spec.node("ports")
    if needed and (node is None or node.value == ()):
        what = "ports is empty" if spec.has("ports") else "ports is missing"
        spec.problem(ProblemCode.MISSING_FIELD, what, "Add at least one port.", field="ports")
    for fields in listed:
        port = _parse_port(fields, name_needed=len(listed) > 1)
        if port is None:
            continue
        for other in found:
            if port.name and other.name == port.name:
                message = f"the port name {port.name!r} stands twice"
                fields.problem(ProblemCode.INVALID_VALUE, message, "Give each port its own name.", field="name")
            if other.number == port.number and (other.protocol is Protocol.UDP) == (port.protocol is Protocol.UDP):
                message = f"the port {port.number} stands twice"
                fields.problem(ProblemCode.INVALID_VALUE, message, "Remove one of the two.", field="port")
        found.append(port)
    # Where TCP and UDP share a number, `Service.port` must find the one a sidecar can handle.
    return tuple(sorted(found, key=lambda port: port.protocol is Protocol.UDP))


def _parse_port(fields: Fields, *, name_needed: bool) -> ServicePort | None:
    number = fields.integer("port", minimum=1, maximum=65535) if fields.required("port") else None
    name = fields.required_text("name") if name_needed else fields.text("name")
    if name and not is_dns_label(name):
        message = f"{name[:80]!r} is no name for a Service's port"
        fix = "Use up to 63 lower-case letters, digits and '-'."
        fields.problem(ProblemCode.INVALID_NAME, message, fix, field="name")
    transport = fields.defaulted_choice("protocol", _TRANSPORTS, "TCP")
    app_protocol = fields.text("appProtocol")
    target = None if _is_defaulted(fields, "targetPort") else parse_port_reference(fields, "targetPort")
    fields.finish(ignored_fields.SERVICE_PORT)
    if transport == "SCTP":
        message = "SCTP is not implemented yet; the port is left out"
        fields.problem(
            ProblemCode.NOT_IMPLEMENTED, message, "Use TCP or UDP.", field="protocol", severity=Severity.WARNING
        )
        return None
    if number is None:
        return None
    protocol = select_protocol(number=number, name=name, transport=transport, app_protocol=app_protocol)
    return ServicePort(number=number, name=name, protocol=protocol, target=target or number)


def _is_defaulted(fields: Fields, name: str) -> bool:
    """Whether Kubernetes gives that port its default, although the field is there."""
    node = fields.node(name)
    return node is not None and not isinstance(node.value, bool) and node.value in (0, "")


def parse_port_reference(fields: Fields, name: str) -> int | str | None:
    """A port as a number or a container port's name, None if absent or wrong."""
    node = fields.node(name)
    if node is None:
        return None
    if isinstance(node.value, str):
        if not node.value.isdigit():
            if not is_port_name(node.value):
                message = f"{node.value[:80]!r} is no name of a container's port"
                fields.problem(ProblemCode.INVALID_NAME, message, PORT_NAME_FIX, field=name)
            return fields.text(name)
        if 1 <= int(node.value[:6]) <= 65535:
            return int(node.value)
    return fields.integer(name, minimum=1, maximum=65535)


KIND = Kind(group="", versions=("v1",), kind="Service", parse=parse_service, strict=False)
