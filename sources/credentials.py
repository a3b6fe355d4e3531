"""The certificates that gateways show: from a Secret to a chain and a key that fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model.gateways import BrokenCredential, Credential, Gateway
from sources.cluster_objects import Secret

MAX_CHAIN = 95 * 1024
MAX_KEY = 16 * 1024
"""Bytes of PEM. Its parser takes time that grows with the square of the size (CVE-2024-12401)."""

_KEYS = (("tls.crt", "tls.key"), ("cert", "key"))
"""The names in a Secret of type kubernetes.io/tls, and Istio's own for a generic one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownSecret:
    """What was made of a Secret, so that it is not read again while it stays the same."""

    secret: Secret
    credential: Credential | BrokenCredential


def read_credentials(
    gateways: Iterable[Gateway],
    secrets: Mapping[tuple[str, str], Secret],
    previous: Mapping[tuple[str, str], KnownSecret],
) -> Mapping[tuple[str, str], KnownSecret]:
    """Every Secret with a name that some server has as its credential, by (namespace, name)."""
    named = {server.tls.credential for gateway in gateways for server in gateway.servers if server.tls is not None}
    found = {}
    for key in sorted(key for key in secrets if key[1] in named):
        before = previous.get(key)
        if before is not None and before.secret is secrets[key]:
            found[key] = before
        else:
            found[key] = KnownSecret(secret=secrets[key], credential=to_credential(secrets[key]))
    return found


def to_credential(secret: Secret) -> Credential | BrokenCredential:
    """The certificate and key in a Secret, or why there are none that work. The reason quotes nothing of it."""
    names = next((pair for pair in _KEYS if any(name in secret.data for name in pair)), None)
    if names is None:
        return BrokenCredential(reason="it has neither tls.crt and tls.key nor cert and key")
    chain, key = (secret.data.get(name, b"") for name in names)
    for name, content, limit in ((names[0], chain, MAX_CHAIN), (names[1], key, MAX_KEY)):
        if not content.strip():
            return BrokenCredential(reason=f"{name} is missing or empty")
        if len(content) > limit:
            return BrokenCredential(reason=f"{name} has {len(content)} bytes, more than {limit}")
    return _parse(chain, key, names)


def _parse(chain: bytes, key: bytes, names: tuple[str, str]) -> Credential | BrokenCredential:
    # Not at the top: `heddle analyze` is to start at once, and few manifests have a gateway's certificate.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        leaf, *_ = x509.load_pem_x509_certificates(chain)
        shown = leaf.public_key()
        subject, issuer = leaf.subject.rfc4514_string(), leaf.issuer.rfc4514_string()
    except (ValueError, UnsupportedAlgorithm):
        return BrokenCredential(reason=f"{names[0]} is no certificate in PEM")
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return BrokenCredential(reason=f"{names[1]} is no private key in PEM without a password")
    if not isinstance(private, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        return BrokenCredential(reason=f"{names[1]} is neither an RSA nor an ECDSA key")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < _MIN_RSA:
        return BrokenCredential(reason=f"{names[1]} is an RSA key of {private.key_size} bits, fewer than {_MIN_RSA}")
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name not in _CURVES:
        return BrokenCredential(reason=f"{names[1]} is on the curve {private.curve.name}, not on P-256, P-384 or P-521")
    if private.public_key() != shown:
        return BrokenCredential(reason=f"{names[1]} is not the key of the first certificate in {names[0]}")
    return Credential(
        certificate_chain=chain,
        private_key=key,
        serial=f"{leaf.serial_number:040x}",
        subject=subject,
        issuer=issuer,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


_MIN_RSA = 2048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What Envoy takes for a server: anything less makes it refuse the secret."""
