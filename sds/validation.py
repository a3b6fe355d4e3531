"""Validation of an X509-SVID against its trust domain's bundle, as strictly as the standard reads."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from model.identity import SpiffeId, parse_spiffe_id
from sds.authority import instant, trust_domain_of

MAX_CHAIN_BYTES = 95 * 1024
MAX_BUNDLE_BYTES = 330 * 1024
"""Checked before parsing: PEM parsers have been quadratic (CVE-2024-12401)."""


class SvidRefused(Exception):
    """The certificate is not a valid X509-SVID; the text says why, for logs."""


def validate_svid(chain: bytes, *, bundle: bytes, trust_domain: str, now: datetime) -> SpiffeId:
    """The identity that `chain` (PEM, leaf first) proves at `now`. Raises SvidRefused.

    `bundle` is the PEM of the roots of `trust_domain`, and no other trust domain's: a root may speak for its
    own trust domain only. Holding the key is proven elsewhere, by the TLS handshake.
    Source: X.509-SVID, sections 2 to 5; the list of checks is SPIRE's credvalidator.
    """
    leaf, *signers = _parse(chain, MAX_CHAIN_BYTES)
    roots = _parse(bundle, MAX_BUNDLE_BYTES)
    try:
        identity = _leaf_identity(leaf)
        for signer in (*signers, *roots):
            if trust_domain_of(signer) != trust_domain:
                raise SvidRefused("a signing certificate is of another trust domain")
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise SvidRefused(str(error)) from error
    if identity.trust_domain != trust_domain:
        raise SvidRefused(f"{identity} is not of the trust domain {trust_domain!r}")
    verifier = PolicyBuilder().store(Store(roots)).time(instant(now)).build_client_verifier()
    try:
        verifier.verify(leaf, signers)
    except VerificationError as error:
        raise SvidRefused(f"the chain does not verify: {error}") from error
    return identity


def _leaf_identity(leaf: x509.Certificate) -> SpiffeId:
    extensions = leaf.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    if not names.critical and not leaf.subject.rdns:
        raise SvidRefused("the subject is empty and the alternative name is not critical")
    if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise SvidRefused("a signing certificate was used to authenticate")
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    if not usage.critical or not usage.value.digital_signature:
        raise SvidRefused("the key usage is not critical, or without digitalSignature")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise SvidRefused("the key usage of a leaf allows signing")
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(purposes):
        raise SvidRefused("the extended key usage lacks serverAuth or clientAuth")
    match names.value.get_values_for_type(x509.UniformResourceIdentifier):
        case [uri]:
            return parse_spiffe_id(uri)
        case uris:
            raise SvidRefused(f"an SVID has exactly one URI, not {len(uris)}")


def _parse(pem: bytes, limit: int) -> list[x509.Certificate]:
    if len(pem) > limit:
        raise SvidRefused(f"more than {limit} bytes of certificates")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise SvidRefused("no certificates that can be read") from error
