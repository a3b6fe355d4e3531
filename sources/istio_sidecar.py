"""Istio's Sidecar: whom it is for, what may be called (`egress`), and what becomes of everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.host_patterns import patterns
from model.problem_codes import ProblemCode
from model.problems import Severity
from model.settings import OutboundTraffic
from model.sidecars import ANY_NAMESPACE, OWN_NAMESPACE, Egress, EgressHost, Sidecar
from sources.bounded import checked_texts
from sources.fields import Fields
from sources.hosts import check_host
from sources.istio_destination import parse_destination
from sources.istio_sidecar_listeners import (
    CAPTURE_MODES,
    HTTP_PROXY,
    UNIX,
    check_bind,
    check_ingress,
    check_pool,
    check_unix_address,
    parse_port,
)
from sources.kinds import Kind, Metadata
from sources.kubernetes_names import is_dns_label
from sources.labels import parse_labels

MAX_EGRESS = 1000
MAX_HOSTS = 10_000

EXCLUDED = "~"
HOST_FIX = "Write NAMESPACE/HOST, such as ./*, shop/*, shop/users.shop.svc.cluster.local or */*.example.com."
_MUST_SAY = ("egress", "ingress", "outboundTrafficPolicy", "inboundConnectionPool")


def parse_sidecar(fields: Fields, metadata: Metadata) -> Sidecar | None:
    """The object's value, None after an error. What Heddle does not do yet is reported, and is not in the value."""
    spec = fields.child("spec") if fields.required("spec") else None
    if spec is None:
        return None
    selector = _selector(spec)
    egress = _egress(spec)
    outbound = _outbound_traffic(spec, metadata.ref.namespace)
    check_ingress(spec)
    check_pool(spec, "inboundConnectionPool")
    spec.later("ingress", "inboundConnectionPool")
    said = (spec.node(name) for name in _MUST_SAY)
    if not any(node is not None and node.value != () for node in said) and not spec.report.failed:
        fix = "Add egress with the hosts that may be called, or outboundTrafficPolicy."
        spec.problem(ProblemCode.MISSING_FIELD, f"the object says nothing: it has none of {', '.join(_MUST_SAY)}", fix)
    spec.finish()
    if spec.report.failed:
        return None
    return Sidecar(
        ref=metadata.ref, selector=selector, egress=egress, outbound_traffic=outbound, created=metadata.created
    )


def _selector(spec: Fields) -> dict[str, str] | None:
    """The labels, None without a selector. What would select more than was written is refused."""
    inner = spec.child("workloadSelector")
    if inner is None:
        return None
    written = inner.child("labels")
    labels = parse_labels(inner, "labels") if written is not None else {}
    for name in written.names() if written is not None else ():
        if written is not None and not written.has(name):
            fix = f"Give {name} a value, or remove it."
            written.problem(ProblemCode.MISSING_FIELD, f"the label {name[:80]!r} has no value", fix, field=name)
    for name in inner.names():
        if name != "labels":
            inner.ignore(name)
            what = "matchLabels is called labels here" if name == "matchLabels" else f"{name!r} stands in it itself"
            fix = "Put the labels under workloadSelector.labels."
            inner.problem(ProblemCode.MISPLACED_FIELD, f"workloadSelector has labels alone: {what}", fix, field=name)
    if not labels and not spec.report.failed:
        message = "workloadSelector has no labels, so the object is for every workload of its namespace"
        fix = "Add labels, or remove workloadSelector."
        spec.problem(ProblemCode.MISSING_FIELD, message, fix, field="workloadSelector", severity=Severity.WARNING)
    return labels


def _egress(spec: Fields) -> tuple[Egress, ...] | None:
    """The entries that say what may be called; () for nothing, None for everything: the list is empty."""
    entries = spec.each("egress")
    if len(entries) > MAX_EGRESS:
        message = f"egress has {len(entries)} entries, more than {MAX_EGRESS}"
        spec.problem(ProblemCode.TOO_LARGE, message, "Leave ports out, so that one entry is for all.", field="egress")
        return None
    taken: set[int | str] = set()
    found: list[Egress] = []
    for index, entry in enumerate(entries):
        hosts = _hosts(entry)
        port = entry.child("port")
        if not entry.has("port") and index < len(entries) - 1:
            message = "an entry without port is for all other ports, and has to be the last one"
            fix = "Move it to the end, or merge it with the last one."
            entry.problem(ProblemCode.CONFLICTING_FIELDS, message, fix, field="port")
        if port is None:
            entry.choice("captureMode", CAPTURE_MODES)
            check_bind(entry)
            entry.later("bind")
            found.append(Egress(index=index, hosts=hosts))
        else:
            found.extend(replace(each, index=index) for each in _on_port(entry, port, hosts, taken))
        if entry.text("captureMode") == "NONE":
            entry.later("captureMode")
        entry.finish()
    return tuple(found) if entries else None


