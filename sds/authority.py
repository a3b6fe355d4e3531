"""The certificate authority: a self-signed root whose key is kept apart, and the intermediate that signs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from model.identity import check_trust_domain
from sds.keyfiles import new_key

ROOT_LIFE = timedelta(days=3650)
INTERMEDIATE_LIFE = timedelta(days=730)
"""Eight times the longest certificate allowed: a signer replaced at half its life never cuts one short."""

BACKDATE = timedelta(minutes=2)
"""How far `notBefore` lies before the signing, for peers whose clock is behind. Istio's figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What signs: the root's certificate, the intermediate's, and the intermediate's key. Not the root's key.

    Raises ValueError if the three do not belong together. Source: X.509-SVID, section 4.
    """

    trust_domain: str
    root: x509.Certificate
    intermediate: x509.Certificate
    signing_key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        for signer in (self.root, self.intermediate):
            if trust_domain_of(signer) != self.trust_domain:
                raise ValueError(f"a signing certificate is not of the trust domain {self.trust_domain!r}")
        if not _signed_by(self.root, self.root) or not _signed_by(self.intermediate, self.root):
            raise ValueError("the intermediate certificate was not signed by the root")
        if self.intermediate.public_key() != self.signing_key.public_key():
            raise ValueError("the signing key is not the intermediate certificate's")

    @property
    def trust_bundle(self) -> bytes:
        """The roots that peers trust, PEM."""
        return self.root.public_bytes(Encoding.PEM)

    @property
    def not_after(self) -> datetime:
        """When the first certificate of the signing chain ends: nothing signed here may live longer."""
        return min(self.root.not_valid_after_utc, self.intermediate.not_valid_after_utc)

    @property
    def issuer(self) -> str:
        """The name that issued certificates carry, as RFC 4514 writes it."""
        return self.intermediate.subject.rfc4514_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAuthority:
    """A fresh authority together with its root key, which goes to its own file and nowhere else."""

    authority: Authority
    root_key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)


def create_authority(
    *,
    trust_domain: str,
    now: datetime,
    root_life: timedelta = ROOT_LIFE,
    intermediate_life: timedelta = INTERMEDIATE_LIFE,
) -> NewAuthority:
    """New keys, a new root and its first intermediate. `now` is aware.

    Raises ValueError if the trust domain is invalid, `now` is naive or a life is not positive.
    """
    check_trust_domain(trust_domain)
    root_key = new_key()
    name = _signer_name("root")
    root = _signer(
        trust_domain=trust_domain,
        subject=name,
        issuer=name,
        public_key=root_key.public_key(),
        issuer_public_key=root_key.public_key(),
        path_length=1,
        not_before=instant(now) - BACKDATE,
        not_after=instant(now) + _positive(root_life),
    ).sign(root_key, hashes.SHA256())
    authority = issue_intermediate(
        trust_domain=trust_domain, root=root, root_key=root_key, now=now, life=intermediate_life
    )
    return NewAuthority(authority=authority, root_key=root_key)


def issue_intermediate(
    *,
    trust_domain: str,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta = INTERMEDIATE_LIFE,
) -> Authority:
    """A new intermediate with a new key under an existing root, ending no later than it.

    Raises ValueError if the root has ended, is not of this trust domain or not of this key.
    """
    not_after = min(instant(now) + _positive(life), root.not_valid_after_utc)
    if not_after <= instant(now):
        raise ValueError(f"the root certificate ended at {root.not_valid_after_utc.isoformat()}")
    key = new_key()
    intermediate = _signer(
        trust_domain=trust_domain,
        subject=_signer_name("intermediate"),
        issuer=root.subject,
        public_key=key.public_key(),
        issuer_public_key=root_key.public_key(),
        path_length=0,
        not_before=instant(now) - BACKDATE,
        not_after=not_after,
    ).sign(root_key, hashes.SHA256())
    return Authority(trust_domain=trust_domain, root=root, intermediate=intermediate, signing_key=key)


def trust_domain_of(signer: x509.Certificate) -> str:
    """The trust domain of a signing certificate: its one URI is `spiffe://TRUST_DOMAIN`, without a path.

    Raises ValueError if the certificate may not sign certificates or its id is anything else.
    Source: X.509-SVID, sections 2 and 4; SPIFFE-ID, section 2.
    """
    try:
        constraints = signer.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = signer.extensions.get_extension_for_class(x509.KeyUsage)
        names = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise ValueError(f"no signing certificate: {error}") from error
    if not (constraints.critical and constraints.value.ca):
        raise ValueError("no signing certificate: it is not marked as an authority")
    if not (usage.critical and usage.value.key_cert_sign):
        raise ValueError("no signing certificate: its key usage does not allow it, or is not critical")
    match names.get_values_for_type(x509.UniformResourceIdentifier):
        case [uri] if uri.startswith("spiffe://"):
            return check_trust_domain(uri.removeprefix("spiffe://"))
        case _:
            raise ValueError("no signing certificate of SPIFFE: it needs exactly one URI, spiffe://TRUST_DOMAIN")


def instant(moment: datetime) -> datetime:
    """`moment` in UTC and whole seconds, as certificates hold it. Raises ValueError if it is naive."""
    if moment.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return moment.astimezone(UTC).replace(microsecond=0)


def _positive(life: timedelta) -> timedelta:
    if life <= timedelta(0):
        raise ValueError(f"a certificate's life is more than nothing, not {life}")
    return life


def _signer_name(role: str) -> x509.Name:
    # A random part, because while one root replaces another the two cannot be told apart by one name.
    mark = f"{x509.random_serial_number():040x}"[:8]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "heddle"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"heddle {role} {mark}"),
        ]
    )


def _signed_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _signer(
    *,
    trust_domain: str,
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_public_key: ec.EllipticCurvePublicKey,
    path_length: int,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    identity = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(SIGNER_KEY_USAGE, critical=True)
        .add_extension(x509.SubjectAlternativeName([identity]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public_key), critical=False)
    )


SIGNER_KEY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
