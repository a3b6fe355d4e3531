"""The filter chains for one inbound port: which connections are taken, and what becomes of them.

A connection that no chain matches is closed. That is all that STRICT is: plaintext has no chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch

from model.policies import MtlsMode
from model.services import Protocol
from model.view import View
from translators.alpn import MESH, MESH_HTTP
from translators.authorization import build_network_authorization
from translators.downstream_tls import build_downstream_mtls
from translators.http_connection import build_inbound_http
from translators.inbound_ports import InboundTarget
from translators.tcp_connection import build_tcp_proxy

PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")
"""What the HTTP inspector calls what it finds in plaintext."""

STANDARD_ALPN = ("h2", "http/1.1")
"""Agreed on with clients that have a certificate of the mesh but no sidecar; sidecars offer names of their own."""

TLS = "tls"
RAW = "raw_buffer"


@dataclass(frozen=True, slots=True)
class _Parts:
    """The filters of a target for requests and for bytes."""

    http: Sequence[Filter]
    tcp: Sequence[Filter]
    mtls_tcp: Sequence[Filter]
    terminate_http: TransportSocket
    terminate_tcp: TransportSocket


def build_inbound_chains(target: InboundTarget, view: View) -> list[FilterChain]:
    """All chains of one target."""
    parts = _parts(target, view)
    chains = _mtls(target, parts) if target.takes_mtls else []
    return chains + (_plain(target, parts) if target.takes_plaintext else [])


def _mtls(target: InboundTarget, parts: _Parts) -> list[FilterChain]:
    """The mesh's own TLS. Under STRICT there is no other, so whoever has a certificate may come without its ALPN."""
    strict = target.mode is MtlsMode.STRICT
    every = () if strict else MESH
    match target.protocol:
        case Protocol.HTTP | Protocol.HTTP2:
            return [_chain(target, "mtls.http", parts.http, TLS, every, parts.terminate_http)]
        case Protocol.DETECT:
            http = (*MESH_HTTP, *STANDARD_ALPN) if strict else MESH_HTTP
            tcp = () if strict else tuple(name for name in MESH if name not in MESH_HTTP)
            return [
                _chain(target, "mtls.http", parts.http, TLS, http, parts.terminate_http),
                _chain(target, "mtls.tcp", parts.mtls_tcp, TLS, tcp, parts.terminate_tcp),
            ]
        case _:
            return [_chain(target, "mtls.tcp", parts.mtls_tcp, TLS, every, parts.terminate_tcp)]


def _plain(target: InboundTarget, parts: _Parts) -> list[FilterChain]:
    """Plaintext, and TLS that is the application's own: of that only the bytes are known.

    Each names its transport: Envoy does not try a chain for any transport once one for the present transport exists.
    """
    own_tls = _chain(target, "passthrough.tls", parts.tcp, TLS)
    match target.protocol:
        case Protocol.HTTP | Protocol.HTTP2:
            return [_chain(target, "plain.http", parts.http, RAW), own_tls]
        case Protocol.DETECT:
            return [
                _chain(target, "plain.http", parts.http, RAW, PLAIN_HTTP),
                _chain(target, "plain.tcp", parts.tcp, RAW),
                own_tls,
            ]
        case _:
            return [_chain(target, "plain.tcp", parts.tcp, RAW), own_tls]


def _parts(target: InboundTarget, view: View) -> _Parts:
    settings = view.settings
    return _Parts(
        http=[build_inbound_http(settings, target.cluster)],
        tcp=_tcp(target, view, after_handshake=False),
        mtls_tcp=_tcp(target, view, after_handshake=True),
        terminate_http=build_downstream_mtls(settings, STANDARD_ALPN),
        terminate_tcp=build_downstream_mtls(settings, ()),
    )


def _tcp(target: InboundTarget, view: View, *, after_handshake: bool) -> list[Filter]:
    return [
        *build_network_authorization(view, has_peer=after_handshake),
        build_tcp_proxy(view.settings, target.cluster, after_handshake=after_handshake),
    ]


def _chain(
    target: InboundTarget,
    kind: str,
    filters: Sequence[Filter],
    transport: str = "",
    applications: Sequence[str] = (),
    terminate: TransportSocket | None = None,
) -> FilterChain:
    return FilterChain(
        name=f"{target.port or 'others'}.{kind}",
        filter_chain_match=FilterChainMatch(
            destination_port=target.port,
            transport_protocol=transport,
            application_protocols=list(applications),
        ),
        transport_socket=terminate,
        filters=list(filters),
    )
