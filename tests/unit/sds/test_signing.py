"""What is issued: valid X509-SVIDs, never outliving the chain, logged without secrets."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from model.identity import SpiffeId
from sds.authority import NewAuthority, create_authority
from sds.certificate_policy import CertificatePolicy
from sds.signing import issue_server, issue_workload
from sds.validation import validate_svid

HOUR = timedelta(hours=1)

segments = st.text("abcXYZ019._-", min_size=1, max_size=60).filter(lambda text: text not in (".", ".."))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(namespace=segments, service_account=segments)
def test_every_identity_comes_back_from_its_certificate(
    new_authority: NewAuthority, now: datetime, namespace: str, service_account: str
) -> None:
    identity = SpiffeId(trust_domain="mesh.example", namespace=namespace, service_account=service_account)
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=HOUR)
    proved = validate_svid(svid.certificate_chain, bundle=svid.trust_bundle, trust_domain="mesh.example", now=now)
    assert proved == identity == svid.identity


def test_a_leaf_has_the_profile_of_the_standard(new_authority: NewAuthority, now: datetime, identity: SpiffeId) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=HOUR)
    leaf, intermediate = x509.load_pem_x509_certificates(svid.certificate_chain)
    assert intermediate == new_authority.authority.intermediate
    assert not leaf.subject.rdns
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [x509.UniformResourceIdentifier("spiffe://mesh.example/ns/shop/sa/users")]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert load_pem_private_key(svid.private_key, None).public_key() == leaf.public_key()
    assert int(svid.serial, 16) == leaf.serial_number


def test_times_are_backdated_and_counted_from_the_issue(
    new_authority: NewAuthority, now: datetime, identity: SpiffeId
) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=timedelta(seconds=60))
    leaf = x509.load_pem_x509_certificate(svid.certificate_chain)
    whole = now.replace(microsecond=0)
    assert svid.issued_at == now
    assert svid.not_before == leaf.not_valid_before_utc == whole - timedelta(minutes=2)
    assert svid.not_after == leaf.not_valid_after_utc == whole + timedelta(seconds=60)


def test_no_certificate_outlives_its_signer(now: datetime, identity: SpiffeId) -> None:
    for root_life, intermediate_life in ((timedelta(days=2), HOUR), (HOUR, timedelta(days=2))):
        authority = create_authority(
            trust_domain="mesh.example", now=now, root_life=root_life, intermediate_life=intermediate_life
        ).authority
        svid = issue_workload(authority, identity=identity, now=now, life=timedelta(hours=24))
        assert svid.not_after == now.replace(microsecond=0) + HOUR
        server = issue_server(authority, dns_names=["cp"], now=now, life=timedelta(hours=24))
        assert server.not_after == now.replace(microsecond=0) + HOUR
        with pytest.raises(ValueError, match="authority ended"):
            issue_workload(authority, identity=identity, now=now + HOUR, life=HOUR)


def test_every_certificate_has_its_own_key_and_serial(
    new_authority: NewAuthority, now: datetime, identity: SpiffeId
) -> None:
    issued = [issue_workload(new_authority.authority, identity=identity, now=now, life=HOUR) for _ in range(20)]
    assert len({svid.private_key for svid in issued}) == 20
    assert len({svid.serial for svid in issued}) == 20
    assert all(int(svid.serial, 16) >= 1 << 64 for svid in issued)


def test_an_identity_of_another_trust_domain_is_refused(new_authority: NewAuthority, now: datetime) -> None:
    stranger = SpiffeId(trust_domain="other.example", namespace="shop", service_account="users")
    with pytest.raises(ValueError, match=r"mesh\.example"):
        issue_workload(new_authority.authority, identity=stranger, now=now, life=HOUR)


@pytest.mark.parametrize(
    "life", [timedelta(0), timedelta(seconds=-5), timedelta(seconds=9.9), timedelta(days=90, seconds=1)]
)
def test_a_life_out_of_bounds_is_refused(
    new_authority: NewAuthority, now: datetime, identity: SpiffeId, life: timedelta
) -> None:
    with pytest.raises(ValueError, match="10 seconds to 90 days"):
        CertificatePolicy(life=life)
    with pytest.raises(ValueError, match="10 seconds to 90 days"):
        issue_workload(new_authority.authority, identity=identity, now=now, life=life)


def test_the_bounds_themselves_are_allowed() -> None:
    assert CertificatePolicy().life == timedelta(hours=24)
    CertificatePolicy(life=timedelta(seconds=10))
    CertificatePolicy(life=timedelta(days=90))


def test_a_server_is_verified_by_name_and_by_address(new_authority: NewAuthority, now: datetime) -> None:
    server = issue_server(
        new_authority.authority,
        dns_names=["heddle.local"],
        ip_addresses=[ip_address("127.0.0.1"), ip_address("::1")],
        now=now,
        life=HOUR,
    )
    leaf, intermediate = x509.load_pem_x509_certificates(server.certificate_chain)
    policy = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(server.trust_bundle))).time(now)
    for subject in (x509.DNSName("heddle.local"), x509.IPAddress(ip_address("::1"))):
        assert len(policy.build_server_verifier(subject).verify(leaf, [intermediate])) == 3
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert not names.get_values_for_type(x509.UniformResourceIdentifier)


@pytest.mark.parametrize("name", ["", "a\0b", "ä.example", "a\nb"])
def test_a_server_name_that_is_none_is_refused(new_authority: NewAuthority, now: datetime, name: str) -> None:
    with pytest.raises(ValueError, match="no DNS name"):
        issue_server(new_authority.authority, dns_names=[name], now=now, life=HOUR)


def test_a_server_without_a_name_is_refused(new_authority: NewAuthority, now: datetime) -> None:
    with pytest.raises(ValueError, match="needs a name"):
        issue_server(new_authority.authority, dns_names=[], now=now, life=HOUR)


def test_the_log_names_serial_and_identity_and_no_secret(
    new_authority: NewAuthority, now: datetime, identity: SpiffeId
) -> None:
    with capture_logs() as logs:
        svid = issue_workload(new_authority.authority, identity=identity, now=now, life=HOUR)
    [entry] = logs
    assert entry["event"] == "sds.certificate_issued"
    assert entry["serial"] == svid.serial
    assert entry["identity"] == str(identity)
    assert not _shows_key(repr(entry), svid.private_key)


def test_no_value_shows_a_key(new_authority: NewAuthority, now: datetime, identity: SpiffeId) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=HOUR)
    for value in (svid, new_authority, new_authority.authority):
        for text in (repr(value), str(value), f"{value}"):
            assert "PRIVATE" not in text
            assert not _shows_key(text, svid.private_key)
    assert _shows_key(repr(svid.private_key), svid.private_key)


def _shows_key(text: str, pem: bytes) -> bool:
    lines = [line for line in pem.decode().splitlines() if not line.startswith("-----")]
    return any(line in text for line in lines)
