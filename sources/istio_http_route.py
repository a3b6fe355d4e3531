"""One entry of a VirtualService's `http`."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from model.problems import Severity
from model.routing import Forward, HttpAction, HttpRoute, Redirect
from sources.bounded import one_of, plain_text, span
from sources.fields import Fields
from sources.istio_destination import parse_mirrors, parse_route
from sources.istio_headers import parse_headers
from sources.istio_http_actions import parse_direct_response, parse_redirect, parse_rewrite
from sources.istio_http_match import parse_matches
from sources.istio_resilience import parse_fault, parse_retries

ACTIONS = ("route", "redirect", "directResponse", "delegate")


def parse_http_route(fields: Fields, namespace: str) -> HttpRoute | None:
    """One route, None after a problem that leaves it without an action. Finishes `fields`."""
    for misplaced in ("destination", "subset", "weight"):
        if fields.node(misplaced) is not None:
            fix = "Write route: [{destination: {host: ..., subset: ...}, weight: ...}]."
            message = f"{misplaced} stands in the route itself"
            fields.problem(ProblemCode.MISPLACED_FIELD, message, fix, field=misplaced)
    action = _action(fields, namespace)
    rewrite = parse_rewrite(fields)
    if rewrite is not None and action is not None and not isinstance(action, Forward):
        name = "redirect" if isinstance(action, Redirect) else "directResponse"
        fix = f"Remove rewrite: a {name} forwards nothing."
        fields.problem(ProblemCode.CONFLICTING_FIELDS, f"rewrite and {name} exclude each other", fix, field="rewrite")
    name = plain_text(fields, "name")
    matches = parse_matches(fields, namespace)
    timeout = span(fields, "timeout")
    retries = parse_retries(fields)
    fault = parse_fault(fields)
    mirrors = parse_mirrors(fields, namespace)
    headers = parse_headers(fields)
    fields.later("corsPolicy")
    fields.finish()
    if action is None:
        return None
    return HttpRoute(
        name=name,
        matches=matches,
        action=action,
        rewrite=rewrite,
        timeout=timeout,
        retries=retries,
        fault=fault,
        mirrors=mirrors,
        headers=headers,
    )


def _action(fields: Fields, namespace: str) -> HttpAction | None:
    one_of(fields, *ACTIONS)
    fields.later("delegate", severity=Severity.ERROR)
    redirect = parse_redirect(fields)
    direct_response = parse_direct_response(fields)
    destinations = parse_route(fields, namespace)
    if redirect is not None:
        return redirect
    if direct_response is not None:
        return direct_response
    if destinations:
        return Forward(destinations=destinations)
    if not any(fields.has(name) for name in ACTIONS) or not fields.report.failed:
        message = "the route says nothing to do"
        fix = "Add route with at least one destination, or redirect, or directResponse."
        fields.problem(ProblemCode.MISSING_FIELD, message, fix, field="route")
    return None
