"""The client's end of TLS: to other sidecars by itself, and as a DestinationRule says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import assert_never

from envoy_data_plane.envoy.config.cluster.v3 import ClusterTransportSocketMatch
from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.raw_buffer.v3 import RawBuffer
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Struct

from model.identity import SpiffeId
from model.names import IDENTITY_SECRET, TRUST_BUNDLE_SECRET, OutboundCluster, host_namespace
from model.policies import MtlsMode
from model.services import Endpoint
from model.settings import MeshSettings
from model.traffic import ClientTls, ConnectionPool, TlsMode, policy_for
from model.view import View
from translators.alpn import MESH_HTTP1, MESH_HTTP2, MESH_TCP
from translators.config_source import ads
from translators.filter_metadata import TLS_MODE, TLS_MODE_ISTIO, build_struct
from translators.filters import transport_socket
from translators.peer_authentication import is_called_with_mtls, mtls_mode
from translators.upstream_http import UpstreamHttp, upstream_http

NOBODY = "spiffe://nobody.invalid/"
"""A name that no certificate has: `.invalid` is reserved (RFC 6761). Without any name to compare with, Envoy would
take every certificate of the mesh."""

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""The public authorities, where Debian, Ubuntu, Alpine and Envoy's own image have them. Envoy's `system_root_certs`
would find them anywhere, but then it does not let names be checked."""

TLS_PARAMETERS = TlsParameters(
    tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
    tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
)
"""Two sidecars agree on 1.3, which cannot be talked down; 1.2 stays for a peer of Istio that is held to it."""


def plaintext() -> TransportSocket:
    """No TLS."""
    return transport_socket("envoy.transport_sockets.raw_buffer", RawBuffer())


def mesh_sni(name: OutboundCluster) -> str:
    """`outbound_.PORT_.SUBSET_.HOST`: the cluster's name in a form that may stand in a ClientHello. Istio's."""
    return f"outbound_.{name.port}_.{name.subset}_.{name.host}"


def mesh_alpn(speaks: UpstreamHttp) -> tuple[str, ...]:
    """What a cluster offers inside the mesh, see `translators.alpn`."""
    match speaks:
        case UpstreamHttp.NONE:
            return MESH_TCP
        case UpstreamHttp.HTTP2:
            return MESH_HTTP2
        case UpstreamHttp.HTTP1 | UpstreamHttp.DOWNSTREAM:
            return MESH_HTTP1
        case _:
            assert_never(speaks)


def tcp_alpn_override(name: OutboundCluster, view: View) -> tuple[str, ...]:
    """What a TCP proxy in front of this cluster must put into `alpn.ALPN_FILTER_STATE`; empty: nothing.

    Empty too where a DestinationRule has the cluster speak TLS to a server outside the mesh, which may refuse
    names that it does not know.
    """
    service = view.any_service(name.host)
    port = service.port(name.port) if service else None
    if port is None:
        return ()
    policy = policy_for(view.destination_rule(name.host), name.subset, name.port)
    if upstream_http(port.protocol, policy.connection_pool or ConnectionPool()) is UpstreamHttp.NONE:
        return ()
    ours = policy.tls.mode is TlsMode.ISTIO_MUTUAL if policy.tls else view.settings.enable_auto_mtls
    return MESH_TCP if ours else ()


def mesh_names(name: OutboundCluster, view: View) -> tuple[str, ...]:
    """The identities that may answer at a port of a service, under each of the mesh's trust domains; sorted."""
    settings = view.settings
    found = {
        f"spiffe://{domain}/ns/{identity.namespace}/sa/{identity.service_account}"
        for identity in _identities(name, view)
        for domain in (identity.trust_domain, *_same_mesh(identity.trust_domain, settings))
    }
    return tuple(sorted(found))


def takes_mtls(name: OutboundCluster, view: View) -> bool:
    """Whether any endpoint takes mutual TLS. It is part of the cluster, beside each endpoint's own mark, because
    Envoy goes on using the connections it has when only a mark changes, and drops them when the cluster does.
    """
    namespace = host_namespace(name.host)
    policies = view.peer_authentications(namespace) + view.peer_authentications(view.settings.root_namespace)
    disabled = any(MtlsMode.DISABLE in (policy.mode, *policy.port_modes.values()) for policy in policies)
    if not disabled and name.port not in view.uncaptured_ports(name.host):
        return True
    return any(True for _ in _mutual_endpoints(name, view))


def _identities(name: OutboundCluster, view: View) -> Iterable[SpiffeId]:
    """All of the service's, which seldom change, unless some endpoint is not called as itself on this port."""
    if name.port not in view.uncaptured_ports(name.host):
        return view.identities(name.host)
    return {endpoint.identity for endpoint in _mutual_endpoints(name, view) if endpoint.identity is not None}


