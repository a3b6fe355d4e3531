"""Istio's VirtualService."""

from __future__ import annotations

from model.names import to_fqdn
from model.problem_codes import ProblemCode
from model.problems import Severity
from model.routing import MESH_GATEWAY, HttpRoute, VirtualService
from sources.bounded import checked_texts
from sources.fields import Fields
from sources.gateway_names import to_gateway_name
from sources.hosts import HOST_FIX, check_host, export_to
from sources.istio_http_match import takes_everything
from sources.istio_http_route import parse_http_route
from sources.kinds import Kind, Metadata

MAX_HTTP_ROUTES = 10_000
MAX_HOSTS = 1000

_OF_DESTINATION_RULE = ("trafficPolicy", "subsets", "host")


def parse_virtual_service(fields: Fields, metadata: Metadata) -> VirtualService | None:
    """The object's value, None after an error."""
    if not fields.required("spec"):
        return None
    spec = fields.child("spec")
    if spec is None:
        return None
    hosts = _hosts(spec, metadata.ref.namespace)
    gateways = _gateways(spec, metadata.ref.namespace)
    visible = export_to(spec)
    _misplaced(spec)
    spec.later("tls", "tcp")
    http = _http(spec, metadata.ref.namespace)
    if not any(spec.has(name) for name in ("http", "tls", "tcp")):
        fix = "Add http with at least one route."
        spec.problem(ProblemCode.MISSING_FIELD, "a VirtualService without http, tls or tcp routes nothing", fix)
    spec.finish()
    if spec.report.failed:
        return None
    return VirtualService(
        ref=metadata.ref, hosts=hosts, gateways=gateways, http=http, export_to=visible, created=metadata.created
    )


def _hosts(spec: Fields, namespace: str) -> tuple[str, ...]:
    if not spec.required("hosts"):
        return ()

    def check(text: str) -> str:
        return to_fqdn(check_host(text), namespace)

    hosts = checked_texts(spec, "hosts", check, fix=HOST_FIX, code=ProblemCode.INVALID_HOST)
    if not hosts and not spec.report.failed:
        spec.problem(ProblemCode.MISSING_FIELD, "hosts is empty", "Name at least one host.", field="hosts")
    if len(hosts) > MAX_HOSTS:
        message = f"hosts has {len(hosts)} entries, more than {MAX_HOSTS}"
        spec.problem(ProblemCode.TOO_LARGE, message, "Use a wildcard, or several VirtualServices.", field="hosts")
    for index, host in enumerate(hosts):
        if host in hosts[:index]:
            field = f"hosts[{index}]"
            message = f"the host {host} stands here a second time"
            spec.problem(ProblemCode.CONFLICTING_HOSTS, message, "Remove one.", field=field, severity=Severity.WARNING)
    return tuple(dict.fromkeys(hosts))


def _gateways(spec: Fields, namespace: str) -> tuple[str, ...]:
    named = (to_gateway_name(text, namespace) for text in spec.texts("gateways"))
    return tuple(dict.fromkeys(named)) or (MESH_GATEWAY,)


def _http(spec: Fields, namespace: str) -> tuple[HttpRoute, ...]:
    entries = spec.each("http")
    if len(entries) > MAX_HTTP_ROUTES:
        message = f"http has {len(entries)} routes, more than {MAX_HTTP_ROUTES}"
        spec.problem(ProblemCode.TOO_LARGE, message, "Split the object by host.", field="http")
        return ()
    found: list[HttpRoute] = []
    catch_all: int | None = None
    for index, entry in enumerate(entries):
        if catch_all is not None:
            spec.problem(
                ProblemCode.UNREACHABLE_ROUTE,
                f"http[{index}] is never reached: http[{catch_all}] takes every request",
                f"Move http[{index}] before http[{catch_all}].",
                field=f"http[{index}]",
                severity=Severity.WARNING,
            )
        route = parse_http_route(entry, namespace)
        if route is not None:
            found.append(route)
            if catch_all is None and (not route.matches or any(map(takes_everything, route.matches))):
                catch_all = index
    return tuple(found)


def _misplaced(spec: Fields) -> None:
    for name in _OF_DESTINATION_RULE:
        if spec.node(name) is not None:
            spec.problem(
                ProblemCode.MISPLACED_FIELD,
                f"{name} is a field of DestinationRule, a VirtualService has none",
                "Write hosts (a list)." if name == "host" else f"Move {name} into a DestinationRule for the same host.",
                field=name,
            )
    for name in ("timeout", "retries", "fault", "route", "match", "rewrite", "headers"):
        if spec.node(name) is not None:
            fix = f"Move {name} into an entry of http."
            spec.problem(ProblemCode.MISPLACED_FIELD, f"{name} stands beside http, not in it", fix, field=name)


KIND = Kind(
    group="networking.istio.io",
    versions=("v1", "v1beta1", "v1alpha3"),
    kind="VirtualService",
    parse=parse_virtual_service,
)
