"""The server's end of TLS at a gateway: a certificate of the user's, and clients who need none."""

from __future__ import annotations

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsParameters,
    TlsParametersTlsProtocol,
)

from model.gateways import ServerTls, TlsVersion
from model.names import CredentialSecret
from translators.config_source import ads
from translators.filters import transport_socket

ALPN = ("h2", "http/1.1")

_VERSIONS: Mapping[TlsVersion, TlsParametersTlsProtocol] = {
    TlsVersion.TLS_AUTO: TlsParametersTlsProtocol.TLS_AUTO,
    TlsVersion.TLSV1_0: TlsParametersTlsProtocol.TLSv1_0,
    TlsVersion.TLSV1_1: TlsParametersTlsProtocol.TLSv1_1,
    TlsVersion.TLSV1_2: TlsParametersTlsProtocol.TLSv1_2,
    TlsVersion.TLSV1_3: TlsParametersTlsProtocol.TLSv1_3,
}


def build_server_tls(tls: ServerTls) -> TransportSocket:
    """TLS 1.2 at least, unless the server says otherwise. The certificate comes by SDS and is replaced in place."""
    minimum = TlsVersion.TLSV1_2 if tls.minimum is TlsVersion.TLS_AUTO else tls.minimum
    if tls.maximum in (TlsVersion.TLSV1_0, TlsVersion.TLSV1_1) and tls.minimum is TlsVersion.TLS_AUTO:
        minimum = tls.maximum
    return transport_socket(
        "envoy.transport_sockets.tls",
        DownstreamTlsContext(
            require_client_certificate=False,
            common_tls_context=CommonTlsContext(
                tls_params=TlsParameters(
                    tls_minimum_protocol_version=_VERSIONS[minimum],
                    tls_maximum_protocol_version=_VERSIONS[tls.maximum],
                    cipher_suites=list(tls.cipher_suites),
                ),
                alpn_protocols=list(ALPN),
                tls_certificate_sds_secret_configs=[
                    SdsSecretConfig(name=str(CredentialSecret(name=tls.credential)), sds_config=ads())
                ],
            ),
        ),
    )
