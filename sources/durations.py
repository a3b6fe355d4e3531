"""Durations in Go's syntax, `1h2m3.5s`, which Kubernetes and Istio write everywhere."""

from __future__ import annotations

import re
from datetime import timedelta

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = (1 << 63) - 1
_MAX_LENGTH = 200


def parse_duration(text: str) -> timedelta:
    """The span, rounded down to a microsecond. Raises ValueError for what Go's time.ParseDuration refuses.

    No unit, no digits, a space, or more than about 292 years are refused; `0` alone and a sign are not.
    """
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return timedelta(0)
    if not rest or len(rest) > _MAX_LENGTH:
        raise ValueError(_complaint(text))
    total = at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            raise ValueError(_complaint(text))
        unit = _NANOSECONDS[part[3]]
        fraction = part[2] or ""
        total += int(part[1] or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        at = part.end()
    if total > _LONGEST:
        raise ValueError(f"{text!r} is longer than 292 years")
    return timedelta(microseconds=sign * (total // 1000))


def _complaint(text: str) -> str:
    return f"{text[:_MAX_LENGTH]!r} is no duration"
