"""Private keys as text and as files: PEM, mode 0600, either whole on disk or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

CURVE = ec.SECP256R1

_MAX_FILE_BYTES = 64 * 1024


class KeyFileError(Exception):
    """A file that should hold a key or certificate cannot be read or is not what it should be.

    The text names the file and never quotes what is in it.
    """


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(CURVE())


def to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM: for a 0600 file or a TLS stream, never for a log."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse_key(pem: bytes, place: Path | str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in `pem`. Raises KeyFileError naming `place` if there is none."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The parser's own text is dropped, cause included: it may quote what it could not parse.
        raise KeyFileError(f"{place} holds no readable private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, CURVE):
        raise KeyFileError(f"{place} holds a key that is not P-256")
    return key


def read_file(path: Path) -> bytes:
    """What the file holds. Raises KeyFileError if it cannot be read or is over 64 KiB."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise KeyFileError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
    return content


def create_file(path: Path, content: bytes) -> None:
    """Writes a file that was not there, mode 0600. Raises FileExistsError if it is there by now."""
    with _written_beside(path, content) as temporary:
        # A hard link, unlike a rename, never replaces the key that another process has just made.
        os.link(temporary, path)
        sync_directory(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Writes the file, mode 0600: a crash leaves the old content or the new, never a part."""
    with _written_beside(path, content) as temporary:
        temporary.replace(path)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Returns once the names in the directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """A temporary file with `content` in the directory of `path`, 0600 from its birth, gone afterwards."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
