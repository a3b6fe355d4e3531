"""A directory of manifests, or one file, as a source: scanned exactly, watched for changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from model.problem_codes import ProblemCode
from model.problems import Position, Problem, Severity
from sources.file_scan import MAX_FILE_BYTES, Seen, Stamp, digest, list_files
from sources.folder_events import FolderEvents
from sources.held_file import HeldFile
from sources.mounts import has_mounts_below, is_local
from sources.open_files import BeingWritten, is_written, read_whole
from sources.store import Store

CONFIRM_SECONDS = 1.0
"""How long a source must be empty before that is believed: a mesh without objects is an outage."""
EMPTY_FILE_SECONDS = 0.05
"""How long a watched file may be empty before that is believed: many programs truncate first and write then."""
LOOK_AGAIN_SECONDS = 0.01
"""How often a file that is held back is looked at again: no event tells that it was closed."""
RESCAN_SECONDS = 2.0
"""How often everything is looked at although no event came, where events cannot tell all: not what is written under
another name of a file (a link, or the place that it is mounted from), and nothing where other machines write."""
RESCAN_ANYWAY_SECONDS = 30.0
"""The same where events should tell all; but another file system may be mounted on top."""

_EMPTY = digest(b"")


class Directory:
    """Keeps a store equal to what stands in a directory.

    File names in the store are those under `path` as it was given. `now` is the wall clock in seconds, to be
    compared with files' times.
    """

    def __init__(self, path: Path, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._store = store
        self._now = now
        self._seen: dict[str, Seen] = {}
        self._emptied_at: float | None = None
        self._held: dict[str, HeldFile] = {}
        self._holds_back = asyncio.Event()
        self._has_problems = False
        self._linked = False
        """Whether what is read may be written somewhere else, of which no folder's watch tells."""

    @property
    def name(self) -> str:
        """The path, as it was given."""
        return str(self._path)

    @property
    def pending(self) -> tuple[str, ...]:
        """What keeps the store from being equal to the directory, in words; `scan` again later.

        A source that is empty is believed to be so after CONFIRM_SECONDS; a file is read once it is closed, or, where
        nobody can tell, once it is quiet.
        """
        emptied = () if self._emptied_at is None else (f"{self._path} is empty: looking again",)
        return (*emptied, *(f"{file} is being written" for file in sorted(self._held)))

    def scan(self) -> bool:
        """Brings the store up to date. What was saved before the call is in it after; True if anything differed.

        Three exceptions keep the last good: a file or folder that cannot be read, a file that a program has open for
        writing, and a source of which nothing is left (a directory that is away for good, one that is empty until a
        second scan, CONFIRM_SECONDS later, finds it so again). All are reported as problems of the store, a file that
        is being written after RESCAN_SECONDS.
        """
        return self._scan(trust_empty_files=True)

    async def synced(self) -> None:
        """At once: a directory is read whole before it is watched."""

    async def catch_up(self) -> None:
        """See `scan`; what that leaves out is `pending`."""
        self.scan()

    async def watch(self) -> None:
        """Scans now and after every change, until cancelled."""
        self._scan(trust_empty_files=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_held_files())
            await self._watch_path()

    async def _watch_held_files(self) -> None:
        while True:
            await self._holds_back.wait()
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            now = self._now()
            if not all(is_written(file, quiet=held.is_quiet(now)) for file, held in self._held.items()):
                self._scan(trust_empty_files=False)

    async def _watch_path(self) -> None:
        while True:
            if os.path.exists(self._path):  # else than `Path.exists`, where nobody may look
                # It may go away between the two; then the scan below says so.
                with contextlib.suppress(FileNotFoundError):
                    await self._watch_while_there()
            await asyncio.sleep(0.1)
            self._scan(trust_empty_files=False)

    async def _watch_while_there(self) -> None:
        is_folder = os.path.isdir(self._path)
        root = self._path if is_folder else self._path.parent
        place = _identity(root)
        with contextlib.closing(FolderEvents(root, below=is_folder)) as events:
            while True:
                self._scan(trust_empty_files=False)
                if _identity(root) != place:
                    return
                told = events.complete and self._is_told_of_all(root)
                await events.gathered(within=RESCAN_ANYWAY_SECONDS if told else RESCAN_SECONDS)

    def _is_told_of_all(self, root: Path) -> bool:
        """Whether nothing is under way that only another look can end, and no file changes without an event."""
        if self._has_problems or self.pending or not all(seen.settled for seen in self._seen.values()):
            return False
        if self._linked or os.path.realpath(root) != os.path.abspath(root):
            return False
        return is_local(root) and not has_mounts_below(root)

    def _scan(self, *, trust_empty_files: bool) -> bool:
        problems: list[Problem] = []
        changes = self._look(problems, trust_empty_files)
        if self._held:
            self._holds_back.set()
        else:
            self._holds_back.clear()
        self._has_problems = bool(problems)
        self._store.report(problems)
        return self._store.replace_files(changes) if changes else False

    def _look(self, problems: list[Problem], trust_empty_files: bool) -> dict[str, bytes | None]:
        """What files contain that differ from the store, None for those that are gone."""
        now = self._now()
        listed = self._list(problems, now)
        if listed is None:
            self._held.clear()
            return {}
        changes: dict[str, bytes | None] = {file: None for file in self._seen if file not in listed}
        for file in changes:
            del self._seen[file]
        held, self._held = self._held, {}
        for file, stamp in listed.items():
            before = self._seen.get(file)
            if stamp is None or (before is not None and before.settled and before.stamp == stamp):
                continue
            if file in held:
                attempt = held[file].again(stamp, now)
            else:
                attempt = HeldFile(since=now, stamp=stamp, unchanged_since=now)
            text = self._read(file, attempt, problems, now)
            if text is None:
                continue
            mark = digest(text)
            is_emptied = mark == _EMPTY and before is not None and before.digest != _EMPTY
            if is_emptied and not trust_empty_files and now - attempt.unchanged_since < EMPTY_FILE_SECONDS:
                self._held[file] = attempt
                continue
            self._seen[file] = Seen(stamp=stamp, digest=mark, settled=not stamp.is_young(int(now * 1e9)))
            if before is None or before.digest != mark:
                changes[file] = text
        return changes

    def _list(self, problems: list[Problem], now: float) -> dict[str, Stamp | None] | None:
        """Every file with its stamp, None for one that stands where nobody may look. None if the source is gone."""
        closed: list[str] = []

        def unreadable(place: str, error: OSError) -> None:
            message = f"nothing in it can be read: {error.strerror}"
            problems.append(_unreadable(place, ProblemCode.UNREADABLE_FILE, message, "Make it readable."))
            closed.append(place)

        def linked() -> None:
            self._linked = True

        self._linked = False
        try:
            listed: dict[str, Stamp | None] = dict(list_files(self._path, unreadable, linked))
        except OSError as error:
            self._emptied_at = None
            problems[:] = [self._vanished(f"{self._path} cannot be read: {error.strerror}")]
            return None
        for place in closed:
            listed.update({file: None for file in self._seen if file == place or file.startswith(f"{place}/")})
        if listed:
            self._emptied_at = None
        elif self._seen and not self._is_believed(now):
            problems[:] = [self._vanished(f"{self._path} has no manifests any more")]
            return None
        return listed

    def _is_believed(self, now: float) -> bool:
        if self._emptied_at is None:
            self._emptied_at = now
        if now - self._emptied_at < CONFIRM_SECONDS:
            return False
        self._emptied_at = None
        return True

    def _read(self, file: str, attempt: HeldFile, problems: list[Problem], now: float) -> bytes | None:
        size = attempt.stamp.size
        if size > MAX_FILE_BYTES:
            message = f"the file has {size} bytes, more than {MAX_FILE_BYTES}"
            problems.append(_unreadable(file, ProblemCode.TOO_LARGE, message, "Split the file."))
            return None
        before = self._seen.get(file)
        is_known = before is not None and before.stamp == attempt.stamp
        try:
            return read_whole(file, quiet=is_known or attempt.is_quiet(now))
        except BeingWritten:
            self._held[file] = attempt
            if now - attempt.since >= RESCAN_SECONDS:
                message = "a program is writing the file, so that what it held before stays in force"
                fix = "Close the file, or write a new one and rename it."
                problems.append(_unreadable(file, ProblemCode.UNREADABLE_FILE, message, fix))
            return None
        except OSError as error:
            message = f"the file cannot be read: {error.strerror}"
            problems.append(_unreadable(file, ProblemCode.UNREADABLE_FILE, message, "Make it readable."))
            return None

    def _vanished(self, message: str) -> Problem:
        return Problem(
            severity=Severity.ERROR,
            code=ProblemCode.SOURCE_VANISHED,
            message=f"{message}; the last good configuration stays in force",
            fix="Put the directory back.",
            position=Position(file=str(self._path)),
        )


def _unreadable(file: str, code: ProblemCode, message: str, fix: str) -> Problem:
    return Problem(severity=Severity.ERROR, code=code, message=message, fix=fix, position=Position(file=file))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
