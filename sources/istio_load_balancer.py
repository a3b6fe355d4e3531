"""How a request finds its endpoint: `trafficPolicy.loadBalancer`."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

from model.problem_codes import ProblemCode
from model.problems import Severity
from model.traffic import (
    ConsistentHash,
    HashCookie,
    HashHeader,
    HashKey,
    HashQueryParameter,
    HashSourceAddress,
    LoadBalancer,
    SimpleBalancer,
)
from sources.bounded import checked, deprecate, one_of, plain_text
from sources.fields import Fields
from sources.header_values import check_header_name

MAX_RING_SIZE = 8_388_608
MAX_MAGLEV_TABLE_SIZE = 5_000_011
"""Envoy's limits."""

ALIASES: Mapping[str, SimpleBalancer] = {
    "LEAST_CONN": SimpleBalancer.LEAST_REQUEST,
    "UNSPECIFIED": SimpleBalancer.LEAST_REQUEST,
}
KEYS = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")


def parse_load_balancer(fields: Fields) -> LoadBalancer | None:
    """The field `loadBalancer`, None if it chooses none."""
    inner = fields.child("loadBalancer")
    if inner is None:
        return None
    one_of(inner, "simple", "consistentHash")
    simple = _simple(inner)
    hashed = _consistent_hash(inner)
    inner.later("localityLbSetting", "zoneAwareLbSetting", "warmup", "warmupDurationSecs")
    inner.finish()
    return hashed or simple


def _simple(fields: Fields) -> SimpleBalancer | None:
    text = fields.choice("simple", [*SimpleBalancer, *ALIASES])
    if text == "LEAST_CONN":
        fields.problem(
            ProblemCode.DEPRECATED_FIELD,
            "LEAST_CONN is deprecated; it is read as LEAST_REQUEST",
            "Write LEAST_REQUEST instead.",
            field="simple",
            severity=Severity.INFO,
        )
    return ALIASES.get(text) or (SimpleBalancer(text) if text else None)


def _consistent_hash(outer: Fields) -> ConsistentHash | None:
    fields = outer.child("consistentHash")
    if fields is None:
        return None
    one_of(fields, *KEYS)
    one_of(fields, "ringHash", "maglev")
    key = _key(fields)
    ring = fields.integer("minimumRingSize", default=1024, minimum=0, maximum=MAX_RING_SIZE)
    if fields.has("minimumRingSize"):
        deprecate(fields, "minimumRingSize", "ringHash.minimumRingSize")
    ring_hash = fields.child("ringHash")
    if ring_hash is not None:
        ring = ring_hash.integer("minimumRingSize", default=ring, minimum=0, maximum=MAX_RING_SIZE)
        ring_hash.finish()
    table = _maglev(fields)
    fields.finish()
    if key is None:
        return None
    return ConsistentHash(key=key, minimum_ring_size=ring or 1024, maglev_table_size=table)


def _maglev(outer: Fields) -> int | None:
    fields = outer.child("maglev")
    if fields is None:
        return None
    size = fields.integer("tableSize", default=0, minimum=0, maximum=MAX_MAGLEV_TABLE_SIZE) or 65537
    if not _is_prime(size):
        message = f"tableSize is {size}, which is no prime number"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Use a prime, such as 65537.", field="tableSize")
    fields.finish()
    return size


def _key(fields: Fields) -> HashKey | None:
    header = checked(
        fields, "httpHeaderName", check_header_name, "", fix="Name a header.", code=ProblemCode.INVALID_HEADER
    )
    cookie = _cookie(fields)
    source = fields.boolean("useSourceIp")
    parameter = plain_text(fields, "httpQueryParameterName")
    if header:
        return HashHeader(name=header)
    if cookie is not None:
        return cookie
    if source:
        return HashSourceAddress()
    if parameter:
        return HashQueryParameter(name=parameter)
    if not fields.report.failed:
        message = "consistentHash says nothing to hash"
        fields.problem(ProblemCode.MISSING_FIELD, message, f"Add one of {', '.join(KEYS)}.")
    return None


def _cookie(outer: Fields) -> HashCookie | None:
    fields = outer.child("httpCookie")
    if fields is None:
        return None
    name = checked(
        fields, "name", check_cookie_name, "", fix="Write the cookie's name.", code=ProblemCode.INVALID_HEADER
    )
    if not fields.has("name"):
        fields.required("name")
    path = plain_text(fields, "path")
    ttl = fields.duration("ttl")
    fields.later("attributes", severity=Severity.WARNING)
    fields.finish()
    return HashCookie(name=name, path=path, ttl=ttl) if name else None


def check_cookie_name(text: str) -> str:
    """`text` itself, case kept. Raises ValueError if it is no token (RFC 6265)."""
    check_header_name(text)
    return text


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))
