"""Istio's Gateway: HTTP servers, and HTTPS servers whose TLS the gateway ends itself (SIMPLE)."""

from __future__ import annotations

from model.gateways import Gateway, Server, ServerHost, ServerProtocol, ServerTls, TlsVersion
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.bounded import checked, checked_texts, port_number
from sources.fields import Fields
from sources.hosts import HOST_FIX, check_host
from sources.kinds import Kind, Metadata
from sources.kubernetes_names import is_dns_label, is_dns_name
from sources.labels import parse_labels

MAX_SERVERS = 1000
MAX_HOSTS = 1000

SIMPLE = "SIMPLE"
MODES = (SIMPLE, "PASSTHROUGH", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL")
_HTTP = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
_OPAQUE = ("TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP")
OWN_PORTS = (15020, 15021, 15090)
"""Where a gateway itself answers probes, readiness and metrics (`translators.well_known_ports`)."""
_NOT_SIMPLE = ("serverCertificate", "privateKey", "credentialNames", "tlsCertificates")
"""Where else a certificate may come from."""
_OF_MUTUAL = (
    "caCertificates",
    "caCrl",
    "caCertCredentialName",
    "subjectAltNames",
    "verifyCertificateSpki",
    "verifyCertificateHash",
    "insecureSkipVerify",
)
"""Fields about certificates of clients."""
_TEXTS_OF_TLS = (
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "caCrl",
    "credentialName",
    "caCertCredentialName",
)
_LISTS_OF_TLS = (
    "credentialNames",
    "subjectAltNames",
    "verifyCertificateSpki",
    "verifyCertificateHash",
    "cipherSuites",
)
_OF_TLS = (
    "mode",
    "minProtocolVersion",
    "maxProtocolVersion",
    "insecureSkipVerify",
    "tlsCertificates",
    *_TEXTS_OF_TLS,
    *_LISTS_OF_TLS,
)
"""All of `tls` but the redirect."""
CIPHER_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""What Envoy's BoringSSL has with forward secrecy. Those of TLS 1.3 are fixed and cannot be chosen."""


def parse_gateway(fields: Fields, metadata: Metadata) -> Gateway | None:
    """The object's value, None after an error."""
    spec = fields.child("spec") if fields.required("spec") else None
    if spec is None:
        return None
    selector = parse_labels(spec, "selector")
    unserved: list[ServerHost] = []
    servers = _servers(spec, metadata.ref.namespace, unserved)
    spec.finish()
    if spec.report.failed:
        return None
    return Gateway(
        ref=metadata.ref, selector=selector, servers=servers, unserved=tuple(unserved), created=metadata.created
    )


def _servers(spec: Fields, namespace: str, unserved: list[ServerHost]) -> tuple[Server, ...]:
    """The servers; `unserved` gets the hosts of those that are left out."""
    entries = spec.each("servers") if spec.required("servers") else ()
    if spec.has("servers") and not entries and not spec.report.failed:
        spec.problem(ProblemCode.MISSING_FIELD, "servers is empty", "Add a server.", field="servers")
    if len(entries) > MAX_SERVERS:
        message = f"servers has {len(entries)} entries, more than {MAX_SERVERS}"
        spec.problem(ProblemCode.TOO_LARGE, message, "Split the object.", field="servers")
        return ()
    found: list[Server] = []
    names: set[str] = set()
    for index, entry in enumerate(entries):
        server = _server(entry, index, namespace, names, unserved)
        if server is not None:
            found.append(server)
    return tuple(found)


def _server(fields: Fields, index: int, namespace: str, names: set[str], unserved: list[ServerHost]) -> Server | None:
    hosts = _hosts(fields, namespace)
    fields.ignore("name", "defaultEndpoint")
    port = fields.child("port") if fields.required("port") else None
    served = _bound_anywhere(fields)
    if port is None:
        fields.ignore("tls")
        fields.finish()
        return None
    number = port_number(port, "number") if port.required("number") else None
    written = port.required_text("protocol")
    name = _port_name(port, names)
    port.later("targetPort")
    port.finish()
    protocol = _protocol(port, written)
    tls = fields.child("tls")
    redirect, secure = False, None
    if protocol is ServerProtocol.HTTP:
        redirect = _redirect(tls)
    elif protocol is ServerProtocol.HTTPS:
        secure = _tls(fields, tls)
    elif tls is not None:
        tls.ignore(*tls.names())
    fields.finish()
    if number in OWN_PORTS:
        message = f"port {number} is the gateway's own (readiness, metrics, probes)"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Choose another port.", field="port")
    if number is None or protocol is None or not served:
        unserved.extend(hosts)
        return None
    return Server(
        index=index,
        port=number,
        protocol=protocol,
        port_name=name,
        hosts=hosts,
        tls=secure,
        https_redirect=redirect,
    )


def _bound_anywhere(fields: Fields) -> bool:
    """Whether the server may listen on all addresses. One that names its own is not opened to everybody instead."""
    if not fields.text("bind"):
        return True
    _not_served(fields, "bind is not implemented yet; this server is not served", "Remove bind.", "bind")
    return False


def _hosts(fields: Fields, namespace: str) -> tuple[ServerHost, ...]:
    if not fields.required("hosts"):
        return ()

    def check(text: str) -> ServerHost:
        owner, slash, host = text.rpartition("/")
        if not slash:
            return ServerHost(host=check_host(host))
        if owner not in ("*", ".") and not is_dns_label(owner):
            raise ValueError(f"{text[:80]!r}: {owner[:63]!r} is no namespace")
        return ServerHost(host=check_host(host), namespace=namespace if owner == "." else owner)

    fix = HOST_FIX + " Before it may stand a namespace and '/', whose VirtualServices alone may use it."
    hosts = checked_texts(fields, "hosts", check, fix=fix, code=ProblemCode.INVALID_HOST)
    if not hosts and not fields.report.failed:
        fields.problem(ProblemCode.MISSING_FIELD, "hosts is empty", "Name a host, or '*' for all.", field="hosts")
    if len(hosts) > MAX_HOSTS:
        message = f"hosts has {len(hosts)} entries, more than {MAX_HOSTS}"
        fields.problem(ProblemCode.TOO_LARGE, message, "Use a wildcard.", field="hosts")
    return tuple(dict.fromkeys(hosts))


def _port_name(port: Fields, names: set[str]) -> str:
    name = port.required_text("name")
    if name and not is_dns_label(name.lower()):
        message = f"{name[:80]!r} is no name for a port"
        port.problem(ProblemCode.INVALID_NAME, message, "Use letters, digits and '-'.", field="name")
    elif name in names:
        message = f"two servers of this Gateway have the port name {name!r}"
        port.problem(ProblemCode.CONFLICTING_FIELDS, message, "Give each port a name of its own.", field="name")
    names.add(name)
    return name


def _protocol(port: Fields, written: str) -> ServerProtocol | None:
    protocol = written.upper()
    if protocol in _HTTP:
        return ServerProtocol.HTTP
    if protocol == ServerProtocol.HTTPS:
        return ServerProtocol.HTTPS
    if protocol in _OPAQUE:
        message = f"the protocol {protocol} is not implemented yet for gateways; this server is not served"
        _not_served(port, message, "Use HTTP or HTTPS.", "protocol")
    elif written:
        allowed = ", ".join((*_HTTP, ServerProtocol.HTTPS))
        message = f"protocol is {written[:80]!r}, which is none of {allowed}"
        port.problem(ProblemCode.INVALID_VALUE, message, f"Use one of {allowed}.", field="protocol")
    return None


def _redirect(tls: Fields | None) -> bool:
    """Plain HTTP has one setting of TLS: to be sent to it."""
    if tls is None:
        return False
    redirect = tls.boolean("httpsRedirect")
    check_tls_types(tls)
    for name in tls.names():
        if name in _OF_TLS:
            message = f"{name} has no effect on an HTTP server, which speaks no TLS"
            fix = f"Remove {name}, or make the protocol HTTPS."
            tls.problem(ProblemCode.CONFLICTING_FIELDS, message, fix, field=name, severity=Severity.WARNING)
    tls.finish()
    return redirect


def check_tls_types(tls: Fields) -> None:
    """What has no effect must be right in itself all the same: a cluster's API server refuses it otherwise."""
    tls.choice("mode", MODES)
    tls.choice("minProtocolVersion", TlsVersion)
    tls.choice("maxProtocolVersion", TlsVersion)
    tls.boolean("insecureSkipVerify")
    for name in _TEXTS_OF_TLS:
        tls.text(name)
    for name in _LISTS_OF_TLS:
        tls.texts(name)
    for certificate in tls.each("tlsCertificates"):
        for name in ("serverCertificate", "privateKey", "caCertificates"):
            certificate.text(name)
        certificate.finish()


def _tls(server: Fields, tls: Fields | None) -> ServerTls | None:
    if tls is None:
        fix = "Add tls with mode: SIMPLE and a credentialName."
        server.problem(ProblemCode.MISSING_FIELD, "an HTTPS server needs tls", fix, field="tls")
        return None
    if tls.boolean("httpsRedirect"):
        message = "httpsRedirect has no effect on an HTTPS server: it sends plain HTTP to HTTPS"
        fix = "Set it on the HTTP server of the same hosts."
        tls.problem(ProblemCode.CONFLICTING_FIELDS, message, fix, field="httpsRedirect", severity=Severity.WARNING)
    mode = tls.choice("mode", MODES)
    if not mode and tls.has("mode"):
        tls.ignore(*tls.names())
        return None
    if mode != SIMPLE:
        shown = f"the mode {mode}" if mode else "TLS without a mode (PASSTHROUGH)"
        message = f"{shown} is not implemented yet; connections for these hosts are refused"
        _not_served(tls, message, "Use mode: SIMPLE.", "mode" if tls.has("mode") else "")
        tls.ignore(*tls.names())
        return None
    minimum = tls.choice("minProtocolVersion", TlsVersion, TlsVersion.TLS_AUTO)
    maximum = tls.choice("maxProtocolVersion", TlsVersion, TlsVersion.TLS_AUTO)
    _check_versions(tls, minimum, maximum)
    suites = checked_texts(tls, "cipherSuites", _cipher_suite, fix=f"Use one of {', '.join(CIPHER_SUITES)}.")
    name = _credential(tls)
    tls.later(*_OF_MUTUAL)
    elsewhere = [field for field in _NOT_SIMPLE if tls.has(field)]
    tls.ignore(*_NOT_SIMPLE)
    if elsewhere:
        message = f"{elsewhere[0]} is not implemented yet" + (
            "" if name else "; connections for these hosts are refused"
        )
        _not_served(tls, message, "Use credentialName.", elsewhere[0])
    elif not name and not tls.report.failed:
        fix = "Name a Secret of the gateway pod's namespace."
        tls.problem(ProblemCode.MISSING_FIELD, "mode SIMPLE needs a credentialName", fix, field="credentialName")
    tls.finish()
    return ServerTls(credential=name, minimum=minimum, maximum=maximum, cipher_suites=suites) if name else None


def _credential(tls: Fields) -> str:
    def check(text: str) -> str:
        if not is_dns_name(text):
            raise ValueError(f"{text[:80]!r} is no name of a Secret")
        return text

    fix = "Give the bare name of a Secret; it is looked for in the namespace of the gateway's pod."
    return checked(tls, "credentialName", check, "", fix=fix)


def _check_versions(tls: Fields, minimum: TlsVersion, maximum: TlsVersion) -> None:
    order = list(TlsVersion)
    if TlsVersion.TLS_AUTO not in (minimum, maximum) and order.index(minimum) > order.index(maximum):
        message = f"minProtocolVersion is {minimum}, above maxProtocolVersion {maximum}"
        tls.problem(ProblemCode.INVALID_VALUE, message, "Exchange them.", field="minProtocolVersion")


def _cipher_suite(text: str) -> str:
    if text not in CIPHER_SUITES:
        raise ValueError(f"{text[:80]!r} is no cipher suite that Envoy has")
    return text


def _not_served(fields: Fields, message: str, fix: str, field: str) -> None:
    fields.problem(ProblemCode.NOT_IMPLEMENTED, message, fix, field=field, severity=Severity.WARNING)


KIND = Kind(
    group="networking.istio.io",
    versions=("v1", "v1beta1", "v1alpha3"),
    kind="Gateway",
    parse=parse_gateway,
)
