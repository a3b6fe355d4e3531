"""Names and addresses as Kubernetes allows them. Source: Kubernetes' apimachinery validation (RFC 1123, RFC 1035)."""

from __future__ import annotations

import ipaddress
import re

from model.problem_codes import ProblemCode
from sources.fields import Fields

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_OBJECT_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
_PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])(?!.*--)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")


def is_dns_label(text: str) -> bool:
    """1 to 63 of a-z, 0-9 and '-', which neither begins nor ends it."""
    return _LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Labels joined by dots, at most 253 characters."""
    return len(text) <= 253 and all(_LABEL.fullmatch(part) for part in text.split("."))


def is_object_name(text: str) -> bool:
    """What most objects may be called: as `is_dns_name`, but each part may be as long as the whole."""
    return len(text) <= 253 and _OBJECT_NAME.fullmatch(text) is not None


def is_port_name(text: str) -> bool:
    """The name of a container's port: at most 15 of a-z, 0-9 and single '-', with a letter, '-' at neither end."""
    return _PORT_NAME.fullmatch(text) is not None


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
