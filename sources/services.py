"""The kind Service."""

from __future__ import annotations

from collections.abc import Mapping

from model.problem_codes import ProblemCode
from model.problems import Severity
from model.services import Protocol, Resolution, Service, ServicePort
from sources import ignored_fields
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.kubernetes_names import is_dns_label, is_dns_name, parse_address, parse_addresses
from sources.labels import parse_labels

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
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
    if not root.required("spec"):
        return None
    spec = root.child("spec")
    if spec is None:
        return None
    kind = spec.choice("type", _TYPES, "ClusterIP")
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
    spec.ignore("clusterIP", "clusterIPs", "externalName", "sessionAffinity")
    if spec.text("internalTrafficPolicy") == "Local":
        spec.later("internalTrafficPolicy")
    spec.later("trafficDistribution", "externalIPs")
    spec.finish(ignored_fields.SERVICE_SPEC)
    return service


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
    if needed and not listed and not spec.has("ports"):
        spec.problem(ProblemCode.MISSING_FIELD, "ports is missing", "Add at least one port.", field="ports")
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
    transport = fields.choice("protocol", _TRANSPORTS, "TCP")
    app_protocol = fields.text("appProtocol")
    target = parse_port_reference(fields, "targetPort")
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


def parse_port_reference(fields: Fields, name: str) -> int | str | None:
    """A port as a number or a container port's name, None if absent or wrong."""
    node = fields.node(name)
    if node is None:
        return None
    if isinstance(node.value, str):
        if not node.value.isdigit():
            return fields.text(name)
        if 1 <= int(node.value[:6]) <= 65535:
            return int(node.value)
    return fields.integer(name, minimum=1, maximum=65535)


KIND = Kind(group="", versions=("v1",), kind="Service", parse=parse_service, strict=False)
