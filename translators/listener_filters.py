"""What looks at a connection before its filter chain is chosen.

The inspectors wait for the client's first bytes. On a port whose protocol is known they are switched off, so that
a protocol in which the server speaks first never waits there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from envoy_data_plane.envoy.config.listener.v3 import (
    ListenerFilter,
    ListenerFilterChainMatchPredicate,
    ListenerFilterChainMatchPredicateMatchSet,
)
from envoy_data_plane.envoy.extensions.filters.listener.http_inspector.v3 import HttpInspector
from envoy_data_plane.envoy.extensions.filters.listener.original_dst.v3 import OriginalDst
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.type.v3 import Int32Range

from protos.encoder import to_any


def original_destination() -> ListenerFilter:
    """Restores the address that the connection had before iptables turned it to the sidecar."""
    return ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=to_any(OriginalDst()))


def tls_inspector(*, except_ports: Collection[int]) -> ListenerFilter:
    """Tells TLS from plaintext, and which ALPN the client offers, on all ports but these."""
    return ListenerFilter(
        name="envoy.filters.listener.tls_inspector",
        typed_config=to_any(TlsInspector()),
        filter_disabled=_on(except_ports),
    )


def http_inspector(*, except_ports: Collection[int]) -> ListenerFilter:
    """Tells HTTP from everything else in plaintext, on all ports but these."""
    return ListenerFilter(
        name="envoy.filters.listener.http_inspector",
        typed_config=to_any(HttpInspector()),
        filter_disabled=_on(except_ports),
    )


def http_inspector_only_on(ports: Collection[int]) -> ListenerFilter:
    """Tells HTTP from everything else in plaintext, on these ports alone. `ports` must not be empty."""
    return ListenerFilter(
        name="envoy.filters.listener.http_inspector",
        typed_config=to_any(HttpInspector()),
        filter_disabled=ListenerFilterChainMatchPredicate(not_match=_on(ports)),
    )


def _on(ports: Collection[int]) -> ListenerFilterChainMatchPredicate | None:
    ranges = [
        ListenerFilterChainMatchPredicate(destination_port_range=Int32Range(start=start, end=end))
        for start, end in _ranges(ports)
    ]
    match ranges:
        case []:
            return None
        case [only]:
            return only
        case _:
            return ListenerFilterChainMatchPredicate(or_match=ListenerFilterChainMatchPredicateMatchSet(rules=ranges))


def _ranges(ports: Collection[int]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of neighbouring ports."""
    start = end = 0
    for port in sorted(set(ports)):
        if port == end:
            end += 1
            continue
        if end:
            yield start, end
        start, end = port, port + 1
    if end:
        yield start, end
