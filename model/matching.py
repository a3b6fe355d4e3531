"""How a string is matched: one union for routing and policies alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suffix:
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """An RE2 expression that must match the whole string. The parser has had RE2 compile it."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """Anything, as long as it is there."""


StringMatch: TypeAlias = Exact | Prefix | Suffix | Regex | Present


def policy_match(text: str) -> StringMatch:
    """A value of an AuthorizationPolicy: `x` exact, `x*` prefix, `*x` suffix, `*` present.

    `*x*` is a suffix match on `x*`, as in Istio: only one star counts, the first one.
    """
    if text == "*":
        return Present()
    if text.startswith("*"):
        return Suffix(value=text[1:])
    if text.endswith("*"):
        return Prefix(value=text[:-1])
    return Exact(value=text)
