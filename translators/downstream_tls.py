"""The server's end of mutual TLS inside the mesh."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from model.names import IDENTITY_SECRET, TRUST_BUNDLE_SECRET
from model.settings import MeshSettings
from translators.config_source import ads
from translators.filters import transport_socket


def build_downstream_mtls(settings: MeshSettings, alpn: tuple[str, ...]) -> TransportSocket:
    """Mutual TLS: our own certificate, and a peer whose certificate is of the mesh's trust domain or an alias of it.

    `alpn` are the protocols to answer with, the preferred one first. Sessions are not resumed: a resumed one would
    skip the check of the peer against the trust bundle of now.
    """
    return transport_socket(
        "envoy.transport_sockets.tls",
        DownstreamTlsContext(
            require_client_certificate=True,
            disable_stateless_session_resumption=True,
            disable_stateful_session_resumption=True,
            common_tls_context=CommonTlsContext(
                tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
                alpn_protocols=list(alpn),
                tls_certificate_sds_secret_configs=[SdsSecretConfig(name=IDENTITY_SECRET, sds_config=ads())],
                combined_validation_context=CommonTlsContextCombinedCertificateValidationContext(
                    default_validation_context=CertificateValidationContext(
                        match_typed_subject_alt_names=[
                            SubjectAltNameMatcher(
                                san_type=SubjectAltNameMatcherSanType.URI,
                                matcher=StringMatcher(prefix=f"spiffe://{domain}/"),
                            )
                            for domain in trust_domains(settings)
                        ]
                    ),
                    validation_context_sds_secret_config=SdsSecretConfig(name=TRUST_BUNDLE_SECRET, sds_config=ads()),
                ),
            ),
        ),
    )


def trust_domains(settings: MeshSettings) -> tuple[str, ...]:
    """The mesh's trust domain, then its aliases, each once."""
    return tuple(dict.fromkeys((settings.trust_domain, *settings.trust_domain_aliases)))
