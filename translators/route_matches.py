"""Which requests a route is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher

from model.matching import Exact, Prefix, Present, Regex, StringMatch, Suffix
from model.routing import MESH_GATEWAY, HttpMatch
from model.view import View
from translators.policy_matchers import build_header_matcher, build_string_matcher, quote


def build_catch_all() -> RouteMatch:
    """Every request."""
    return RouteMatch(prefix="/")


SIDECARS = frozenset({MESH_GATEWAY})
"""By which gateways the requests of an application come to its own sidecar."""


def concerns(match: HttpMatch, port: int, view: View, *, gateways: frozenset[str] = SIDECARS) -> bool:
    """Whether `match` can hold at all for requests that come to this caller's table of this port by these gateways.

    Decided here and not by Envoy: gateways, port, the caller's labels and namespace.
    """
    return (
        (match.gateways is None or not gateways.isdisjoint(match.gateways))
        and (match.port is None or match.port == port)
        and (not match.source_namespace or match.source_namespace == view.namespace)
        and all(view.labels.get(key) == value for key, value in match.source_labels.items())
    )


def build_route_match(match: HttpMatch) -> RouteMatch:
    """What is left of `match` for Envoy to look at: path, method, headers and so on."""
    path = _path(match.uri)
    return RouteMatch(
        prefix=path.prefix,
        path=path.path,
        safe_regex=RegexMatcher(regex=path.regex) if path.regex is not None else None,
        case_sensitive=False if match.ignore_uri_case and path.regex is None else None,
        headers=list(_headers(match)),
        query_parameters=[_query_parameter(name, wanted) for name, wanted in match.query_params],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """One of the three is set."""

    prefix: str | None = None
    path: str | None = None
    regex: str | None = None


def _path(uri: StringMatch | None) -> _Path:
    match uri:
        case None | Present():
            return _Path(prefix="/")
        case Exact():
            return _Path(path=uri.value)
        case Prefix():
            return _Path(prefix=uri.value)
        case Suffix():
            return _Path(regex=f".*{quote(uri.value)}")
        case Regex():
            return _Path(regex=uri.value)
        case _:
            assert_never(uri)


def _headers(match: HttpMatch) -> Iterator[HeaderMatcher]:
    """In the order of the file, then the ones that HTTP has as pseudo-headers."""
    pseudo = ((":scheme", match.scheme), (":method", match.method), (":authority", match.authority))
    for name, wanted in match.headers:
        yield build_header_matcher(name, wanted)
    for name, unwanted in match.without_headers:
        yield _without_header(name, unwanted)
    for name, value in pseudo:
        if value is not None:
            yield build_header_matcher(name, value)


def _without_header(name: str, unwanted: StringMatch) -> HeaderMatcher:
    """Envoy takes a missing header for no match, inverted or not, unless it may read it as empty.

    Where the empty value is what is unwanted, that would refuse the missing header too: then only presence counts.
    """
    if _accepts_empty(unwanted):
        return HeaderMatcher(name=name, present_match=True, invert_match=True)
    return HeaderMatcher(
        name=name,
        string_match=build_string_matcher(unwanted),
        invert_match=True,
        treat_missing_header_as_empty=True,
    )


def _accepts_empty(match: StringMatch) -> bool:
    """Whether an empty value matches, as far as that can be seen without looking into a regular expression."""
    match match:
        case Present():
            return True
        case Exact() | Prefix() | Suffix():
            return not match.value
        case Regex():
            return match.value in ("", ".*")
        case _:
            assert_never(match)


def _query_parameter(name: str, wanted: StringMatch) -> QueryParameterMatcher:
    if isinstance(wanted, Present):
        return QueryParameterMatcher(name=name, present_match=True)
    return QueryParameterMatcher(name=name, string_match=build_string_matcher(wanted))
