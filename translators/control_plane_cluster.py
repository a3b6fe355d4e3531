"""The way to the control plane: TLS with a verified server, and the pod's token on every stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import PurePosixPath

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    DataSource,
    Http2ProtocolOptions,
    KeepaliveSettings,
    PathConfigSource,
    TcpKeepalive,
    TransportSocket,
    WatchedDirectory,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.filters.http.credential_injector.v3 import CredentialInjector
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic.v3 import Generic
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    GenericSecret,
    SdsSecretConfig,
    Secret,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from model.names import XDS_CLUSTER
from protos import type_urls
from protos.encoder import to_any
from translators.addresses import build_address
from translators.filters import extension, http_filter, transport_socket
from translators.upstream_http import HTTP_PROTOCOL_OPTIONS

TOKEN_SECRET = "control-plane-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """Where it is, and how the two prove who they are.

    `host` is an address or a DNS name. `server_name` is what its certificate must be for (a DNS SAN), `root_file` the
    PEM file of the roots that may have signed it, `token_file` holds the token that we send. Both files may be
    replaced by a rename at any time. `token_secret_file` must hold `token_secret_document(token_file)` before Envoy
    starts: of a secret in the bootstrap itself Envoy 1.40 would never read the token again (tried).
    """

    host: str
    port: int
    server_name: str
    root_file: str
    token_file: str
    token_secret_file: str


def build_control_plane_cluster(control_plane: ControlPlane) -> Cluster:
    """One HTTP/2 connection, kept alive, on which every request carries the token."""
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(
                connection_keepalive=KeepaliveSettings(interval=timedelta(seconds=30), timeout=timedelta(seconds=10))
            )
        ),
        http_filters=[
            http_filter(
                "envoy.filters.http.credential_injector",
                CredentialInjector(
                    overwrite=True,
                    credential=extension(
                        "envoy.http.injected_credentials.generic",
                        Generic(
                            credential=_token(control_plane),
                            header="authorization",
                            header_value_prefix="Bearer ",
                        ),
                    ),
                ),
            ),
            http_filter("envoy.filters.http.upstream_codec", UpstreamCodec()),
        ],
    )
    endpoint = Endpoint(address=build_address(control_plane.host, control_plane.port))
    return Cluster(
        name=XDS_CLUSTER,
        type=ClusterDiscoveryType.STATIC if _is_address(control_plane.host) else ClusterDiscoveryType.STRICT_DNS,
        connect_timeout=timedelta(seconds=2),
        load_assignment=ClusterLoadAssignment(
            cluster_name=XDS_CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])]
        ),
        upstream_connection_options=UpstreamConnectionOptions(tcp_keepalive=TcpKeepalive(keepalive_time=60)),
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: to_any(options)},
        transport_socket=_server_tls(control_plane),
    )


def token_secret_document(token_file: str) -> str:
    """What `ControlPlane.token_secret_file` must hold: where the token is, as a response of xDS in JSON."""
    secret = Secret(name=TOKEN_SECRET, generic_secret=GenericSecret(secret=DataSource(filename=token_file)))
    return json.dumps({"resources": [{"@type": type_urls.SECRET, **secret.to_dict()}]}, indent=2) + "\n"


def _token(control_plane: ControlPlane) -> SdsSecretConfig:
    """The token, read again when something in its directory is renamed."""
    return SdsSecretConfig(
        name=TOKEN_SECRET,
        sds_config=ConfigSource(
            resource_api_version=ApiVersion.V3,
            path_config_source=PathConfigSource(
                path=control_plane.token_secret_file, watched_directory=_directory(control_plane.token_file)
            ),
        ),
    )


def _server_tls(control_plane: ControlPlane) -> TransportSocket:
    return transport_socket(
        "envoy.transport_sockets.tls",
        UpstreamTlsContext(
            sni=control_plane.server_name,
            common_tls_context=CommonTlsContext(
                tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
                alpn_protocols=["h2"],
                validation_context=CertificateValidationContext(
                    trusted_ca=DataSource(filename=control_plane.root_file),
                    watched_directory=_directory(control_plane.root_file),
                    match_typed_subject_alt_names=[
                        SubjectAltNameMatcher(
                            san_type=SubjectAltNameMatcherSanType.DNS,
                            matcher=StringMatcher(exact=control_plane.server_name),
                        )
                    ],
                ),
            ),
        ),
    )


def _directory(file: str) -> WatchedDirectory:
    return WatchedDirectory(path=str(PurePosixPath(file).parent))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
