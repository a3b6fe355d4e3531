"""What containers print: one file each, appended to by the process itself, cut when it grows too long.

A line costs the supervisor nothing, and nothing is lost when it is busy. What is cut off is kept in one older file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROTATE_BYTES: Final = 8 * 1024 * 1024
_BLOCK: Final = 64 * 1024


def log_path(logs: Path, namespace: str, pod: str, container: str) -> Path:
    """Where the log of one container is, under the mesh's folder of logs.

    A folder for each name: a file system takes 255 bytes for one, and the name of a pod alone may have 253.
    """
    return logs / namespace / pod / f"{container}.log"


def open_log(path: Path) -> int:
    """A descriptor to append to; the folder is made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def rotate_logs(logs: Path, *, limit: int = ROTATE_BYTES) -> None:
    """Cuts every log over `limit` bytes. Its writers go on at the start of the file, because they append."""
    for path in logs.glob("*/*/*.log"):
        try:
            if path.stat().st_size > limit:
                shutil.copyfile(path, _older(path))
                os.truncate(path, 0)
        except FileNotFoundError:
            continue


class LogReader:
    """Reads one log: first its end, then what is added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def tail(self, lines: int | None) -> bytes:
        """The last `lines` lines (None: all), the older file's before the newer's. Empty if there is no such log."""
        kept: deque[bytes] = deque(maxlen=lines)
        with contextlib.suppress(FileNotFoundError), _older(self._path).open("rb") as file:
            kept.extend(file)
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            kept.extend(file)
            self._offset = file.tell()
        return b"".join(kept)

    def added(self) -> Iterator[bytes]:
        """What was written since the last call, to this or to `tail`; nothing if the log is gone."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset = 0  # it was cut
                file.seek(self._offset)
                while block := file.read(_BLOCK):
                    self._offset += len(block)
                    yield block
        except FileNotFoundError:
            return


def _older(path: Path) -> Path:
    return path.with_suffix(".log.1")
