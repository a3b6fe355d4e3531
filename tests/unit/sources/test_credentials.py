"""From a Secret to a certificate that a gateway can show, or to the reason why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from model.gateways import BrokenCredential, Credential
from model.problem_codes import ProblemCode
from model.problems import ObjectRef
from sources.cluster_objects import Secret
from sources.credentials import MAX_CHAIN, MAX_KEY, to_credential
from sources.store import Store
from tests.certificates import make_certificate, tls_secret

CHAIN, KEY = make_certificate("shop.example", serial=0xABC)
PEM, PKCS8, PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


def secret(**data: bytes) -> Secret:
    named = {name.replace("_", "."): value for name, value in data.items()}
    return Secret(ref=ObjectRef(kind="Secret", namespace="edge", name="a"), data=named)


def reason(chain: bytes = CHAIN, key: bytes = KEY) -> str:
    found = to_credential(secret(tls_crt=chain, tls_key=key))
    assert isinstance(found, BrokenCredential)
    return found.reason


@pytest.mark.parametrize("names", [("tls_crt", "tls_key"), ("cert", "key")])
def test_a_good_one_of_either_form(names: tuple[str, str]) -> None:
    found = to_credential(secret(**dict(zip(names, (CHAIN, KEY), strict=True))))
    assert isinstance(found, Credential)
    assert (found.certificate_chain, found.private_key) == (CHAIN, KEY)
    assert found.serial.lstrip("0") == "abc"
    assert found.subject == "CN=shop.example"
    assert found.not_after.tzinfo is not None
    assert "PRIVATE" not in repr(found)
    assert "BEGIN" not in repr(found)


def test_what_cannot_be_used() -> None:
    other, _ = make_certificate("shop.example", serial=1)
    assert "is not the key" in reason(chain=other)
    assert "no certificate" in reason(chain=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "no private key" in reason(key=b"garbage")
    assert "missing or empty" in reason(key=b" \n")
    assert to_credential(secret(password=b"x")) == BrokenCredential(
        reason="it has neither tls.crt and tls.key nor cert and key"
    )


def test_a_key_with_a_password_or_of_a_kind_that_envoy_refuses() -> None:
    private = serialization.load_pem_private_key(KEY, password=None)
    locked = private.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"x"))
    assert "without a password" in reason(key=locked)
    assert "neither an RSA nor an ECDSA" in reason(
        key=ed25519.Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, PLAIN)
    )
    assert "1024 bits" in reason(key=rsa.generate_private_key(65537, 1024).private_bytes(PEM, PKCS8, PLAIN))
    assert "secp256k1" in reason(key=ec.generate_private_key(ec.SECP256K1()).private_bytes(PEM, PKCS8, PLAIN))


def test_size_is_looked_at_before_the_content() -> None:
    assert f"more than {MAX_CHAIN}" in reason(chain=CHAIN * 1000)
    assert f"more than {MAX_KEY}" in reason(key=KEY * 1000)


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: edge}
spec:
  selector: {app: edge}
  servers:
    - port: {number: 443, name: https, protocol: HTTPS}
      tls: {mode: SIMPLE, credentialName: shop}
      hosts: ["*"]
---
apiVersion: v1
kind: Pod
metadata: {name: edge-1, namespace: edge, labels: {app: edge}, annotations: {inject.istio.io/templates: gateway}}
spec: {containers: [{name: istio-proxy, image: auto}]}
status: {podIP: 10.2.0.5}
---
"""
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(("days", "says"), [(-1, "ended at"), (10, "ends at"), (20, "")])
def test_a_certificate_that_ends_soon_is_reported(days: int, says: str) -> None:
    store = Store(now=lambda: NOW)
    chain, key = make_certificate("shop.example", serial=1, not_after=NOW + timedelta(days=days))
    store.replace_file("a.yaml", (GATEWAY + tls_secret("shop", "edge", chain, key)).encode())
    found = [problem for problem in store.problems if problem.code == ProblemCode.EXPIRING_CREDENTIAL]
    assert [says in problem.message for problem in found] == ([True] if says else [])


def test_a_secret_that_nobody_names_is_not_read() -> None:
    store = Store()
    store.replace_file("a.yaml", (GATEWAY + tls_secret("other", "edge", b"x", b"y")).encode())
    assert store.mesh.credentials == {}
    store.replace_file("b.yaml", tls_secret("shop", "edge", CHAIN, KEY).encode())
    before = store.mesh.credentials["edge", "shop"]
    assert isinstance(before, Credential)
    store.replace_file("c.yaml", tls_secret("third", "edge", CHAIN, KEY).encode())
    assert store.mesh.credentials["edge", "shop"] is before
