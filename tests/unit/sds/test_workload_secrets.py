"""The secrets of one stream: what SDS sends, when it changes, and what may be shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from model.identity import SpiffeId
from sds.authority import Authority, NewAuthority, create_authority
from sds.certificate_policy import CertificatePolicy
from sds.secrets import IssuedSecret, WorkloadSecrets
from sds.validation import validate_svid

LIFE = timedelta(hours=24)


@pytest.fixture
def secrets(new_authority: NewAuthority, identity: SpiffeId) -> WorkloadSecrets:
    return for_stream(lambda: new_authority.authority, identity)


def for_stream(authority: Callable[[], Authority], identity: SpiffeId) -> WorkloadSecrets:
    return WorkloadSecrets(
        authority=authority, identity=identity, policy=CertificatePolicy(life=LIFE), jitter=lambda: 1.0
    )


def get(secrets: WorkloadSecrets, name: str, now: datetime) -> IssuedSecret:
    secret = secrets.secret(name, now)
    assert secret is not None
    return secret


def private_key(secret: IssuedSecret) -> bytes:
    certificate = Secret().parse(secret.body).tls_certificate
    assert certificate is not None
    assert certificate.private_key is not None
    return certificate.private_key.inline_bytes or b""


def test_default_is_a_certificate_with_its_key(
    secrets: WorkloadSecrets, new_authority: NewAuthority, now: datetime, identity: SpiffeId
) -> None:
    secret = get(secrets, "default", now)
    message = Secret().parse(secret.body)
    assert message.name == secret.name == "default"
    assert message.tls_certificate is not None
    assert message.tls_certificate.certificate_chain is not None
    chain = message.tls_certificate.certificate_chain.inline_bytes or b""
    leaf = x509.load_pem_x509_certificate(chain)
    assert int(secret.version, 16) == leaf.serial_number
    assert load_pem_private_key(private_key(secret), None).public_key() == leaf.public_key()
    bundle = new_authority.authority.trust_bundle
    assert validate_svid(chain, bundle=bundle, trust_domain="mesh.example", now=now) == identity


def test_rootca_is_the_trust_bundle(secrets: WorkloadSecrets, new_authority: NewAuthority, now: datetime) -> None:
    secret = get(secrets, "ROOTCA", now)
    message = Secret().parse(secret.body)
    assert message.name == secret.name == "ROOTCA"
    assert message.validation_context is not None
    assert message.validation_context.trusted_ca is not None
    assert message.validation_context.trusted_ca.inline_bytes == new_authority.authority.trust_bundle
    assert secret.renew_at is None


@pytest.mark.parametrize("name", ["", "rootca", "Default", "default ", "kubernetes://shop/tls"])
def test_other_names_are_nothing(secrets: WorkloadSecrets, now: datetime, name: str) -> None:
    assert secrets.secret(name, now) is None


def test_asking_again_gives_the_same_even_when_due(secrets: WorkloadSecrets, now: datetime) -> None:
    assert secrets.renew_at is None
    first = get(secrets, "default", now)
    assert secrets.renew_at == first.renew_at
    assert first.renew_at is not None
    assert get(secrets, "default", first.renew_at + timedelta(hours=1)) == first
    assert get(secrets, "default", now - timedelta(days=1)) == first


def test_renewal_is_due_at_half_of_life_with_jitter(secrets: WorkloadSecrets, now: datetime) -> None:
    due = get(secrets, "default", now).renew_at
    assert due is not None
    assert due - now == pytest.approx(LIFE * 0.55, abs=timedelta(seconds=1))


def test_renewing_makes_a_new_key_and_is_served_from_then_on(secrets: WorkloadSecrets, now: datetime) -> None:
    first = get(secrets, "default", now)
    later = now + timedelta(hours=12)
    second = secrets.renew(later)
    assert get(secrets, "default", later) == second
    assert first.version != second.version
    assert private_key(first) != private_key(second)


def test_an_ended_certificate_is_not_served(secrets: WorkloadSecrets, now: datetime) -> None:
    first = get(secrets, "default", now)
    assert get(secrets, "default", now + LIFE).version != first.version


def test_streams_of_one_identity_share_the_bundle_and_nothing_else(
    new_authority: NewAuthority, identity: SpiffeId, now: datetime
) -> None:
    one, other = (for_stream(lambda: new_authority.authority, identity) for _ in range(2))
    assert private_key(get(one, "default", now)) != private_key(get(other, "default", now))
    assert get(one, "ROOTCA", now) == get(other, "ROOTCA", now + LIFE)


def test_the_old_certificate_stays_when_renewal_fails(identity: SpiffeId, now: datetime) -> None:
    current = create_authority(trust_domain="mesh.example", now=now).authority
    secrets = for_stream(lambda: current, identity)
    first = get(secrets, "default", now)
    current = create_authority(trust_domain="other.example", now=now).authority
    with pytest.raises(ValueError, match="trust domain"):
        secrets.renew(now)
    assert get(secrets, "default", now) == first


def test_a_replaced_authority_signs_the_next_and_changes_the_bundle(identity: SpiffeId, now: datetime) -> None:
    current = create_authority(trust_domain="mesh.example", now=now).authority
    secrets = for_stream(lambda: current, identity)
    before = get(secrets, "ROOTCA", now)
    current = create_authority(trust_domain="mesh.example", now=now).authority
    assert get(secrets, "ROOTCA", now).version != before.version
    secrets.renew(now)
    assert secrets.describe()[0].issuer == current.issuer


def test_what_may_be_shown(secrets: WorkloadSecrets, new_authority: NewAuthority, now: datetime) -> None:
    [root] = secrets.describe()
    assert root.name == "ROOTCA"
    assert root.spiffe_id == "spiffe://mesh.example"
    assert root.not_after == new_authority.authority.root.not_valid_after_utc
    secret = get(secrets, "default", now)
    identity, same_root = secrets.describe()
    assert same_root == root
    assert identity.name == "default"
    assert identity.serial == secret.version
    assert identity.spiffe_id == "spiffe://mesh.example/ns/shop/sa/users"
    assert identity.issuer == new_authority.authority.issuer
    assert identity.not_after == now.replace(microsecond=0) + LIFE
    assert identity.not_before == now.replace(microsecond=0) - timedelta(minutes=2)
    assert identity.renew_at == secret.renew_at


def test_nothing_shows_the_key(secrets: WorkloadSecrets, now: datetime) -> None:
    secret = get(secrets, "default", now)
    lines = [line for line in private_key(secret).decode().splitlines() if not line.startswith("-----")]
    for value in (secret, secrets, secrets.describe(), secrets._held):
        for text in (repr(value), str(value)):
            assert "PRIVATE" not in text
            assert not any(line in text for line in lines)
