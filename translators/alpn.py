"""How the two sidecars of a connection tell each other what is inside it: the ALPN of the mesh's own TLS.

The client's sidecar offers names that only a mesh knows; they are Istio's, so that sidecars of both meshes
understand each other during a migration. The inbound listener's TLS inspector reads what is offered and its filter
chains match on it (`application_protocols`): everything in `MESH` is mutual TLS of the mesh, `MESH_HTTP` goes to the
HTTP connection manager, `MESH_TCP` to the TCP proxy; TLS without one of these is the application's own.

Only these names are offered, never `h2` or `http/1.1` beside them. So the server selects none of them, and its
connection manager (codec AUTO) tells HTTP/1.1 from HTTP/2 by the first bytes, which is what lets one cluster
carry both: `use_downstream_protocol` speaks what the application spoke, under the one name `istio-http/1.1`.

A cluster offers HTTP unless its port is TCP or TLS. A TCP proxy may lead to a cluster that offers HTTP: on a port whose
protocol is detected, HTTP and everything else share the cluster. Such a filter chain overrides the offer for its
connections: a `set_filter_state` network filter (`on_new_connection`) puts `upstream_tls.tcp_alpn_override`
into the object `ALPN_FILTER_STATE`, which Envoy's TLS sockets prefer to what the cluster says. Without it the
connection would be parsed as HTTP at the other end.
"""

from __future__ import annotations

MESH_TCP = ("istio",)
"""Bytes. Istio's sidecars offer `istio-peer-exchange` first, which promises a preface that stock Envoy cannot send."""

MESH_HTTP1 = ("istio-http/1.1",)
"""HTTP/1.1, or whichever HTTP the bytes say."""

MESH_HTTP2 = ("istio-h2",)
"""HTTP/2 with prior knowledge: gRPC too."""

MESH_HTTP = ("istio-http/1.0", *MESH_HTTP1, *MESH_HTTP2)
"""What an inbound listener takes for HTTP inside the mesh's TLS."""

PEER_EXCHANGE = "istio-peer-exchange"
"""Offered by Istio's sidecars for TCP, always with `istio` behind it. An inbound listener matches `istio` and selects
nothing, so the preface is never sent."""

MESH = (*MESH_HTTP, *MESH_TCP)
"""What marks a connection as the mesh's own mutual TLS."""

ALPN_FILTER_STATE = "envoy.network.application_protocols"
"""The filter state object that overrides a cluster's ALPN for one downstream connection: names joined by commas."""
