"""What an authority consists of at rest, wherever that is: three PEM texts, read, written and renewed in one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sds.authority import Authority, NewAuthority, instant, issue_intermediate, trust_domain_of
from sds.keyfiles import KeyFileError, parse_key, to_pem

ROOT_CERTIFICATE = "root.pem"
ROOT_KEY = "root.key.pem"
INTERMEDIATE = "intermediate.pem"
"""Certificate and key in one text, because two files cannot be replaced together."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityPlace:
    """Where an authority is kept, as people are told.

    `how_to_drop` completes "or ...: the next start makes new roots, for which ", and `consequence` that. `settings` is
    where the trust domain is asked for.
    """

    name: str
    how_to_drop: str
    consequence: str
    settings: str = "ConfigMap istio in istio-system, key mesh; `heddle analyze` says whether it is read"

    def part(self, name: str) -> str:
        """One of the three texts, as people are told."""
        return f"{name} of {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityMaterial:
    """The texts as they are kept, in PEM. The root's key is not among them: it is read only to be used."""

    root: bytes = field(repr=False)
    intermediate: bytes = field(repr=False)


def build_material(new: NewAuthority) -> Mapping[str, bytes]:
    """A new authority by the names of its texts, the root's certificate last."""
    return {
        ROOT_KEY: to_pem(new.root_key),
        INTERMEDIATE: build_intermediate(new.authority),
        ROOT_CERTIFICATE: new.authority.root.public_bytes(Encoding.PEM),
    }


def build_intermediate(authority: Authority) -> bytes:
    """The text with the intermediate's certificate and key."""
    return authority.intermediate.public_bytes(Encoding.PEM) + to_pem(authority.signing_key)


def parse_authority(material: AuthorityMaterial, place: AuthorityPlace) -> Authority:
    """The authority of which these are the texts. Raises KeyFileError, which quotes nothing of them."""
    root = _parse_certificate(material.root, place.part(ROOT_CERTIFICATE))
    intermediate = _parse_certificate(material.intermediate, place.part(INTERMEDIATE))
    signing_key = parse_key(_key_part(material.intermediate), place.part(INTERMEDIATE))
    try:
        return Authority(
            trust_domain=trust_domain_of(root), root=root, intermediate=intermediate, signing_key=signing_key
        )
    except ValueError as error:
        raise KeyFileError(f"{place.name} holds no working authority: {error}") from error


def check_is_of(authority: Authority, trust_domain: str, place: AuthorityPlace) -> None:
    """Raises KeyFileError if the authority is of another trust domain: new roots are for a person to decide."""
    if authority.trust_domain == trust_domain:
        return
    message = f"{place.name} holds the authority of {authority.trust_domain!r}, not of {trust_domain!r}: "
    fix = (
        f"put that trustDomain back ({place.settings}), or {place.how_to_drop}: the next start makes new roots, for "
        f"which {place.consequence}"
    )
    raise KeyFileError(message + fix)


def is_due(authority: Authority, now: datetime) -> bool:
    """Whether less than half of the intermediate's life is left."""
    intermediate = authority.intermediate
    half = (intermediate.not_valid_after_utc - intermediate.not_valid_before_utc) / 2
    return instant(now) >= intermediate.not_valid_before_utc + half


def renew(authority: Authority, root_key_pem: bytes, place: AuthorityPlace, now: datetime) -> Authority:
    """The same authority with a new intermediate. Raises KeyFileError if the root has ended or that is not its key."""
    root_key = parse_key(root_key_pem, place.part(ROOT_KEY))
    try:
        return issue_intermediate(trust_domain=authority.trust_domain, root=authority.root, root_key=root_key, now=now)
    except ValueError as error:
        raise KeyFileError(f"{place.name}: the intermediate certificate cannot be renewed: {error}") from error


def log_created(authority: Authority, place: AuthorityPlace) -> None:
    """An authority was made and is kept."""
    _log.info("sds.authority_created", trust_domain=authority.trust_domain, place=place.name)


def log_renewed(authority: Authority) -> None:
    """A renewed intermediate is kept."""
    _log.info(
        "sds.intermediate_renewed",
        trust_domain=authority.trust_domain,
        issuer=authority.issuer,
        not_after=authority.not_after.isoformat(),
    )


def _key_part(pem: bytes) -> bytes:
    _, marker, key = pem.partition(b"-----BEGIN PRIVATE KEY-----")
    return marker + key


def _parse_certificate(pem: bytes, where: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        # Without the cause: the text may hold a key, and a parser may quote what it could not read.
        raise KeyFileError(f"{where} is no readable certificate") from None
