"""How a policy's values are matched. Every text of a user's that enters a regular expression is quoted."""

from __future__ import annotations

from typing import assert_never

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from model.matching import Exact, Prefix, Present, Regex, StringMatch, Suffix

_SPECIAL = frozenset("\\.+*?()|[]{}^$")


def quote(text: str) -> str:
    """An RE2 expression that matches `text` and nothing else."""
    return "".join(f"\\{character}" if character in _SPECIAL else character for character in text)


def regex(expression: str) -> StringMatcher:
    """The whole value must match an expression of RE2."""
    return StringMatcher(safe_regex=RegexMatcher(regex=expression))


def prefix(text: str) -> StringMatcher:
    """The value begins with `text`; an empty one, which Envoy refuses, is any value."""
    return StringMatcher(prefix=text) if text else regex("(?s).*")


def suffix(text: str) -> StringMatcher:
    """The value ends with `text`; an empty one, which Envoy refuses, is any value."""
    return StringMatcher(suffix=text) if text else regex("(?s).*")


def build_string_matcher(match: StringMatch) -> StringMatcher:
    """The value as a whole, as it is. `Present` wants at least one character."""
    match match:
        case Exact(value=value):
            return StringMatcher(exact=value)
        case Prefix(value=value):
            return prefix(value)
        case Suffix(value=value):
            return suffix(value)
        case Regex(value=value):
            return regex(value)
        case Present():
            return regex("(?s).+")
        case _:
            assert_never(match)


def build_header_matcher(name: str, match: StringMatch) -> HeaderMatcher:
    """One value of a header; `Present` is also met by an empty one."""
    if isinstance(match, Present):
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=build_string_matcher(match))


def build_host_matcher(match: StringMatch) -> StringMatcher:
    """A host whatever its case, with or without a port and a trailing dot; with exactly that port if it names one.

    The same place must not be reachable under a spelling that a policy does not know (CVE-2021-39155).
    """
    match match:
        case Exact(value=value):
            return regex(f"(?is){_host(value)}")
        case Prefix(value=value):
            return regex(f"(?is){quote(value)}.*")
        case Suffix(value=value):
            return regex(f"(?is).*{_host(value)}")
        case Regex(value=value):
            return regex(f"(?is)(?:{value})")
        case Present():
            return regex("(?s).+")
        case _:
            assert_never(match)


def _host(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.endswith("]")):
        return rf"{quote(host.removesuffix('.'))}\.?:{port}"
    return rf"{quote(value.removesuffix('.'))}\.?(?::[0-9]*)?"
