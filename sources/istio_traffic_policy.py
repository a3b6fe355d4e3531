"""A DestinationRule's `trafficPolicy`, at every level: connection pool, outlier detection, TLS."""

from __future__ import annotations

from datetime import timedelta

from model.problem_codes import ProblemCode
from model.problems import Severity
from model.traffic import ClientTls, ConnectionPool, OutlierDetection, TcpKeepalive, TlsMode, TrafficPolicy
from sources.bounded import MAX_COUNT, checked, checked_texts, count, deprecate, plain_text, port_number, span
from sources.fields import Fields
from sources.hosts import check_host
from sources.istio_load_balancer import parse_load_balancer

MAX_SNI = 255
"""Envoy's limit."""

_SECOND = timedelta(seconds=1)


def parse_traffic_policy(fields: Fields) -> TrafficPolicy:
    """The field `trafficPolicy` of a rule or a subset, with its `portLevelSettings`."""
    inner = fields.child("trafficPolicy")
    if inner is None:
        return TrafficPolicy()
    ports: dict[int, TrafficPolicy] = {}
    for entry in inner.each("portLevelSettings"):
        port = _port(entry)
        policy = _level(entry)
        entry.finish()
        if port in ports:
            message = f"port {port} has two portLevelSettings"
            entry.problem(ProblemCode.CONFLICTING_FIELDS, message, "Keep one of the two.", field="port")
        if port is not None:
            ports[port] = policy
    policy = _level(inner)
    inner.later("tunnel", "proxyProtocol", severity=Severity.ERROR)
    inner.later("retryBudget")
    inner.finish()
    return TrafficPolicy(
        load_balancer=policy.load_balancer,
        connection_pool=policy.connection_pool,
        outlier_detection=policy.outlier_detection,
        tls=policy.tls,
        ports=dict(sorted(ports.items())),
    )


def _port(entry: Fields) -> int | None:
    entry.required("port")
    fields = entry.child("port")
    if fields is None:
        return None
    fields.required("number")
    port = port_number(fields, "number")
    fields.finish()
    return port


def _level(fields: Fields) -> TrafficPolicy:
    return TrafficPolicy(
        load_balancer=parse_load_balancer(fields),
        connection_pool=parse_connection_pool(fields, "connectionPool"),
        outlier_detection=_outlier_detection(fields),
        tls=_tls(fields),
    )


def parse_connection_pool(outer: Fields, name: str) -> ConnectionPool | None:
    """The pool in a field, None if absent."""
    fields = outer.child(name)
    if fields is None:
        return None
    empty = Fields({}, 0, fields.report)
    tcp, http = fields.child("tcp") or empty, fields.child("http") or empty
    upgrade = http.choice("h2UpgradePolicy", ("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"))
    found = ConnectionPool(
        max_connections=count(tcp, "maxConnections"),
        connect_timeout=span(tcp, "connectTimeout"),
        tcp_keepalive=_keepalive(tcp),
        max_connection_duration=span(tcp, "maxConnectionDuration"),
        tcp_idle_timeout=span(tcp, "idleTimeout", minimum=timedelta(0)),
        max_pending_requests=count(http, "http1MaxPendingRequests"),
        max_requests=count(http, "http2MaxRequests"),
        max_requests_per_connection=count(http, "maxRequestsPerConnection"),
        max_retries=count(http, "maxRetries"),
        http_idle_timeout=span(http, "idleTimeout"),
        h2_upgrade={"UPGRADE": True, "DO_NOT_UPGRADE": False}.get(upgrade),
        use_client_protocol=http.boolean("useClientProtocol"),
        max_concurrent_streams=count(http, "maxConcurrentStreams"),
    )
    if found.use_client_protocol and found.h2_upgrade:
        message = "useClientProtocol and h2UpgradePolicy: UPGRADE exclude each other"
        http.problem(ProblemCode.CONFLICTING_FIELDS, message, "Remove one of them.", field="h2UpgradePolicy")
    http.later("http2KeepAlive")
    tcp.finish()
    http.finish()
    fields.finish()
    return found


def _keepalive(outer: Fields) -> TcpKeepalive | None:
    fields = outer.child("tcpKeepalive")
    if fields is None:
        return None
    found = TcpKeepalive(
        probes=count(fields, "probes"),
        time=span(fields, "time", minimum=_SECOND),
        interval=span(fields, "interval", minimum=_SECOND),
    )
    fields.finish()
    return found


