"""The authority on disk: a directory of three PEM files, made whole, never overwritten by a new root."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from sds.authority import Authority, NewAuthority, create_authority
from sds.authority_material import (
    INTERMEDIATE,
    ROOT_CERTIFICATE,
    ROOT_KEY,
    AuthorityMaterial,
    AuthorityPlace,
    build_intermediate,
    build_material,
    check_is_of,
    is_due,
    log_created,
    log_renewed,
    parse_authority,
    renew,
)
from sds.keyfiles import KeyFileError, create_file, read_file, replace_file, sync_directory


def load_or_create_authority(directory: Path, *, trust_domain: str, now: datetime) -> Authority:
    """The authority in `directory`; a new one if the directory does not exist or is empty.

    An intermediate with less than half its life left is replaced by a fresh one of the same root. Raises
    KeyFileError if the directory holds anything that is not a readable authority of `trust_domain`: a new
    root would cut off every sidecar that trusts the old one, so minting it is left to a person.
    """
    place = _place(directory)
    if not _holds_something(directory):
        new = create_authority(trust_domain=trust_domain, now=now)
        if save_authority(directory, new):
            log_created(new.authority, place)
            return new.authority
    authority = load_authority(directory)
    check_is_of(authority, trust_domain, place)
    if not is_due(authority, now):
        return authority
    renewed = renew(authority, read_file(directory / ROOT_KEY), place, now)
    replace_file(directory / INTERMEDIATE, build_intermediate(renewed))
    log_renewed(renewed)
    return renewed


def save_authority(directory: Path, new: NewAuthority) -> bool:
    """Writes a new authority; False, with nothing written, if the directory has got content meanwhile.

    Every file is 0600 and on disk before the directory gets its name, so a crash leaves no half authority.
    """
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, content in build_material(new).items():
            create_file(temporary / name, content)
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
    material = AuthorityMaterial(
        root=read_file(directory / ROOT_CERTIFICATE), intermediate=read_file(directory / INTERMEDIATE)
    )
    return parse_authority(material, _place(directory))


def _place(directory: Path) -> AuthorityPlace:
    return AuthorityPlace(
        name=str(directory),
        how_to_drop=f"move {directory} away",
        consequence="every sidecar that runs needs a new bootstrap",
    )


def _holds_something(directory: Path) -> bool:
    """Raises KeyFileError if that cannot be told: then there may be an authority."""
    try:
        return any(directory.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise KeyFileError(f"{directory} cannot be read: {error.strerror}") from error
