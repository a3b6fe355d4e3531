"""Files of a volume, replaced all at once as a kubelet does it.

`..data` is a symbolic link to a folder with the files, renamed into place; each file is a link through it. Whoever
watches the folder sees one rename. Source: k8s.io/kubernetes/pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DATA: Final = "..data"
_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFile:
    """`user` and `group` None: root's."""

    content: bytes
    mode: int = 0o644
    user: int | None = None
    group: int | None = None


def write_files(folder: Path, files: Mapping[str, VolumeFile]) -> bool:
    """Makes `folder` show exactly `files`, by relative path; whether anything differed. Raises OSError."""
    before = _present(folder)
    if before == {path: file.content for path, file in files.items()}:
        return False
    fresh = folder / f"..{next(_numbers)}"
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
        os.chown(target, -1 if file.user is None else file.user, -1 if file.group is None else file.group)
    fresh.mkdir(exist_ok=True)
    for each in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
        each.chmod(0o755)
    old = folder / _DATA
    gone = os.readlink(old) if old.is_symlink() else None
    # The links first, as they lead nowhere until the rename.
    for top in sorted({path.split("/")[0] for path in files}):
        link = folder / top
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{top}")
    temporary = folder / "..data_tmp"
    temporary.symlink_to(fresh.name)
    temporary.rename(old)
    for link in folder.iterdir():
        if not link.name.startswith("..") and not (folder / _DATA / link.name).exists():
            link.unlink()
    if gone is not None:
        shutil.rmtree(folder / gone, ignore_errors=True)
    return True


def _present(folder: Path) -> dict[str, bytes] | None:
    data = folder / _DATA
    if not data.is_symlink():
        return None
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
