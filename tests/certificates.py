"""Certificates for servers of tests, and the Secrets they come in."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(
    *names: str, serial: int, not_after: datetime | None = None, key: ec.EllipticCurvePrivateKey | None = None
) -> tuple[bytes, bytes]:
    """A certificate that signs itself, and its key, both in PEM."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    end = not_after or datetime.now(UTC) + timedelta(days=90)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(end - timedelta(days=100))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, pkcs8, plain)


def tls_secret(
    name: str, namespace: str, chain: bytes, key: bytes, *, keys: tuple[str, str] = ("tls.crt", "tls.key")
) -> str:
    """The Secret's manifest."""
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
type: kubernetes.io/tls
data:
  {keys[0]}: {base64.b64encode(chain).decode()}
  {keys[1]}: {base64.b64encode(key).decode()}
"""
