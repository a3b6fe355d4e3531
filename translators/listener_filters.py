"""What looks at a connection before its filter chain is chosen.

The inspectors wait for the client's first bytes. On a port whose protocol is known they are switched off, so that
a protocol in which the server speaks first never waits there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import betterproto2
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """A set of ports: these, or with `others` all but these."""

    numbers: frozenset[int]
    others: bool = False

    def __bool__(self) -> bool:
        return self.others or bool(self.numbers)


def original_destination() -> ListenerFilter:
    """Restores the address that the connection had before iptables turned it to the sidecar."""
    return ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=to_any(OriginalDst()))


def tls_inspector(ports: Ports) -> tuple[ListenerFilter, ...]:
    """Tells TLS from plaintext, and which ALPN the client offers; nothing where no port needs it."""
    return _inspector("envoy.filters.listener.tls_inspector", TlsInspector(), ports)


def http_inspector(ports: Ports) -> tuple[ListenerFilter, ...]:
    """Tells HTTP from everything else in plaintext; nothing where no port needs it."""
    return _inspector("envoy.filters.listener.http_inspector", HttpInspector(), ports)


def _inspector(name: str, config: betterproto2.Message, ports: Ports) -> tuple[ListenerFilter, ...]:
    if not ports:
        return ()
    listed = _on(ports.numbers) if ports.numbers else None
    disabled = listed if ports.others else ListenerFilterChainMatchPredicate(not_match=listed)
    return (ListenerFilter(name=name, typed_config=to_any(config), filter_disabled=disabled),)


def _on(ports: Collection[int]) -> ListenerFilterChainMatchPredicate:
    ranges = [
        ListenerFilterChainMatchPredicate(destination_port_range=Int32Range(start=start, end=end))
        for start, end in _ranges(ports)
    ]
    if len(ranges) == 1:
        return ranges[0]
    return ListenerFilterChainMatchPredicate(or_match=ListenerFilterChainMatchPredicateMatchSet(rules=ranges))


def _ranges(ports: Collection[int]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of neighbouring ports."""
    first, *rest = sorted(set(ports))
    start, end = first, first + 1
    for port in rest:
        if port == end:
            end += 1
            continue
        yield start, end
        start, end = port, port + 1
    yield start, end
