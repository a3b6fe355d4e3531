"""The mesh-wide settings: key `mesh` of the ConfigMap `istio` in `istio-system`. Source: Istio's MeshConfig."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from model import identity
from model.identity import DEFAULT_TRUST_DOMAIN
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from model.settings import MeshSettings, OutboundTraffic, PathNormalization
from sources.access_log_format import check_log_format
from sources.cluster_objects import ConfigMap
from sources.fields import Fields, Report
from sources.istio_resilience import parse_retries
from sources.kinds import Object
from sources.kubernetes_names import is_dns_label
from sources.yaml_documents import Document, Node, NotYaml, read_documents

MESH_KEY = "mesh"
MESH_CONFIG = ObjectRef(kind="ConfigMap", namespace="istio-system", name="istio")

ACCESS_LOG_STREAMS = ("/dev/stdout", "/dev/stderr")
_LATER = (
    "proxyListenPort",
    "proxyInboundListenPort",
    "proxyHttpPort",
    "hboneIdleTimeout",
    "tcpKeepalive",
    "ingressClass",
    "ingressService",
    "ingressControllerMode",
    "ingressSelector",
    "enableTracing",
    "enableEnvoyAccessLogService",
    "disableEnvoyListenerLog",
    "defaultConfig",
    "inboundTrafficPolicy",
    "configSources",
    "caCertificates",
    "defaultServiceExportTo",
    "localityLbSetting",
    "zoneAwareLbSetting",
    "dnsRefreshRate",
    "h2UpgradePolicy",
    "inboundClusterStatName",
    "outboundClusterStatName",
    "certificates",
    "serviceSettings",
    "serviceScopeConfigs",
    "enablePrometheusMerge",
    "verifyCertificateAtClient",
    "ca",
    "extensionProviders",
    "defaultProviders",
    "discoverySelectors",
    "meshMTLS",
    "tlsDefaults",
    "defaultTrafficPolicy",
    "serviceEntryVisibility",
)
_MILLISECOND = timedelta(milliseconds=1)
_RESTART = (
    "start the mesh again: `heddle local down` and `heddle local up`; or end `heddle serve`, move its authority away "
    "(the error of its next start names the directory), start it, and give every sidecar a new `heddle bootstrap`"
)
_RESTART_IN_CLUSTER = (
    "delete the Secret heddle-ca in Heddle's namespace, `kubectl rollout restart` Heddle's Deployment, and start every "
    "pod with a sidecar again: it is another mesh then"
)


class _Normalization(StrEnum):
    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


def parse_mesh_config(node: Node, report: Report) -> MeshSettings | None:
    """The settings in the text of `node`, None if it is none. Lines are those of the file the text stands in."""
    if not isinstance(node.value, str):
        return None
    offset = node.line - (0 if node.block else 1)
    place = f"data.{MESH_KEY}"
    try:
        documents = read_documents(node.value.encode())
    except NotYaml as error:
        fix = "Correct the YAML inside."
        report.add(Severity.ERROR, ProblemCode.MALFORMED_YAML, error.reason, fix, offset + error.line, place)
        return None
    for fault in (fault for document in documents for fault in document.faults):
        report.add(Severity.ERROR, fault.code, fault.message, fault.fix, offset + fault.line, place)
    root = _only(documents)
    if root is None or not isinstance(root.value, Mapping):
        message = "the mesh configuration must be one YAML mapping"
        report.add(Severity.ERROR, ProblemCode.WRONG_TYPE, message, "Write one mapping.", node.line, place)
        return None
    members = {name: _shifted(member, offset) for name, member in root.value.items()}
    # Of a ConfigMap an unknown field is a warning; in here it is a setting that does not take place.
    outer, report.unknown = report.unknown, Severity.ERROR
    settings = _parse(Fields(members, node.line, report, None, place))
    report.unknown = outer
    return settings


def is_mesh_config(ref: ObjectRef) -> bool:
    """Whether a ConfigMap is the one that holds the settings."""
    return ref == MESH_CONFIG


def check_trust_domain(
    config: Object | None, pinned: str, origin: Position | None, in_cluster: ObjectRef | None = None
) -> list[Problem]:
    """What to say of settings that ask for another trust domain than `pinned`, the one that the mesh began with.

    `origin` is where that one was read, to be named if the ConfigMap is gone. `in_cluster` is the cluster's ConfigMap.
    """
    held = config.value if config is not None else None
    settings = held.settings if isinstance(held, ConfigMap) else None
    said = settings.trust_domain if settings is not None else DEFAULT_TRUST_DOMAIN
    if said == pinned:
        return []
    return [
        Problem(
            severity=Severity.ERROR,
            code=ProblemCode.RESTART_NEEDED,
            message=f"trustDomain is {said!r} now, but {pinned!r} stays in force until the mesh is started again",
            fix=f"Put trustDomain: {pinned} back, or {_RESTART if in_cluster is None else _RESTART_IN_CLUSTER}.",
            object=in_cluster or MESH_CONFIG,
            field=f"data.{MESH_KEY}.trustDomain",
            position=_place_of(config, "trustDomain") if config is not None else origin,
        )
    ]


def _place_of(config: Object, name: str) -> Position:
    """The place of a setting, or of the settings if it is not there."""
    place = config.where(f"data.{MESH_KEY}")
    node = config.find(f"data.{MESH_KEY}")
    if node is None or not isinstance(node.value, str):
        return place
    root = _only(read_documents(node.value.encode()))
    member = root.value.get(name) if root is not None and isinstance(root.value, Mapping) else None
    if member is None:
        return place
    return Position(file=place.file, line=node.line - (0 if node.block else 1) + member.line)


def _only(documents: tuple[Document, ...]) -> Node | None:
    return Node({}, 1) if not documents else documents[0].root if len(documents) == 1 else None


def _shifted(node: Node, offset: int) -> Node:
    value = node.value
    if isinstance(value, tuple):
        value = tuple(_shifted(item, offset) for item in value)
    elif isinstance(value, Mapping):
        value = {name: _shifted(member, offset) for name, member in value.items()}
    return Node(value, node.line + offset, node.written, node.block)


def _parse(fields: Fields) -> MeshSettings:
    defaults = MeshSettings()
    detection = fields.duration("protocolDetectionTimeout", default=defaults.protocol_detection_timeout)
    settings = MeshSettings(
        root_namespace=_parse_namespace(fields, "rootNamespace") or defaults.root_namespace,
        trust_domain=_parse_trust_domain(fields) or DEFAULT_TRUST_DOMAIN,
        trust_domain_aliases=_parse_aliases(fields),
        outbound_traffic=_parse_outbound(fields, defaults.outbound_traffic),
        enable_auto_mtls=fields.boolean("enableAutoMtls", defaults.enable_auto_mtls),
        path_normalization=_parse_normalization(fields, defaults.path_normalization),
        default_retries=parse_retries(fields, "defaultHttpRetryPolicy") or defaults.default_retries,
        connect_timeout=fields.duration("connectTimeout", default=defaults.connect_timeout, minimum=_MILLISECOND),
        protocol_detection_timeout=detection,
        access_log_file=_parse_log_file(fields),
        access_log_format=_parse_log_format(fields),
        access_log_json=fields.choice("accessLogEncoding", ("TEXT", "JSON"), "TEXT") == "JSON",
        default_export_to=_parse_export(fields) or defaults.default_export_to,
    )
    fields.later(*_LATER)
    fields.finish()
    return settings


def _parse_namespace(fields: Fields, name: str) -> str:
    text = fields.text(name)
    if text and not is_dns_label(text):
        message = f"{name} is {text[:80]!r}, which is no namespace"
        fields.problem(ProblemCode.INVALID_NAME, message, "Name a namespace.", field=name)
        return ""
    return text


def _parse_log_file(fields: Fields) -> str:
    path = fields.text("accessLogFile")
    if path and path not in ACCESS_LOG_STREAMS:
        # Nobody here can tell whether every sidecar can open it, and one that cannot refuses all its listeners.
        message = f"access logs to {path[:80]!r} are not implemented yet; sidecars write none"
        fix = "Use /dev/stdout or /dev/stderr."
        severity = Severity.WARNING
        fields.problem(ProblemCode.NOT_IMPLEMENTED, message, fix, field="accessLogFile", severity=severity)
        return ""
    return path


def _parse_log_format(fields: Fields) -> str:
    text = fields.text("accessLogFormat")
    encoding = fields.node("accessLogEncoding")
    try:
        if text:
            check_log_format(text, as_json=encoding is not None and encoding.value == "JSON")
    except ValueError as error:
        fix = "Write '%%' for a percent sign, and Envoy's commands as %NAME% or %REQ(header)%."
        fields.problem(ProblemCode.INVALID_VALUE, f"accessLogFormat: {error}", fix, field="accessLogFormat")
    return text


def _parse_trust_domain(fields: Fields) -> str:
    text = fields.text("trustDomain")
    return text if not text or _is_trust_domain(fields, "trustDomain", text) else ""


def _parse_aliases(fields: Fields) -> tuple[str, ...]:
    listed = enumerate(fields.texts("trustDomainAliases"))
    return tuple(text for index, text in listed if _is_trust_domain(fields, f"trustDomainAliases[{index}]", text))


def _is_trust_domain(fields: Fields, name: str, text: str) -> bool:
    try:
        identity.check_trust_domain(text)
    except ValueError as error:
        fields.problem(ProblemCode.INVALID_VALUE, str(error)[:400], "Use lower-case letters and dots.", field=name)
        return False
    return True


def _parse_outbound(fields: Fields, default: OutboundTraffic) -> OutboundTraffic:
    policy = fields.child("outboundTrafficPolicy")
    if policy is None:
        return default
    # To Istio a policy that is there without a mode is REGISTRY_ONLY, the enumeration's zero.
    mode = policy.choice("mode", OutboundTraffic, OutboundTraffic.REGISTRY_ONLY)
    policy.finish()
    return mode


def _parse_normalization(fields: Fields, default: PathNormalization) -> PathNormalization:
    inner = fields.child("pathNormalization")
    if inner is None:
        return default
    said = inner.choice("normalization", _Normalization, _Normalization.DEFAULT)
    inner.finish()
    return default if said is _Normalization.DEFAULT else PathNormalization(said.value)


def _parse_export(fields: Fields) -> tuple[str, ...]:
    of_routes, of_rules = (fields.texts(f"default{kind}ExportTo") for kind in ("VirtualService", "DestinationRule"))
    if of_rules and of_routes and of_rules != of_routes:
        message = (
            "defaultDestinationRuleExportTo other than defaultVirtualServiceExportTo is not implemented yet; "
            "that of VirtualServices holds for both"
        )
        fields.problem(
            ProblemCode.NOT_IMPLEMENTED,
            message,
            "Give both the same list.",
            field="defaultDestinationRuleExportTo",
            severity=Severity.WARNING,
        )
    return of_routes or of_rules
