"""Hosts as Istio's resources write them: short names, DNS names, and wildcards of one whole leading label."""

from __future__ import annotations

from model.names import to_fqdn
from model.problem_codes import ProblemCode
from sources.bounded import checked, checked_texts
from sources.fields import Fields

MAX_HOST = 253
MAX_LABEL = 63

HOST_FIX = "Write a Service's name, a DNS name, or '*.' before one."

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def check_host(text: str) -> str:
    """`text` in lower case, if it is a DNS name, perhaps with `*.` before it, or `*` alone.

    Raises ValueError otherwise: Envoy takes `a.*.com` silently and never matches it.
    """
    host = text.lower()
    if host == "*":
        return host
    if not host or len(host) > MAX_HOST:
        raise ValueError(f"a host has 1 to {MAX_HOST} characters, {text[:80]!r} has {len(host)}")
    for label in host.removeprefix("*.").split("."):
        if not label:
            raise ValueError(f"{text!r} has an empty label")
        if "*" in label:
            raise ValueError(f"{text!r}: a '*' is the whole first label or nowhere")
        if len(label) > MAX_LABEL:
            raise ValueError(f"a label of {text[:80]!r} is longer than {MAX_LABEL} characters")
        if not _ALLOWED.issuperset(label) or label.startswith("-") or label.endswith("-"):
            raise ValueError(f"{text!r} is no DNS name")
    return host


def service_host(fields: Fields, name: str, namespace: str, *, wildcard: bool = False) -> str:
    """The required host in a field, fully qualified; '' after a problem."""
    if not fields.required(name):
        return ""

    def check(text: str) -> str:
        host = to_fqdn(check_host(text), namespace)
        if not wildcard and host.startswith("*"):
            raise ValueError(f"{text!r}: traffic cannot be sent to a wildcard")
        return host

    return checked(fields, name, check, "", fix=HOST_FIX, code=ProblemCode.INVALID_HOST)


def export_to(fields: Fields) -> tuple[str, ...]:
    """The namespaces in `exportTo`: names, `.` (its own), `*` (all) or `~` (none)."""
    return checked_texts(fields, "exportTo", _visible, fix="Write a namespace, '.' for this one, or '*' for all.")


def _visible(text: str) -> str:
    if text not in (".", "*", "~") and (not _ALLOWED.issuperset(text) or not 1 <= len(text) <= MAX_LABEL):
        raise ValueError(f"{text[:80]!r} is no namespace")
    return text
