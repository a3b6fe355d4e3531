"""What an X509-SVID must be, one broken rule a case."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from model.identity import SpiffeId, parse_spiffe_id
from sds.authority import SIGNER_KEY_USAGE, Authority, NewAuthority, create_authority
from sds.keyfiles import new_key
from sds.signing import LEAF_KEY_USAGE, issue_server, issue_workload
from sds.validation import MAX_BUNDLE_BYTES, MAX_CHAIN_BYTES, SvidRefused, validate_svid

ID = "spiffe://mesh.example/ns/shop/sa/users"
SIGNS_REVOCATIONS_TOO = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def forge(
    authority: Authority,
    now: datetime,
    *,
    uris: Sequence[str] = (ID,),
    san_critical: bool = True,
    subject: str = "",
    ca: bool = False,
    usage: x509.KeyUsage | None = LEAF_KEY_USAGE,
    usage_critical: bool = True,
    purposes: Sequence[x509.ObjectIdentifier] = BOTH,
) -> bytes:
    """A chain signed by the real authority whose leaf breaks the rules it is told to."""
    key = new_key().public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.signing_key.public_key())
    builder = (
        x509.CertificateBuilder(authority.intermediate.subject, name, key, x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=2))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(issuer, critical=False)
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names.append(x509.DNSName("users.shop"))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=san_critical)
    if usage is not None:
        builder = builder.add_extension(usage, critical=usage_critical)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    leaf = builder.sign(authority.signing_key, hashes.SHA256())
    return leaf.public_bytes(Encoding.PEM) + authority.intermediate.public_bytes(Encoding.PEM)


def check(new: NewAuthority, chain: bytes, now: datetime) -> SpiffeId:
    return validate_svid(chain, bundle=new.authority.trust_bundle, trust_domain="mesh.example", now=now)


def test_the_forger_makes_a_valid_one_when_it_breaks_nothing(new_authority: NewAuthority, now: datetime) -> None:
    assert str(check(new_authority, forge(new_authority.authority, now), now)) == ID


@pytest.mark.parametrize(
    "uris",
    [
        (),
        (ID, "spiffe://mesh.example/ns/shop/sa/other"),
        (ID, ID),
        ("https://mesh.example/ns/shop/sa/users",),
        ("spiffe://mesh.example",),
        ("spiffe://mesh.example/ns/shop/sa/users/",),
        ("spiffe://mesh.example/ns/../sa/users",),
        ("spiffe://mesh.example/ns/shop/sa/users?x=1",),
        ("spiffe://mesh.example:443/ns/shop/sa/users",),
        ("spiffe://user@mesh.example/ns/shop/sa/users",),
        ("spiffe://mesh.example/ns/shop/sa/us%65rs",),
        ("spiffe://other.example/ns/shop/sa/users",),
        ("spiffe://mesh.example/ns/" + "a" * 2048 + "/sa/users",),
    ],
)
def test_names_that_prove_nothing(new_authority: NewAuthority, now: datetime, uris: tuple[str, ...]) -> None:
    with pytest.raises(SvidRefused):
        check(new_authority, forge(new_authority.authority, now, uris=uris), now)


def test_an_alternative_name_may_be_uncritical_beside_a_subject(new_authority: NewAuthority, now: datetime) -> None:
    authority = new_authority.authority
    with pytest.raises(SvidRefused, match="not critical"):
        check(new_authority, forge(authority, now, san_critical=False), now)
    check(new_authority, forge(authority, now, san_critical=False, subject="users"), now)


def test_a_signer_does_not_authenticate(new_authority: NewAuthority, now: datetime) -> None:
    authority = new_authority.authority
    with pytest.raises(SvidRefused, match="signing certificate was used"):
        check(new_authority, forge(authority, now, ca=True), now)
    with pytest.raises(SvidRefused):
        check(new_authority, authority.intermediate.public_bytes(Encoding.PEM), now)


def test_key_usage(new_authority: NewAuthority, now: datetime) -> None:
    authority = new_authority.authority
    for chain in (
        forge(authority, now, usage=None),
        forge(authority, now, usage=SIGNS_REVOCATIONS_TOO),
        forge(authority, now, usage=SIGNER_KEY_USAGE),
        forge(authority, now, usage_critical=False),
    ):
        with pytest.raises(SvidRefused, match=r"(?i)key ?usage"):
            check(new_authority, chain, now)


@pytest.mark.parametrize("purposes", [(), BOTH[:1], BOTH[1:], (ExtendedKeyUsageOID.CODE_SIGNING,)])
def test_extended_key_usage(
    new_authority: NewAuthority, now: datetime, purposes: tuple[x509.ObjectIdentifier, ...]
) -> None:
    with pytest.raises(SvidRefused):
        check(new_authority, forge(new_authority.authority, now, purposes=purposes), now)


def test_the_server_s_own_certificate_is_no_svid(new_authority: NewAuthority, now: datetime) -> None:
    server = issue_server(new_authority.authority, dns_names=["heddle.local"], now=now, life=timedelta(hours=1))
    with pytest.raises(SvidRefused, match="exactly one URI"):
        check(new_authority, server.certificate_chain, now)


def test_another_root_with_the_same_trust_domain(
    new_authority: NewAuthority, now: datetime, identity: SpiffeId
) -> None:
    stranger = create_authority(trust_domain="mesh.example", now=now).authority
    svid = issue_workload(stranger, identity=identity, now=now, life=timedelta(hours=1))
    with pytest.raises(SvidRefused, match="does not verify"):
        check(new_authority, svid.certificate_chain, now)


def test_a_bundle_of_another_trust_domain(new_authority: NewAuthority, now: datetime, identity: SpiffeId) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=timedelta(hours=1))
    with pytest.raises(SvidRefused, match="another trust domain"):
        validate_svid(svid.certificate_chain, bundle=svid.trust_bundle, trust_domain="other.example", now=now)


def test_outside_its_time(new_authority: NewAuthority, now: datetime, identity: SpiffeId) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=timedelta(hours=1))
    check(new_authority, svid.certificate_chain, svid.not_before)
    check(new_authority, svid.certificate_chain, svid.not_after)
    for moment in (svid.not_before - timedelta(seconds=1), svid.not_after + timedelta(seconds=1)):
        with pytest.raises(SvidRefused, match="does not verify"):
            check(new_authority, svid.certificate_chain, moment)


def test_a_chain_without_its_intermediate(new_authority: NewAuthority, now: datetime, identity: SpiffeId) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=timedelta(hours=1))
    leaf = x509.load_pem_x509_certificate(svid.certificate_chain)
    with pytest.raises(SvidRefused, match="does not verify"):
        check(new_authority, leaf.public_bytes(Encoding.PEM), now)


@pytest.mark.parametrize("chain", [b"", b"garbage", b"\0\xff" * 50, b"-----BEGIN CERTIFICATE-----\n"])
def test_garbage(new_authority: NewAuthority, now: datetime, chain: bytes) -> None:
    with pytest.raises(SvidRefused, match="can be read"):
        check(new_authority, chain, now)


def test_sizes_are_bounded_before_parsing(new_authority: NewAuthority, now: datetime) -> None:
    with pytest.raises(SvidRefused, match="more than"):
        check(new_authority, b"-" * (MAX_CHAIN_BYTES + 1), now)
    with pytest.raises(SvidRefused, match="more than"):
        validate_svid(
            forge(new_authority.authority, now),
            bundle=b"-" * (MAX_BUNDLE_BYTES + 1),
            trust_domain="mesh.example",
            now=now,
        )


segments = st.from_regex(r"[A-Za-z0-9._-]{1,80}", fullmatch=True).filter(lambda text: text not in (".", ".."))
domains = st.from_regex(r"[a-z0-9._-]{1,60}", fullmatch=True)


@settings(deadline=None)
@given(trust_domain=domains, namespace=segments, service_account=segments)
def test_ids_print_and_parse_to_themselves(trust_domain: str, namespace: str, service_account: str) -> None:
    identity = SpiffeId(trust_domain=trust_domain, namespace=namespace, service_account=service_account)
    assert parse_spiffe_id(str(identity)) == identity


@settings(deadline=None)
@given(st.text() | st.text("spife:/nsam.e%?#@é\0AZ09-_", max_size=60).map(lambda tail: f"spiffe://{tail}"))
def test_a_text_is_refused_or_is_the_id_it_parses_to(text: str) -> None:
    try:
        identity = parse_spiffe_id(text)
    except ValueError:
        return
    assert str(identity) == text
