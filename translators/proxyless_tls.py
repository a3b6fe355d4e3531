"""Mutual TLS of a gRPC client without a sidecar, whose key, certificate and roots are in files of its own.

It is told which of its certificate providers to use, by a name that its bootstrap must have: a cluster that names
another is refused. So only a client that says it has that provider is told of TLS. It has one way to call all endpoints
of a cluster, and offers `h2` and no name that only a mesh knows. Source: gRPC proposal A29.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateProviderPluginInstance,
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from model.names import OutboundCluster, host_namespace
from model.policies import MtlsMode
from model.traffic import TlsMode, policy_for
from model.view import View
from protos.templates import new
from translators.aliases import aliased
from translators.filters import transport_socket
from translators.peer_authentication import mtls_mode
from translators.upstream_tls import NOBODY, mesh_names, san_matchers

METADATA_KEY = "CERTIFICATE_PROVIDER"
CERTIFICATE_PROVIDER = "default"
"""The entry of the node's metadata by which a client says that its bootstrap has the provider, and its name there."""


class Unspeakable(Exception):
    """A DestinationRule asks for TLS that the client cannot speak."""


def build_proxyless_tls(name: OutboundCluster, view: View) -> TransportSocket | None:
    """How the cluster is called; None: in plaintext. Raises Unspeakable.

    Without a word of a DestinationRule it is mutual TLS where some endpoint takes nothing else: one that takes both
    tells the mesh's TLS from its application's own by ALPN, and would hand the application what a gRPC client offers.
    """
    service = view.destination(name.host)
    if service is None:
        return None
    target = OutboundCluster(port=name.port, host=aliased(service, view).host)
    rule = view.destination_rule(name.host)
    subset = rule.subset(name.subset) if rule and name.subset else None
    labels = subset.labels if subset else {}
    tls = policy_for(rule, name.subset, name.port).tls
    if tls is None:
        demanded = view.settings.enable_auto_mtls and _is_demanded(target, labels, view)
        names = mesh_names(target, view) if demanded else ()
        return _mutual(names) if names and view.certificates else None
    match tls.mode:
        case TlsMode.DISABLE:
            return None
        case TlsMode.ISTIO_MUTUAL if view.certificates:
            return _mutual(tls.subject_alt_names or mesh_names(target, view) or (NOBODY,))
        case TlsMode.ISTIO_MUTUAL | TlsMode.SIMPLE | TlsMode.MUTUAL:
            raise Unspeakable(f"TLS of mode {tls.mode} to {name}")
        case _:
            assert_never(tls.mode)


def _is_demanded(target: OutboundCluster, labels: Mapping[str, str], view: View) -> bool:
    """Whether some endpoint that has a sidecar, and these labels, refuses plaintext. Endpoints are read only where they
    can differ in it."""
    namespace = host_namespace(target.host)
    if not any(policy.selector for policy in view.peer_authentications(namespace)):
        return mtls_mode(view, namespace, {}, None) is MtlsMode.STRICT
    return any(
        mtls_mode(view, namespace, endpoint.labels, endpoint.ports.get(target.port)) is MtlsMode.STRICT
        for endpoint in view.endpoints(target.host)
        if endpoint.meshed and all(endpoint.labels.get(key) == value for key, value in labels.items())
    )


def _mutual(names: tuple[str, ...]) -> TransportSocket:
    """With a peer that has one of `names`.

    gRPC reads them in the field that Envoy gave up. In the other one alone they let in every certificate of the mesh;
    they stand in both, so that a library that follows Envoy checks them too.
    """
    provider = CertificateProviderPluginInstance(instance_name=CERTIFICATE_PROVIDER)
    validation = new(
        CertificateValidationContext,
        ca_certificate_provider_instance=provider,
        match_subject_alt_names=[StringMatcher(exact=name) for name in names],
        match_typed_subject_alt_names=san_matchers(names),
    )
    return transport_socket(
        "envoy.transport_sockets.tls",
        UpstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_certificate_provider_instance=provider,
                combined_validation_context=CommonTlsContextCombinedCertificateValidationContext(
                    default_validation_context=validation
                ),
            )
        ),
    )
