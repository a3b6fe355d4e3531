"""The authority's certificates and what may be put together as one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from model.identity import SpiffeId
from sds.authority import (
    INTERMEDIATE_LIFE,
    SIGNER_KEY_USAGE,
    Authority,
    NewAuthority,
    create_authority,
    issue_intermediate,
    trust_domain_of,
)
from sds.certificate_policy import LONGEST_LIFE
from sds.keyfiles import new_key
from sds.signing import LEAF_KEY_USAGE, issue_workload


def test_both_signers_are_signing_certificates_of_the_trust_domain(new_authority: NewAuthority) -> None:
    authority = new_authority.authority
    for signer, path_length in ((authority.root, 1), (authority.intermediate, 0)):
        assert trust_domain_of(signer) == "mesh.example"
        constraints = signer.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
        usage = signer.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        assert not usage.value.digital_signature
        with pytest.raises(x509.ExtensionNotFound):
            signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_root_and_intermediate_have_different_keys(new_authority: NewAuthority) -> None:
    assert new_authority.root_key.public_key() == new_authority.authority.root.public_key()
    assert new_authority.authority.root.public_key() != new_authority.authority.intermediate.public_key()


def test_two_authorities_have_different_names(new_authority: NewAuthority, now: datetime) -> None:
    other = create_authority(trust_domain="mesh.example", now=now)
    assert other.authority.root.subject != new_authority.authority.root.subject


def test_a_signer_replaced_at_half_its_life_never_cuts_a_leaf_short() -> None:
    assert INTERMEDIATE_LIFE / 2 > LONGEST_LIFE


@pytest.mark.parametrize("trust_domain", ["", "Mesh", "a/b", "a:1", "a%41", "ä", "a" * 256])
def test_an_invalid_trust_domain_is_refused(trust_domain: str, now: datetime) -> None:
    with pytest.raises(ValueError, match="trust domain"):
        create_authority(trust_domain=trust_domain, now=now)


def test_a_naive_instant_is_refused(now: datetime) -> None:
    with pytest.raises(ValueError, match="time zone"):
        create_authority(trust_domain="mesh.example", now=now.replace(tzinfo=None))


def test_a_life_of_nothing_is_refused(now: datetime) -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        create_authority(trust_domain="mesh.example", now=now, root_life=timedelta(0))


def test_an_intermediate_ends_no_later_than_its_root(now: datetime) -> None:
    new = create_authority(trust_domain="mesh.example", now=now, root_life=timedelta(days=5))
    assert new.authority.intermediate.not_valid_after_utc == new.authority.root.not_valid_after_utc
    with pytest.raises(ValueError, match="root certificate ended"):
        issue_intermediate(
            trust_domain="mesh.example",
            root=new.authority.root,
            root_key=new.root_key,
            now=now + timedelta(days=5),
        )


def test_parts_that_do_not_belong_together_are_refused(new_authority: NewAuthority, now: datetime) -> None:
    one = new_authority.authority
    two = create_authority(trust_domain="mesh.example", now=now).authority
    foreign = create_authority(trust_domain="other.example", now=now).authority
    with pytest.raises(ValueError, match="not signed by the root"):
        Authority(
            trust_domain="mesh.example",
            root=two.root,
            intermediate=one.intermediate,
            signing_key=one.signing_key,
        )
    with pytest.raises(ValueError, match="signing key"):
        Authority(
            trust_domain="mesh.example",
            root=one.root,
            intermediate=one.intermediate,
            signing_key=two.signing_key,
        )
    with pytest.raises(ValueError, match="trust domain"):
        Authority(
            trust_domain="mesh.example",
            root=foreign.root,
            intermediate=foreign.intermediate,
            signing_key=foreign.signing_key,
        )


def test_a_leaf_is_no_signer(new_authority: NewAuthority, now: datetime, identity: SpiffeId) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=timedelta(hours=1))
    with pytest.raises(ValueError, match="not marked as an authority"):
        trust_domain_of(x509.load_pem_x509_certificate(svid.certificate_chain))


@pytest.mark.parametrize(
    ("uri", "ca", "usage", "usage_critical", "reason"),
    [
        ("spiffe://mesh.example", False, SIGNER_KEY_USAGE, True, "not marked as an authority"),
        ("spiffe://mesh.example", True, LEAF_KEY_USAGE, True, "key usage"),
        ("spiffe://mesh.example", True, SIGNER_KEY_USAGE, False, "key usage"),
        ("spiffe://mesh.example/ns/shop/sa/users", True, SIGNER_KEY_USAGE, True, "trust domain"),
        ("https://mesh.example", True, SIGNER_KEY_USAGE, True, "exactly one URI"),
    ],
)
def test_what_is_no_signer(
    now: datetime, uri: str, ca: bool, usage: x509.KeyUsage, usage_critical: bool, reason: str
) -> None:
    key = new_key()
    nobody = x509.Name([])
    certificate = (
        x509.CertificateBuilder(nobody, nobody, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=usage_critical)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(ValueError, match=reason):
        trust_domain_of(certificate)
