"""Notices of changes in a folder, from the kernel: nothing runs until there is one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
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
_OF_A_FOLDER_ABOVE = Mask.ATTRIB | Mask.MOVE_SELF | Mask.ONLYDIR
_OF_FOLDERS = Mask.ISDIR | Mask.Q_OVERFLOW | Mask.IGNORED | Mask.MOVE_SELF | Mask.DELETE_SELF
_NO_MORE = {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_EVENTS_AT_ONCE = 256
"""Whoever writes faster than events are read must not stop everything else."""

_log = structlog.get_logger()


class FolderEvents:
    """Of `root` and, with `below`, of the folders in it, also those that links lead to, but for hidden ones. Of those
    above it only that they are moved away, or let others in than before.

    Where the kernel has no more watches to give there are no events, and the log says so. Source: inotify(7).
    """

    def __init__(self, root: Path, *, below: bool) -> None:
        self._root = root
        self._below = below
        self._folders_changed = False
        self._shut_out = False
        """A folder lets nobody in. Nothing tells when it does again."""
        self._above_too = False
        self._loop = asyncio.get_running_loop()
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify(sync_timeout=0)
            self._watch(self._inotify)
        except OSError as error:
            self._give_up(error)

    @property
    def complete(self) -> bool:
        """Whether every folder that can be entered is watched, and those above."""
        return self._inotify is not None and self._above_too

    def close(self) -> None:
        """No events come any more."""
        if self._inotify is not None:
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
        if (self._folders_changed or self._shut_out) and self._inotify is not None:
            self._folders_changed = False
            try:
                self._watch(self._inotify)
            except OSError as error:
                self._give_up(error)

    async def _happens(self, within: float) -> bool:
        # A plain timer, for a process at rest does little else: `asyncio.timeout` cancels and raises each time.
        happened: asyncio.Future[bool] = self._loop.create_future()
        timer = self._loop.call_later(within, _settle, happened, False)
        if self._inotify is not None:
            # Only while somebody waits: events that nobody waits for are not worth a turn of the loop.
            self._loop.add_reader(self._inotify.fd, self._read, self._inotify, happened)
        try:
            return await happened
        finally:
            timer.cancel()
            if self._inotify is not None:
                self._loop.remove_reader(self._inotify.fd)

    def _read(self, inotify: Inotify, happened: asyncio.Future[bool]) -> None:
        _settle(happened, True)
        for _ in range(_EVENTS_AT_ONCE):
            event = inotify.sync_get()
            if event is None:
                return
            self._folders_changed |= bool(event.mask & _OF_FOLDERS)
            if event.mask & (Mask.CREATE | Mask.MOVED_TO):
                self._folders_changed |= event.path is not None and event.path.is_symlink()
        self._folders_changed = True  # perhaps among the rest

    def _watch(self, inotify: Inotify) -> None:
        self._shut_out = False
        watches = self._watch_above(inotify)
        entered: set[tuple[int, int]] = set()
        folders = [str(self._root)]
        while folders:
            folder = folders.pop()
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in entered:
                    continue
                entered.add((status.st_dev, status.st_ino))
                watches.add(inotify.add_watch(folder, _CHANGES).wd)
                # Only now, so that no folder is in neither: what comes after this is an event.
                if self._below:
                    with os.scandir(folder) as found:
                        folders += [one.path for one in found if not one.name.startswith(".") and _is_folder(one)]
            except OSError as error:
                if error.errno in _NO_MORE:
                    raise
                self._shut_out |= isinstance(error, PermissionError)  # else it has gone away meanwhile
        for watch in inotify.watches:
            if watch.wd not in watches:
                with contextlib.suppress(OSError):  # it went with its folder
                    inotify.rm_watch(watch)

    def _watch_above(self, inotify: Inotify) -> set[int]:
        """Before all others: a folder has one watch, the last one, and a link may lead to one of these."""
        watches: set[int] = set()
        self._above_too = True
        for folder in self._root.absolute().parents:
            try:
                watches.add(inotify.add_watch(str(folder), _OF_A_FOLDER_ABOVE).wd)
            except OSError as error:
                if error.errno in _NO_MORE:
                    raise
                self._above_too = False  # it may not be looked at, or has gone away meanwhile
        return watches

    def _give_up(self, error: OSError) -> None:
        self.close()
        _log.warning(
            "sources.not_watched",
            path=str(self._root),
            why=error.strerror,
            effect="changes are found by looking every 2 s",
            fix="Raise fs.inotify.max_user_watches or fs.inotify.max_user_instances (sysctl).",
        )


def _settle(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that cannot be followed