def _on_port(entry: Fields, fields: Fields, hosts: tuple[EgressHost, ...], taken: set[int | str]) -> Sequence[Egress]:
    """The entry of a port, empty if its listener is one that the application has to ask, which is not done yet."""
    port = parse_port(fields)
    mode = entry.choice("captureMode", CAPTURE_MODES)
    bind = entry.text("bind")
    if port.number is None:
        entry.ignore(*entry.names())
        return ()
    key = port.number or bind
    if key in taken:
        message = f"egress has another entry for {f'port {port.number}' if port.number else bind[:80]}"
        entry.problem(ProblemCode.CONFLICTING_FIELDS, message, "Merge the two.", field="port")
    taken.add(key)
    if port.number == 0:
        _check_socket(entry, bind, mode)
        return ()
    check_bind(entry)
    if port.protocol == HTTP_PROXY:
        _unserved(entry, "the protocol HTTP_PROXY is", "port")
        return ()
    entry.later("bind")
    return (Egress(hosts=hosts, port=port.number, protocol=port.spoken),)


def _check_socket(entry: Fields, bind: str, mode: str) -> None:
    if not bind.startswith(UNIX):
        message = "port.number is missing or 0, which stands for a Unix socket"
        entry.problem(
            ProblemCode.MISSING_FIELD, message, f"Give the port, or a bind such as {UNIX}/run/a.sock.", field="port"
        )
        return
    check_unix_address(entry, "bind", bind)
    _unserved(entry, "Unix sockets are", "bind")
    if mode == "IPTABLES":
        message = "captureMode IPTABLES is for ports: nothing captures a Unix socket"
        entry.problem(ProblemCode.CONFLICTING_FIELDS, message, "Write DEFAULT or NONE.", field="captureMode")


def _unserved(entry: Fields, what: str, field: str) -> None:
    message = f"{what} not implemented yet; this entry opens nothing"
    fix = "Remove the entry, or write a port that is captured."
    entry.problem(ProblemCode.NOT_IMPLEMENTED, message, fix, field=field, severity=Severity.WARNING)


def _hosts(entry: Fields) -> tuple[EgressHost, ...]:
    if not entry.required("hosts"):
        return ()
    hosts = checked_texts(entry, "hosts", _host, fix=HOST_FIX, code=ProblemCode.INVALID_HOST)
    if not hosts and not entry.report.failed:
        fix = "Name what may be called, or ~/* for nothing."
        entry.problem(ProblemCode.MISSING_FIELD, "hosts is empty", fix, field="hosts")
    if len(hosts) > MAX_HOSTS:
        message = f"hosts has {len(hosts)} entries, more than {MAX_HOSTS}"
        entry.problem(ProblemCode.TOO_LARGE, message, "Use wildcards.", field="hosts")
    elif not entry.report.failed:
        _report_redundant(entry, hosts)
    return hosts


def _host(text: str) -> EgressHost:
    written, slash, host = text.partition("/")
    owner = written.removeprefix(EXCLUDED)
    excluded = owner != written
    if not slash or not written or not host:
        raise ValueError(f"{text[:80]!r} is not of the form NAMESPACE/HOST")
    if excluded and not owner:
        owner = ANY_NAMESPACE
    if owner not in (ANY_NAMESPACE, OWN_NAMESPACE) and not is_dns_label(owner):
        raise ValueError(f"{text[:80]!r}: {owner[:63]!r} is no namespace")
    checked = check_host(host)
    if checked != "*" and "." not in checked:
        raise ValueError(f"{text[:80]!r}: {host[:63]!r} is a short name; a fully qualified one is needed")
    return EgressHost(namespace=owner, host=checked, excluded=excluded)


def _report_redundant(entry: Fields, hosts: Sequence[EgressHost]) -> None:
    """Hosts that another one of the entry covers already: of two equal ones the later.

    `.` is no name here: in the root namespace it is that of whoever the object applies to.
    """
    places: dict[tuple[str, str], int] = {}
    for index, each in enumerate(hosts):
        if not each.excluded:
            places.setdefault((each.namespace, each.host), index)
    for index, each in enumerate(hosts):
        if each.excluded:
            continue
        wider = ((owner, host) for host in patterns(each.host) for owner in (each.namespace, ANY_NAMESPACE))
        other = next((places[key] for key in wider if places.get(key, index) != index), None)
        if other is not None:
            message = f"hosts[{other}] covers it already"
            entry.problem(
                ProblemCode.REDUNDANT_HOST, message, "Remove it.", field=f"hosts[{index}]", severity=Severity.WARNING
            )


def _outbound_traffic(spec: Fields, namespace: str) -> OutboundTraffic | None:
    fields = spec.child("outboundTrafficPolicy")
    if fields is None:
        return None
    mode = fields.choice("mode", OutboundTraffic, OutboundTraffic.REGISTRY_ONLY)
    if fields.has("egressProxy"):
        proxy = parse_destination(fields, "egressProxy", namespace)
        if mode is not OutboundTraffic.ALLOW_ANY:
            message = "egressProxy is for what may pass, and needs mode: ALLOW_ANY"
            fix = "Write mode: ALLOW_ANY, or remove egressProxy."
            fields.problem(ProblemCode.CONFLICTING_FIELDS, message, fix, field="egressProxy")
        elif proxy is not None and proxy.port is None:
            fields.problem(
                ProblemCode.MISSING_FIELD, "egressProxy needs a port", "Add port.number.", field="egressProxy"
            )
    fields.later("egressProxy")
    fields.finish()
    return mode


KIND = Kind(
    group="networking.istio.io",
    versions=("v1", "v1beta1", "v1alpha3"),
    kind="Sidecar",
    parse=parse_sidecar,
)
