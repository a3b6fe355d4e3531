"""Where requests go: the VirtualService kind.

Hosts in these values are fully qualified and in lower case (`names.to_fqdn` has been applied by the parser).
Source of every field: Istio VirtualService.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from model.matching import StringMatch
from model.problems import ObjectRef

MESH_GATEWAY = "mesh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A service, perhaps a subset of it. `port` None: the service's only port, or the one the request came to."""

    host: str
    subset: str = ""
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFormat:
    """A header value with commands that the proxy fills in (`%REQ(x-user)%@%PROTOCOL%`); `%%` is a '%'.

    The parser has checked every command, so it goes to Envoy as it is.
    """

    format: str


HeaderValue: TypeAlias = str | HeaderFormat
"""Literal text, in which a '%' is a '%', or a format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """`set` replaces, `add` appends, `remove` deletes; names in lower case."""

    set: tuple[tuple[str, HeaderValue], ...] = ()
    add: tuple[tuple[str, HeaderValue], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    request: HeaderChanges = field(default_factory=HeaderChanges)
    response: HeaderChanges = field(default_factory=HeaderChanges)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedDestination:
    """`weight` counts against the sum of the list; the only one of a list may have 0 left out and gets all."""

    destination: Destination
    weight: int = 0
    headers: Headers = field(default_factory=Headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMatch:
    """All that is set must hold. `headers` by lower-case name; `source_labels` are the caller's pod's.

    `without_headers`: none of these may match. `gateways` None: the VirtualService's own.
    """

    name: str = ""
    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()
    without_headers: tuple[tuple[str, StringMatch], ...] = ()
    query_params: tuple[tuple[str, StringMatch], ...] = ()
    port: int | None = None
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """`code` is 301, 302, 303, 307 or 308. `port` a number, or None with `derive_port` '' or Istio's constants."""

    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | None = None
    derive_port: str = ""
    code: int = 301


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    """`body` None: no body. Status 200 to 599."""

    status: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """`uri` replaces the matched prefix (or the whole path of another match); `uri_regex` is (RE2, substitution)."""

    uri: str = ""
    authority: str = ""
    uri_regex: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and how quickly, a failed request is sent again.

    `attempts` counts retries: one call makes at most `attempts + 1` requests; 0 turns retries off.
    `per_try_timeout` None leaves the route's own timeout in force. `retry_on` is Envoy's list of conditions, with
    status codes among them (`reset,503`), '' the default.
    Source: Istio HTTPRetry.
    """

    attempts: int
    per_try_timeout: timedelta | None = None
    retry_on: str = ""
    backoff: timedelta | None = None
    remote_localities: bool = False
    ignore_previous_hosts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """`percentage` 0 to 100, in steps of 0.0001."""

    fixed: timedelta
    percentage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """One of `http_status` and `grpc_status` (a code's number) is set. `percentage` 0 to 100."""

    http_status: int | None = None
    grpc_status: int | None = None
    percentage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A copy of `percentage` (0 to 100) of the requests, answers thrown away."""

    destination: Destination
    percentage: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """The usual action: to one of weighted destinations."""

    destinations: tuple[WeightedDestination, ...]


HttpAction: TypeAlias = Forward | Redirect | DirectResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """One entry of `http`. `matches` empty: everything. `timeout` None: none. `retries` None: the mesh's default."""

    name: str = ""
    matches: tuple[HttpMatch, ...] = ()
    action: HttpAction
    rewrite: Rewrite | None = None
    timeout: timedelta | None = None
    retries: RetryPolicy | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    headers: Headers = field(default_factory=Headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualService:
    """`gateways`: `mesh`, or a Gateway as `NAMESPACE/NAME`; so in matches.

    `created` orders VirtualServices for one host: the oldest wins; None (a file says none) counts as newest,
    then namespace and name decide. `export_to` is a set of namespaces, `*` everyone, `.` its own; empty: the
    mesh's default."""

    ref: ObjectRef
    hosts: tuple[str, ...]
    gateways: tuple[str, ...] = (MESH_GATEWAY,)
    http: tuple[HttpRoute, ...] = ()
    export_to: tuple[str, ...] = ()
    created: datetime | None = None

    @property
    def destinations(self) -> frozenset[str]:
        """The hosts that requests, or copies of them, are sent to."""
        found = {mirror.destination.host for route in self.http for mirror in route.mirrors}
        for route in self.http:
            if isinstance(route.action, Forward):
                found.update(each.destination.host for each in route.action.destinations)
        return frozenset(found)
