"""Names and labels as Kubernetes allows them. Source: Kubernetes' apimachinery validation (RFC 1123, RFC 1035)."""

from __future__ import annotations

import ipaddress
import re

from model.problem_codes import ProblemCode
from sources.fields import Fields

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def is_dns_label(text: str) -> bool:
    """1 to 63 of a-z, 0-9 and '-', which neither begins nor ends it."""
    return _LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Labels joined by dots, at most 253 characters."""
    return len(text) <= 253 and all(_LABEL.fullmatch(part) for part in text.split("."))


def is_label_value(text: str) -> bool:
    """Empty, or 1 to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends."""
    return not text or _QUALIFIED.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """A name like a label's value, perhaps after a DNS name and '/'."""
    prefix, slash, name = text.rpartition("/")
    return _QUALIFIED.fullmatch(name) is not None and (not slash or is_dns_name(prefix))


def parse_labels(fields: Fields, name: str) -> dict[str, str]:
    """The labels in one field, sorted by key. Those that Kubernetes would refuse are reported and left out."""
    found = fields.text_map(name)
    for key, value in tuple(found.items()):
        if is_label_key(key) and is_label_value(value):
            continue
        del found[key]
        what, wrong = ("key", key) if not is_label_key(key) else ("value", value)
        message = f"{wrong[:80]!r} cannot be the {what} of a label"
        fix = "Use up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends."
        inner = fields.child(name)
        if inner is not None:
            inner.problem(ProblemCode.INVALID_NAME, message, fix, field=key)
    return found


def parse_address(fields: Fields, name: str) -> str:
    """The IP address in one field in its usual form, '' if absent or wrong."""
    text = fields.text(name)
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        message = f"{name} is {text[:80]!r}, which is no IP address"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Give an IPv4 or IPv6 address.", field=name)
        return ""


def parse_addresses(fields: Fields, name: str) -> tuple[str, ...]:
    """The IP addresses in a list, in their usual form; others are reported and left out."""
    found = []
    for index, text in enumerate(fields.texts(name)):
        try:
            found.append(str(ipaddress.ip_address(text)))
        except ValueError:
            message = f"{name}[{index}] is {text[:80]!r}, which is no IP address"
            fix = "Give an IPv4 or IPv6 address."
            fields.problem(ProblemCode.INVALID_VALUE, message, fix, field=f"{name}[{index}]")
    return tuple(found)
