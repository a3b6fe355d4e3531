"""Signing: certificates of workloads (X509-SVIDs) and of the control plane's own server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from model.identity import SpiffeId
from sds.authority import BACKDATE, Authority, instant
from sds.certificate_policy import CertificatePolicy
from sds.keyfiles import new_key, to_pem

_log = structlog.get_logger()

LEAF_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

_NOBODY = x509.Name([])


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A signed leaf with its key, made together and for one holder.

    `certificate_chain` is PEM, the leaf first, then the intermediate; `private_key` is PKCS #8 PEM and the
    only copy; `trust_bundle` is the PEM of the roots; `serial` is lower-case hex; `issued_at` is the moment
    of signing, and `not_before` two minutes earlier.
    """

    certificate_chain: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    trust_bundle: bytes = field(repr=False)
    serial: str
    issuer: str
    issued_at: datetime
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Svid(IssuedCertificate):
    """The certificate of a workload. Source: X.509-SVID."""

    identity: SpiffeId


def issue_workload(authority: Authority, *, identity: SpiffeId, now: datetime, life: timedelta) -> Svid:
    """A new key and certificate for a workload, ending no later than any certificate above it.

    Raises ValueError if the identity is of another trust domain, `life` is outside CertificatePolicy's
    bounds, `now` is naive, or the authority itself has ended.
    """
    if identity.trust_domain != authority.trust_domain:
        raise ValueError(f"{identity} is not of the trust domain {authority.trust_domain!r}")
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    leaf = _issue(authority, names=names, now=now, life=CertificatePolicy(life=life).life)
    _log_issue(leaf, identity=str(identity))
    return Svid(
        certificate_chain=leaf.certificate_chain,
        private_key=leaf.private_key,
        trust_bundle=leaf.trust_bundle,
        serial=leaf.serial,
        issuer=leaf.issuer,
        issued_at=leaf.issued_at,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        identity=identity,
    )


def issue_server(
    authority: Authority,
    *,
    dns_names: Sequence[str],
    ip_addresses: Sequence[IPv4Address | IPv6Address] = (),
    now: datetime,
    life: timedelta,
) -> IssuedCertificate:
    """A new key and certificate for the discovery port. It names hosts and carries no SPIFFE id.

    Every workload's certificate chains to the same root: clients of the port must match one of these names.
    Raises ValueError if there is no name, a name is not ASCII or holds a control character, or as
    `issue_workload` does.
    """
    if not dns_names and not ip_addresses:
        raise ValueError("a server's certificate needs a name or an address")
    for name in dns_names:
        if not name or not name.isascii() or not name.isprintable():
            raise ValueError(f"{name!r} is no DNS name")
    names = x509.SubjectAlternativeName(
        [*(x509.DNSName(name) for name in dns_names), *(x509.IPAddress(address) for address in ip_addresses)]
    )
    leaf = _issue(authority, names=names, now=now, life=CertificatePolicy(life=life).life)
    _log_issue(leaf, dns_names=tuple(dns_names), ip_addresses=tuple(map(str, ip_addresses)))
    return leaf


def _issue(
    authority: Authority, *, names: x509.SubjectAlternativeName, now: datetime, life: timedelta
) -> IssuedCertificate:
    not_before = instant(now) - BACKDATE
    not_after = min(instant(now) + life, authority.not_after)
    if not_after <= now:
        raise ValueError(f"the authority ended at {authority.not_after.isoformat()}")
    key = new_key()
    certificate = _leaf(
        names=names,
        public_key=key.public_key(),
        authority=authority,
        not_before=not_before,
        not_after=not_after,
    ).sign(authority.signing_key, hashes.SHA256())
    return IssuedCertificate(
        certificate_chain=certificate.public_bytes(Encoding.PEM) + authority.intermediate.public_bytes(Encoding.PEM),
        private_key=to_pem(key),
        trust_bundle=authority.trust_bundle,
        serial=to_serial(certificate),
        issuer=authority.issuer,
        issued_at=now.astimezone(UTC),
        not_before=not_before,
        not_after=not_after,
    )


def _leaf(
    *,
    names: x509.SubjectAlternativeName,
    public_key: ec.EllipticCurvePublicKey,
    authority: Authority,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer_name=authority.intermediate.subject, subject_name=_NOBODY, public_key=public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(LEAF_KEY_USAGE, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        # Critical because the subject is empty: RFC 5280, section 4.2.1.6.
        .add_extension(names, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.signing_key.public_key()),
            critical=False,
        )
    )


def to_serial(certificate: x509.Certificate) -> str:
    """The serial number as lower-case hex of fixed width, as it is versioned, logged and shown."""
    return f"{certificate.serial_number:040x}"


def _log_issue(leaf: IssuedCertificate, **holder: object) -> None:
    _log.info("sds.certificate_issued", serial=leaf.serial, not_after=leaf.not_after.isoformat(), **holder)
