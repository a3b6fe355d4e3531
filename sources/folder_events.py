"""Notices of changes in a folder, from the kernel: nothing runs until there is one."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import structlog
from asyncinotify import Inotify, Mask

GATHER_SECONDS = 0.005
"""For how long there must be no further event: several files that are written together come into force together."""
GATHER_AT_MOST_SECONDS = 0.02

_CHANGES = (
    Mask.CREATE | Mask.MODIFY | Mask.CLOSE_WRITE | Mask.ATTRIB | Mask.MOVE | Mask.DELETE | Mask.MOVE_SELF
    | Mask.DELETE_SELF | Mask.ONLYDIR
)  # fmt: skip
_OF_FOLDERS = Mask.ISDIR | Mask.Q_OVERFLOW

_log = structlog.get_logger()


class FolderEvents:
    """Of `root` and, with `below`, of the folders in it, but for hidden ones and what links lead to.

    Where the kernel has no more watches to give there are no events, and the log says so. Source: inotify(7).
    """

    def __init__(self, root: Path, *, below: bool) -> None:
        self._root = root
        self._below = below
        self._happened = asyncio.Event()
        self._folders_changed = False
        self._loop = asyncio.get_running_loop()
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify(sync_timeout=0)
            self._loop.add_reader(self._inotify.fd, self._read, self._inotify)
            self._watch()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """No events come any more."""
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    async def gathered(self, within: float) -> None:
        """Returns after an event and those that follow it at once, or after `within` seconds without one.

        A folder that came is watched by then, so that who looks afterwards misses nothing.
        """
        if await self._happens(within):
            end = self._loop.time() + GATHER_AT_MOST_SECONDS
            while await self._happens(GATHER_SECONDS) and self._loop.time() < end:
                pass
        if self._folders_changed:
            self._folders_changed = False
            try:
                self._watch()
            except OSError as error:
                self._give_up(error)

    async def _happens(self, within: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._happened.wait()
        happened = self._happened.is_set()
        self._happened.clear()
        return happened

    def _read(self, inotify: Inotify) -> None:
        while (event := inotify.sync_get()) is not None:
            self._folders_changed |= bool(event.mask & _OF_FOLDERS)
        self._happened.set()

    def _watch(self) -> None:
        if self._inotify is not None:
            for folder in self._folders():
                # What has gone away meanwhile, or lets nobody in, is not watched.
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    self._inotify.add_watch(folder, _CHANGES)

    def _folders(self) -> Iterator[str]:
        if not self._below:
            yield str(self._root)
            return
        for folder, names, _ in os.walk(self._root):
            names[:] = (name for name in names if not name.startswith("."))
            yield folder

    def _give_up(self, error: OSError) -> None:
        self.close()
        _log.warning(
            "sources.not_watched",
            path=str(self._root),
            why=error.strerror,
            effect="changes are found by looking every second",
            fix="Raise fs.inotify.max_user_watches or fs.inotify.max_user_instances (sysctl).",
        )
