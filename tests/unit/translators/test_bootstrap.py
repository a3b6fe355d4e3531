"""The bootstrap of a sidecar, before the real Envoy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.envoy_validation import refusal_of_bootstrap
from translators.bootstrap import BootstrapParameters, build_bootstrap, node_id, to_json
from translators.control_plane_cluster import ControlPlane, token_secret_document


def parameters(
    directory: Path, *, mark: bool = False, delta: bool = True, host: str = "127.0.0.1"
) -> BootstrapParameters:
    return BootstrapParameters(
        namespace="shop",
        pod="users-1",
        address="10.2.0.11",
        service_account="users",
        workload="users",
        labels={"app": "users"},
        admin_socket=str(directory / "admin.sock"),
        mark=mark,
        delta=delta,
        control_plane=ControlPlane(
            host=host,
            port=15012,
            server_name="heddle.local",
            root_file=str(directory / "root.pem"),
            token_file=str(directory / "token"),
            token_secret_file=str(directory / "token.json"),
        ),
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What a sidecar finds on its disk."""
    token = tmp_path / "token"
    token.write_text("secret")
    (tmp_path / "token.json").write_text(token_secret_document(str(token)))
    (tmp_path / "root.pem").write_bytes(root_pem())
    return tmp_path


def root_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=36500))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "heddle.heddle-system.svc"])
def test_envoy_takes_it(directory: Path, mark: bool, host: str) -> None:
    assert refusal_of_bootstrap(build_bootstrap(parameters(directory, mark=mark, delta=mark, host=host))) is None


def test_its_json_says_the_same(directory: Path) -> None:
    document = json.loads(to_json(build_bootstrap(parameters(directory, mark=True))))
    assert document["node"]["id"] == "sidecar~10.2.0.11~users-1.shop~shop.svc.cluster.local"
    assert document["node"]["metadata"]["LABELS"] == {"app": "users"}
    assert document["admin"]["address"]["pipe"] == {"path": str(directory / "admin.sock"), "mode": 0o600}
    assert document["dynamicResources"]["adsConfig"]["apiType"] == "DELTA_GRPC"
    (option,) = document["clusterManager"]["upstreamBindConfig"]["socketOptions"]
    assert (option["level"], option["name"], option["intValue"]) == ("1", "36", "1337")
    ports = [each["address"]["socketAddress"]["portValue"] for each in document["staticResources"]["listeners"]]
    assert ports == [15021, 15090]


def test_the_token_is_named_and_not_shown(directory: Path) -> None:
    text = to_json(build_bootstrap(parameters(directory))) + token_secret_document(str(directory / "token"))
    assert str(directory / "token") in text
    assert 'secret"' not in text.replace('genericSecret"', "").replace('"secret"', "")


def test_node_id() -> None:
    assert node_id(namespace="a", pod="b", address="::1") == "sidecar~::1~b.a~a.svc.cluster.local"
