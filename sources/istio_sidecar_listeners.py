"""What a Sidecar says of listeners: ports, where they are bound, and `ingress`, which is checked and not done yet."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from model.problem_codes import ProblemCode
from model.services import Protocol
from sources.bounded import MAX_PORT
from sources.fields import Fields
from sources.istio_gateway import check_tls_types
from sources.istio_traffic_policy import parse_connection_pool
from sources.kubernetes_names import is_dns_label
from sources.services import select_protocol

CAPTURE_MODES = ("DEFAULT", "IPTABLES", "NONE")
HTTP_PROXY = "HTTP_PROXY"
PROTOCOLS = (
    "HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", HTTP_PROXY, "TCP", "TLS", "UDP", "MONGO", "MYSQL", "REDIS",
)  # fmt: skip
UNIX = "unix://"
MAX_INGRESS = 1000
_OWN_ADDRESSES = ("", "127.0.0.1", "0.0.0.0", "::1", "::")  # compared, not bound
_NOT_AT_SIDECARS = ("subjectAltNames", "credentialName", "credentialNames", "tlsCertificates")
_TLS = ("HTTPS", "TLS")
_NEEDED = {
    "SIMPLE": ("serverCertificate", "privateKey"),
    "MUTUAL": ("serverCertificate", "privateKey", "caCertificates"),
    "OPTIONAL_MUTUAL": ("serverCertificate", "privateKey", "caCertificates"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarPort:
    """`number` 0 stands for a Unix socket; None: it is wrong. `protocol` in capitals, '' for none."""

    number: int | None
    protocol: str

    @property
    def spoken(self) -> Protocol | None:
        """What the protocol means, None if it says nothing."""
        return select_protocol(number=self.number or 0, name=self.protocol) if self.protocol else None


def parse_port(fields: Fields) -> SidecarPort:
    """One `port`, finished."""
    number = fields.integer("number", minimum=0, maximum=MAX_PORT) if fields.has("number") else 0
    fields.ignore("number")
    protocol = fields.text("protocol").upper()
    if protocol and protocol not in PROTOCOLS:
        allowed = ", ".join(PROTOCOLS)
        message = f"protocol is {protocol[:80]!r}, which is none of {allowed}"
        fields.problem(ProblemCode.INVALID_VALUE, message, f"Use one of {allowed}, or none.", field="protocol")
    name = fields.text("name")
    if name and not is_dns_label(name):
        message = f"{name[:80]!r} is no name for a port"
        fields.problem(ProblemCode.INVALID_NAME, message, "Use lower-case letters, digits and '-'.", field="name")
    if fields.integer("targetPort", default=0, minimum=0):
        message = "targetPort has no place in a Sidecar"
        fields.problem(ProblemCode.MISPLACED_FIELD, message, "Remove it.", field="targetPort")
    fields.finish()
    return SidecarPort(number=number, protocol=protocol)


def check_bind(fields: Fields) -> None:
    """`bind` of a listener with a port: an address."""
    text = fields.text("bind")
    try:
        if text:
            ipaddress.ip_address(text)
    except ValueError:
        message = f"bind is {text[:80]!r}, which is no IP address"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Give an IPv4 or IPv6 address, or none.", field="bind")


def check_unix_address(fields: Fields, name: str, text: str) -> None:
    """`unix://` and an absolute path to a file, or `@` and an abstract name."""
    path = text.removeprefix(UNIX)
    if path.startswith("@") or (path.startswith("/") and not path.endswith("/")):
        return
    message = f"{text[:80]!r} names no socket"
    fix = f"Write {UNIX} and an absolute path, or {UNIX}@ and a name."
    fields.problem(ProblemCode.INVALID_VALUE, f"{name}: {message}", fix, field=name)


def check_pool(fields: Fields, name: str) -> None:
    """A connection pool that has no effect yet."""
    parse_connection_pool(fields, name)
    inner = fields.child(name)
    if inner is not None and not (inner.has("tcp") or inner.has("http")):
        fields.problem(ProblemCode.MISSING_FIELD, f"{name} says nothing", "Add tcp or http, or remove it.", field=name)


def check_ingress(spec: Fields) -> None:
    """Every entry of `ingress`."""
    entries = spec.each("ingress")
    if len(entries) > MAX_INGRESS:
        message = f"ingress has {len(entries)} entries, more than {MAX_INGRESS}"
        spec.problem(ProblemCode.TOO_LARGE, message, "Remove some.", field="ingress")
        return
    taken: set[int | None] = set()
    for entry in entries:
        fields = entry.child("port") if entry.required("port") else None
        port = parse_port(fields) if fields is not None else SidecarPort(number=None, protocol="")
        if port.number == 0:
            entry.problem(ProblemCode.MISSING_FIELD, "port.number is missing or 0", "Give the port.", field="port")
        elif port.number in taken:
            message = f"ingress has another entry for port {port.number}"
            entry.problem(ProblemCode.CONFLICTING_FIELDS, message, "Keep one of the two.", field="port")
        taken.update({port.number} - {None})
        check_bind(entry)
        entry.choice("captureMode", CAPTURE_MODES)
        _check_endpoint(entry)
        _check_tls(entry, port)
        check_pool(entry, "connectionPool")
        entry.finish()


def _check_endpoint(entry: Fields) -> None:
    text = entry.text("defaultEndpoint")
    if not text:
        return
    if text.startswith(UNIX):
        check_unix_address(entry, "defaultEndpoint", text)
        return
    host, colon, port = text.rpartition(":")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    right = address in _OWN_ADDRESSES and (":" in address) == (address != host)
    if colon and right and port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= MAX_PORT:
        return
    message = f"defaultEndpoint is {text[:80]!r}, which is no port of the workload's own"
    fix = f"Write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT, :PORT or {UNIX}PATH."
    entry.problem(ProblemCode.INVALID_VALUE, message, fix, field="defaultEndpoint")


def _check_tls(entry: Fields, port: SidecarPort) -> None:
    tls = entry.child("tls")
    if tls is None:
        return
    check_tls_types(tls)
    if port.protocol not in _TLS:
        message = f"tls is for the protocols {' and '.join(_TLS)}, not for {port.protocol or 'a port without one'}"
        entry.problem(ProblemCode.CONFLICTING_FIELDS, message, "Change port.protocol, or remove tls.", field="tls")
    if tls.boolean("httpsRedirect"):
        tls.problem(
            ProblemCode.MISPLACED_FIELD, "only a Gateway has httpsRedirect", "Remove it.", field="httpsRedirect"
        )
    for name in _NOT_AT_SIDECARS:
        node = tls.node(name)
        if node is not None and node.value not in ("", ()):
            fix = "Use serverCertificate, privateKey and caCertificates, or remove it."
            tls.problem(ProblemCode.MISPLACED_FIELD, f"only a Gateway has {name}", fix, field=name)
    mode = tls.text("mode") or "PASSTHROUGH"
    if mode in ("ISTIO_MUTUAL", "AUTO_PASSTHROUGH"):
        message = f"a Sidecar has no mode {mode}"
        tls.problem(ProblemCode.INVALID_VALUE, message, "Use SIMPLE or MUTUAL.", field="mode")
    for name in _NEEDED.get(mode, ()):
        if not tls.text(name):
            message = f"mode {mode} needs {name}"
            tls.problem(ProblemCode.MISSING_FIELD, message, f"Give the path of {name} in the sidecar.", field=name)
    tls.finish()