def _mutual_endpoints(name: OutboundCluster, view: View) -> Iterator[Endpoint]:
    namespace = host_namespace(name.host)
    for endpoint in view.endpoints(name.host):
        mode = mtls_mode(view, namespace, endpoint.labels, endpoint.ports.get(name.port))
        if is_called_with_mtls(endpoint, name.port, mode):
            yield endpoint


def build_automatic_tls(
    name: OutboundCluster, names: tuple[str, ...], speaks: UpstreamHttp
) -> list[ClusterTransportSocketMatch]:
    """Mutual TLS to the endpoints that are marked for it, plaintext to the rest.

    Nobody is known to answer (`names` empty): all in plaintext, and no endpoint is marked either.
    """
    matches = [ClusterTransportSocketMatch(name="tlsMode-disabled", match=Struct(), transport_socket=plaintext())]
    if not names:
        return matches
    marked = ClusterTransportSocketMatch(
        name="tlsMode-istio",
        match=build_struct({TLS_MODE: TLS_MODE_ISTIO}),
        transport_socket=build_mesh_tls(sni=mesh_sni(name), names=names, alpn=mesh_alpn(speaks)),
    )
    return [marked, *matches]


def build_mesh_tls(*, sni: str, names: Iterable[str], alpn: tuple[str, ...]) -> TransportSocket:
    """Mutual TLS with the sidecar's own certificate to a peer that has exactly one of `names` (SPIFFE ids)."""
    return transport_socket(
        "envoy.transport_sockets.tls",
        UpstreamTlsContext(
            sni=sni,
            common_tls_context=CommonTlsContext(
                tls_params=TLS_PARAMETERS,
                alpn_protocols=list(alpn),
                tls_certificate_sds_secret_configs=[SdsSecretConfig(name=IDENTITY_SECRET, sds_config=ads())],
                combined_validation_context=CommonTlsContextCombinedCertificateValidationContext(
                    default_validation_context=CertificateValidationContext(
                        match_typed_subject_alt_names=san_matchers(names)
                    ),
                    validation_context_sds_secret_config=SdsSecretConfig(name=TRUST_BUNDLE_SECRET, sds_config=ads()),
                ),
            ),
        ),
    )


def build_client_tls(
    tls: ClientTls, name: OutboundCluster, server_name: str, names: tuple[str, ...], speaks: UpstreamHttp
) -> TransportSocket | None:
    """What a DestinationRule asks for; None for plaintext.

    `server_name` is what a server outside the mesh is called, unless `tls` has a name for it; `names` are the mesh
    identities behind the cluster.
    """
    match tls.mode:
        case TlsMode.DISABLE:
            return None
        case TlsMode.ISTIO_MUTUAL:
            expected = tls.subject_alt_names or names or (NOBODY,)
            return build_mesh_tls(sni=tls.sni or mesh_sni(name), names=expected, alpn=mesh_alpn(speaks))
        case TlsMode.SIMPLE | TlsMode.MUTUAL:
            return _server_tls(tls, tls.sni or server_name)
        case _:
            assert_never(tls.mode)


def san_matchers(names: Iterable[str]) -> list[SubjectAltNameMatcher]:
    """Each name as it stands, of the type that it looks like."""
    return [SubjectAltNameMatcher(san_type=_san_type(name), matcher=StringMatcher(exact=name)) for name in names]


def _server_tls(tls: ClientTls, server_name: str) -> TransportSocket:
    """TLS as the web knows it. The certificate must name the server, which Istio demands of HTTP clusters only.

    No ALPN is set: Envoy then offers what the connection pool speaks.
    """
    mutual = TlsCertificate(
        certificate_chain=DataSource(filename=tls.client_certificate), private_key=DataSource(filename=tls.private_key)
    )
    validation = CertificateValidationContext(
        trusted_ca=DataSource(filename=tls.ca_certificates or SYSTEM_ROOTS),
        match_typed_subject_alt_names=san_matchers(tls.subject_alt_names or (server_name,)),
    )
    context = CommonTlsContext(
        tls_params=TLS_PARAMETERS,
        tls_certificates=[mutual] if tls.mode is TlsMode.MUTUAL else [],
        validation_context=None if tls.insecure_skip_verify else validation,
    )
    return transport_socket(
        "envoy.transport_sockets.tls", UpstreamTlsContext(sni=server_name, common_tls_context=context)
    )


def _san_type(name: str) -> SubjectAltNameMatcherSanType:
    if "://" in name:
        return SubjectAltNameMatcherSanType.URI
    try:
        ip_address(name)
    except ValueError:
        return SubjectAltNameMatcherSanType.DNS
    return SubjectAltNameMatcherSanType.IP_ADDRESS


def _same_mesh(domain: str, settings: MeshSettings) -> tuple[str, ...]:
    """All of the mesh's trust domains if `domain` is one of them."""
    known = (settings.trust_domain, *settings.trust_domain_aliases)
    return known if domain in known else ()
