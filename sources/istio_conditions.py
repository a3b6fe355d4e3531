"""Conditions of an AuthorizationPolicy (`when`): the keys, and what their values may be."""

from __future__ import annotations

import ipaddress

from sources.bounded import MAX_PORT
from sources.header_values import check_header_name
from sources.kubernetes_names import is_dns_label, is_dns_name

KEYS = (
    "source.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "destination.ip",
    "destination.port",
    "connection.sni",
)
HEADER = "request.headers["
CONDITION_FIX = f"Use {HEADER}NAME] or one of {', '.join(KEYS)}."

UNDONE = ("remote.ip", "source.trustDomain")
UNDONE_BEGIN = ("request.auth.", "experimental.")


class Undone(Exception):
    """A key of Istio's that Heddle does not do yet."""


def check_key(key: str) -> str:
    """`key`, a header's name in lower case. Raises Undone for Istio's other keys, ValueError for no key at all."""
    if key in KEYS:
        return key
    if key.startswith(HEADER) and key.endswith("]"):
        return f"{HEADER}{check_header_name(key[len(HEADER) : -1])}]"
    if key in UNDONE or key.startswith(UNDONE_BEGIN):
        raise Undone(f"the key {key[:80]}")
    raise ValueError(f"{key[:80]!r} is no key of a condition")


def check_value(key: str, text: str, namespace: str) -> str:
    """`text` as the translator reads it: addresses as blocks, service accounts with namespace, the rest as written.

    `namespace` is the policy's own. Raises ValueError if the key cannot have that value.
    """
    if key.endswith(".ip"):
        return to_cidr(text)
    if key == "destination.port":
        return str(to_port(text))
    if key == "source.serviceAccount":
        return to_account(text, namespace)
    if not text or not text.isprintable():
        raise ValueError(f"{text[:80]!r} can match nothing")
    if key == "source.principal" and text.startswith("spiffe://"):
        raise ValueError(f"{text[:80]!r}: a principal is written without spiffe://")
    return text


def to_cidr(text: str) -> str:
    """The block in `text`, an address being a block of one; bits beyond the mask are cleared, as Go does.

    Raises ValueError if it is neither. Envoy takes a /33 silently.
    """
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text[:80]!r} is neither an address nor a block") from None


def to_port(text: str) -> int:
    """The port in `text`. Raises ValueError unless it is a number from 1 to 65535."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MAX_PORT):
        raise ValueError(f"{text[:80]!r} is no port")
    return int(text)


def to_account(text: str, namespace: str) -> str:
    """`NAMESPACE/NAME` of a service account that may be written without its namespace. Raises ValueError."""
    owner, slash, name = text.rpartition("/")
    if not is_dns_name(name) or (slash and not is_dns_label(owner)):
        raise ValueError(f"{text[:80]!r} is neither a service account's name nor NAMESPACE/NAME")
    return f"{owner or namespace}/{name}"