def _outlier_detection(outer: Fields) -> OutlierDetection | None:
    fields = outer.child("outlierDetection")
    if fields is None:
        return None
    gateway = fields.integer("consecutiveGatewayErrors", minimum=0, maximum=MAX_COUNT)
    old = fields.integer("consecutiveErrors", minimum=0, maximum=MAX_COUNT)
    if fields.has("consecutiveErrors"):
        deprecate(fields, "consecutiveErrors", "consecutiveGatewayErrors", why=" (502, 503 and 504)")
        gateway = old if gateway is None else gateway
    found = OutlierDetection(
        consecutive_5xx=fields.integer("consecutive5xxErrors", minimum=0, maximum=MAX_COUNT),
        consecutive_gateway=gateway,
        split_local_origin=fields.boolean("splitExternalLocalOriginErrors"),
        consecutive_local_origin=fields.integer("consecutiveLocalOriginFailures", minimum=0, maximum=MAX_COUNT),
        interval=span(fields, "interval"),
        base_ejection_time=span(fields, "baseEjectionTime"),
        max_ejection_percent=fields.integer("maxEjectionPercent", minimum=0, maximum=100),
        min_health_percent=fields.integer("minHealthPercent", minimum=0, maximum=100),
    )
    fields.later("outlierDetectionHttpErrorCodes")
    fields.finish()
    return found


def _tls(outer: Fields) -> ClientTls | None:
    fields = outer.child("tls")
    if fields is None:
        return None
    fields.required("mode")
    mode = fields.choice("mode", TlsMode)
    # Half a TLS setting is worse than none: without its CA or key a connection would be trusted, or fail, for
    # reasons that the manifest does not show.
    fields.later("credentialName", "caCrl", severity=Severity.ERROR)
    certificate, key = plain_text(fields, "clientCertificate"), plain_text(fields, "privateKey")
    ca = plain_text(fields, "caCertificates")
    names = checked_texts(fields, "subjectAltNames", _subject, fix="Write a DNS name or a SPIFFE id.")
    sni = checked(fields, "sni", _sni, "", fix="Write a DNS name.")
    skip = fields.boolean("insecureSkipVerify")
    if mode is TlsMode.MUTUAL and not fields.has("credentialName"):
        for name, value in (("clientCertificate", certificate), ("privateKey", key)):
            if not value:
                message = f"mode MUTUAL needs {name}"
                fix = f"Give the path of {name} in the sidecar, or use ISTIO_MUTUAL for the mesh's own certificates."
                fields.problem(ProblemCode.MISSING_FIELD, message, fix, field=name)
    if mode is not None and mode is not TlsMode.MUTUAL:
        _unwanted(fields, mode, "clientCertificate", "privateKey")
    if mode in (TlsMode.ISTIO_MUTUAL, TlsMode.DISABLE):
        _unwanted(fields, mode, "caCertificates")
    if skip and (ca or names):
        message = "insecureSkipVerify excludes caCertificates and subjectAltNames"
        fields.problem(
            ProblemCode.CONFLICTING_FIELDS, message, "Remove insecureSkipVerify.", field="insecureSkipVerify"
        )
    fields.finish()
    if mode is None:
        return None
    return ClientTls(
        mode=mode,
        client_certificate=certificate,
        private_key=key,
        ca_certificates=ca,
        subject_alt_names=names,
        sni=sni,
        insecure_skip_verify=skip,
    )


def _unwanted(fields: Fields, mode: TlsMode, *names: str) -> None:
    for name in names:
        if fields.has(name):
            fix = f"Remove {name}, or use mode MUTUAL." if mode is not TlsMode.MUTUAL else f"Remove {name}."
            fields.problem(ProblemCode.CONFLICTING_FIELDS, f"mode {mode} takes no {name}", fix, field=name)


def _subject(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or len(text) > 2048:
        raise ValueError(f"{text[:80]!r} is no subject alternative name")
    return text


def _sni(text: str) -> str:
    if len(text) > MAX_SNI:
        raise ValueError(f"an SNI has at most {MAX_SNI} characters")
    host = check_host(text) if text else ""
    if host.startswith("*"):
        raise ValueError("an SNI has no wildcard")
    return host
