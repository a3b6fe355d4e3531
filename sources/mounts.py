"""What is mounted where, as far as it matters to who watches files. Source: proc(5), /proc/PID/mountinfo."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SHARED_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "ceph", "afs", "fuse", "virtiofs", "vboxsf")
"""Beginnings of the types of file systems that other machines write to as well. A lease there knows of no writer
elsewhere, and NFS 4 and SMB refuse it, as if there were a writer, unless the server has promised to tell of one."""
LOCAL_FILE_SYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay", "zfs"})
"""Those that nobody but this kernel writes to, so that it can tell of all that happens."""


@lru_cache(maxsize=64)
def is_shared(device: int) -> bool:
    """Whether other machines may write to the file system with that number (`st_dev`)."""
    return _kind(device).startswith(SHARED_FILE_SYSTEMS)


def is_local(folder: Path) -> bool:
    """Whether only this kernel writes to the folder's file system. Not so where nobody can tell."""
    try:
        return _kind(folder.stat().st_dev) in LOCAL_FILE_SYSTEMS
    except OSError:
        return False


def has_mounts_below(folder: Path) -> bool:
    """Whether a file or folder below this one is a place where something is mounted."""
    above = f"{os.path.abspath(folder).rstrip('/')}/"
    return any(_unescaped(place).startswith(above) for _, place, _ in _mounts() if place != "/")


def _kind(device: int) -> str:
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((kind for mounted, _, kind in _mounts() if mounted == number), "")


def _mounts() -> Iterator[tuple[str, str, str]]:
    """Device, place and type of each."""
    try:
        mounts = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return
    for mount in mounts:
        # The type is the first word behind a dash that ends the optional ones.
        words, _, about = mount.partition(" - ")
        fields, kind = words.split(), about.split()[:1]
        if len(fields) > 4 and kind:
            yield fields[2], fields[4], kind[0]


def _unescaped(place: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), place)
