"""The authority on disk: a directory of three PEM files, made whole, never overwritten by a new root."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from sds.authority import (
    Authority,
    NewAuthority,
    create_authority,
    instant,
    issue_intermediate,
    trust_domain_of,
)
from sds.keyfiles import KeyFileError, create_file, parse_key, read_file, replace_file, sync_directory, to_pem

ROOT_CERTIFICATE_FILE = "root.pem"
ROOT_KEY_FILE = "root.key.pem"
INTERMEDIATE_FILE = "intermediate.pem"
"""Certificate and key in one file, because two files cannot be replaced together."""

_log = structlog.get_logger()


def load_or_create_authority(directory: Path, *, trust_domain: str, now: datetime) -> Authority:
    """The authority in `directory`; a new one if the directory does not exist or is empty.

    An intermediate with less than half its life left is replaced by a fresh one of the same root. Raises
    KeyFileError if the directory holds anything that is not a readable authority of `trust_domain`: a new
    root would cut off every sidecar that trusts the old one, so minting it is left to a person.
    """
    if not _holds_something(directory):
        new = create_authority(trust_domain=trust_domain, now=now)
        if save_authority(directory, new):
            _log.info("sds.authority_created", trust_domain=trust_domain, directory=str(directory))
            return new.authority
    authority = load_authority(directory)
    if authority.trust_domain != trust_domain:
        message = f"{directory} holds the authority of {authority.trust_domain!r}, not of {trust_domain!r}: "
        fix = (
            "put that trustDomain back (ConfigMap istio in istio-system, key mesh; `heddle analyze` says whether it is "
            f"read), or move {directory} away: the next start makes new roots, for which every sidecar that runs "
            "needs a new bootstrap"
        )
        raise KeyFileError(message + fix)
    intermediate = authority.intermediate
    half = (intermediate.not_valid_after_utc - intermediate.not_valid_before_utc) / 2
    if instant(now) < intermediate.not_valid_before_utc + half:
        return authority
    return _renew_intermediate(directory, authority, now)


def save_authority(directory: Path, new: NewAuthority) -> bool:
    """Writes a new authority; False, with nothing written, if the directory has got content meanwhile.

    Every file is 0600 and on disk before the directory gets its name, so a crash leaves no half authority.
    """
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        create_file(temporary / ROOT_KEY_FILE, to_pem(new.root_key))
        create_file(temporary / INTERMEDIATE_FILE, _intermediate_pem(new.authority))
        create_file(temporary / ROOT_CERTIFICATE_FILE, new.authority.root.public_bytes(Encoding.PEM))
        try:
            temporary.rename(directory)
        except OSError:
            if _holds_something(directory):
                return False
            raise
        sync_directory(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def load_authority(directory: Path) -> Authority:
    """The authority that `save_authority` wrote. The root's key is not read. Raises KeyFileError."""
    root = _parse_certificate(directory / ROOT_CERTIFICATE_FILE)
    intermediate = _parse_certificate(directory / INTERMEDIATE_FILE)
    signing_key = parse_key(_key_part(directory / INTERMEDIATE_FILE), directory / INTERMEDIATE_FILE)
    try:
        return Authority(
            trust_domain=trust_domain_of(root), root=root, intermediate=intermediate, signing_key=signing_key
        )
    except ValueError as error:
        raise KeyFileError(f"{directory} holds no working authority: {error}") from error


def _renew_intermediate(directory: Path, authority: Authority, now: datetime) -> Authority:
    try:
        renewed = issue_intermediate(
            trust_domain=authority.trust_domain, root=authority.root, root_key=_root_key(directory), now=now
        )
    except ValueError as error:
        raise KeyFileError(f"{directory}: the intermediate certificate cannot be renewed: {error}") from error
    replace_file(directory / INTERMEDIATE_FILE, _intermediate_pem(renewed))
    _log.info(
        "sds.intermediate_renewed",
        trust_domain=renewed.trust_domain,
        issuer=renewed.issuer,
        not_after=renewed.not_after.isoformat(),
    )
    return renewed


def _root_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    path = directory / ROOT_KEY_FILE
    return parse_key(read_file(path), path)


def _intermediate_pem(authority: Authority) -> bytes:
    return authority.intermediate.public_bytes(Encoding.PEM) + to_pem(authority.signing_key)


def _key_part(path: Path) -> bytes:
    _, marker, key = read_file(path).partition(b"-----BEGIN PRIVATE KEY-----")
    return marker + key


def _parse_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_file(path))
    except ValueError:
        # Without the cause: the file may hold a key, and a parser may quote what it could not read.
        raise KeyFileError(f"{path} holds no readable certificate") from None


def _holds_something(directory: Path) -> bool:
    """Raises KeyFileError if that cannot be told: then there may be an authority."""
    try:
        return any(directory.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise KeyFileError(f"{directory} cannot be read: {error.strerror}") from error
