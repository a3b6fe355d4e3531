"""A pod's certificates as files, which are replaced together: `DIR/current` is a link to a folder of all three.

Whoever reads key and certificate one after the other would else find, now and then, one of the old and one of the new.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from heddle.secret_stream import Certificates

CURRENT = "current"
KEY, CHAIN, ROOTS = "key.pem", "chain.pem", "roots.pem"
_FOLDER = ".certificates-"
_NEXT = ".next"


def write_certificates(directory: Path, held: Certificates) -> None:
    """Has `DIR/current` lead to these. What it led to before is deleted: its key is of no more use.

    Only the user who writes them may read them. Raises OSError; then it leads where it did.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    # For its owner alone from its birth on, and in memory or on disk as the directory is: what a crash takes is new
    # at the next start anyway.
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=directory))
    try:
        for name, content in ((KEY, held.private_key), (CHAIN, held.chain), (ROOTS, held.roots)):
            with open(folder / name, "wb", opener=_for_the_owner) as file:
                file.write(content)
        link = directory / _NEXT
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)
        link.replace(directory / CURRENT)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for other in directory.glob(f"{_FOLDER}*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
