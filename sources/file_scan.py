"""Which files a source consists of, and which of them may have changed since they were last looked at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 64 << 20
YOUNG_NS = 2_000_000_000
"""Under this age a file may be written again without its times moving: two writes within a clock tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A file as its metadata tells it apart."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def is_young(self, now_ns: int) -> bool:
        """Whether it was written so lately that an equal stamp proves nothing."""
        return now_ns - max(self.modified_ns, self.changed_ns) < YOUNG_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file as it was read. `settled`: an equal stamp means an equal file."""

    stamp: Stamp
    digest: bytes
    settled: bool


def digest(text: bytes) -> bytes:
    """What tells two contents apart."""
    return hashlib.blake2b(text, digest_size=16).digest()


def list_files(
    path: Path, unreadable: Callable[[str, OSError], None], linked: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, Stamp]]:
    """(path, stamp) of every manifest at or under `path`; a path that is a file is taken whatever it is called.

    Hidden files and directories and what editors leave behind (`x~`, `#x#`, `.x.swp`, `4913`) are no manifests.
    Symbolic links are followed, as a mounted ConfigMap needs; a directory is entered once. A folder below `path` that
    cannot be read, or a link that may not be followed, is handed to `unreadable`. `linked` is told of
    whatever may lead out of `path`: a link, whether it leads anywhere or not, and a file that has another name. Raises
    OSError if `path` itself cannot be read.
    """
    status = path.stat()
    if not path.is_dir():
        if path.is_symlink() or status.st_nlink > 1:
            linked()
        yield str(path), stamp_of(status)
        return
    entered = {(status.st_dev, status.st_ino)}
    yield from _walk(_entries(str(path)), entered, unreadable, linked)


def is_manifest(name: str) -> bool:
    """Whether a file of that name is read."""
    return name.endswith(SUFFIXES) and not name.startswith((".", "#"))


def _walk(
    entries: list[os.DirEntry[str]],
    entered: set[tuple[int, int]],
    unreadable: Callable[[str, OSError], None],
    linked: Callable[[], None],
) -> Iterator[tuple[str, Stamp]]:
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            linked()
        try:
            status = entry.stat()
            is_folder = entry.is_dir()
        except PermissionError as error:
            unreadable(entry.path, error)
            continue
        except OSError:
            continue
        if is_folder:
            key = (status.st_dev, status.st_ino)
            if key not in entered:
                entered.add(key)
                yield from _walk(_enter(entry.path, unreadable), entered, unreadable, linked)
        elif is_manifest(entry.name) and entry.is_file():
            if status.st_nlink > 1:
                linked()
            yield entry.path, stamp_of(status)


def _enter(folder: str, unreadable: Callable[[str, OSError], None]) -> list[os.DirEntry[str]]:
    try:
        return _entries(folder)
    except FileNotFoundError:
        # A folder that went away between being listed and entered holds nothing any more.
        return []
    except OSError as error:
        unreadable(folder, error)
        return []


def _entries(folder: str) -> list[os.DirEntry[str]]:
    # A folder may be listed by whom it does not let in, and then it seems to hold nothing that exists.
    os.stat(f"{folder}/.")
    with os.scandir(folder) as found:
        return list(found)


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file whose status that is."""
    return Stamp(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
    )
