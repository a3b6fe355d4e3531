"""Envoy's `Secret` messages (extensions/transport_sockets/tls/v3/secret.proto) of what was issued."""

from __future__ import annotations

from typing import Protocol

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    Secret,
    TlsCertificate,
)


class Certificate(Protocol):
    """A chain (the leaf first) and its key, both in PEM."""

    @property
    def certificate_chain(self) -> bytes: ...
    @property
    def private_key(self) -> bytes: ...


def build_certificate_secret(name: str, issued: Certificate) -> Secret:
    """The chain and the key, inline. The message's repr shows the key: encode it and let it go."""
    return Secret(
        name=name,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(inline_bytes=issued.certificate_chain),
            private_key=DataSource(inline_bytes=issued.private_key),
        ),
    )


def build_trust_bundle_secret(name: str, bundle: bytes) -> Secret:
    """The roots that peers are checked against. Which peer is expected, the listener or the cluster says."""
    return Secret(
        name=name,
        validation_context=CertificateValidationContext(trusted_ca=DataSource(inline_bytes=bundle)),
    )
