"""A directory of manifests, or one file, as a source: scanned exactly, watched for changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from watchfiles import awatch

from model.problem_codes import ProblemCode
from model.problems import Position, Problem, Severity
from sources.file_scan import MAX_FILE_BYTES, Seen, digest, list_files
from sources.open_files import BeingWritten, is_written, read_whole
from sources.store import Store

CONFIRM_SECONDS = 1.0
"""How long a source must be empty before that is believed: a mesh without objects is an outage."""
EMPTY_FILE_SECONDS = 0.05
"""How long a watched file may be empty before that is believed: many programs truncate first and write then."""
LOOK_AGAIN_SECONDS = 0.01
"""How often a file that is being written is looked at again."""
RESCAN_SECONDS = 1.0
"""How often everything is looked at although no event came: what links lead to is not watched."""

# The least that watchfiles can do: it gathers events until none came for one step.
_STEP_MS = 2
_DEBOUNCE_MS = 20

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
        self._written: dict[str, float] = {}
        """Files that a program has open for writing, and since when."""
        self._has_writers = asyncio.Event()

    @property
    def pending(self) -> tuple[str, ...]:
        """What keeps the store from being equal to the directory, in words; `scan` again later.

        A source that is empty is believed to be so after CONFIRM_SECONDS; a file is read once it is closed.
        """
        emptied = () if self._emptied_at is None else (f"{self._path} is empty: looking again",)
        return (*emptied, *(f"{file} is being written" for file in sorted(self._written)))

    def scan(self) -> bool:
        """Brings the store up to date. What was saved before the call is in it after; True if anything differed.

        Three exceptions keep the last good: a file that cannot be read, one that a program has open for writing,
        and a source of which nothing is left (a directory that is away for good, one that is empty until a second
        scan, CONFIRM_SECONDS later, finds it so again). All are reported as problems of the store, a file that is
        being written after RESCAN_SECONDS.
        """
        return self._scan(trust_empty_files=True)

    async def watch(self) -> None:
        """Scans now and after every change, until cancelled."""
        self._scan(trust_empty_files=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_writers())
            await self._watch_path()

    async def _watch_writers(self) -> None:
        """No event tells that a file was closed."""
        while True:
            await self._has_writers.wait()
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            if not all(is_written(file, now=self._now()) for file in self._written):
                self._scan(trust_empty_files=False)
            self._note_writers()

    async def _watch_path(self) -> None:
        while True:
            if self._path.exists():
                # It may go away between the two; then the scan below says so.
                with contextlib.suppress(FileNotFoundError):
                    await self._watch_while_there()
            await asyncio.sleep(0.1)
            self._scan(trust_empty_files=False)

    async def _watch_while_there(self) -> None:
        place = _identity(self._path)
        root = self._path if self._path.is_dir() else self._path.parent
        events = awatch(
            root,
            watch_filter=None,
            step=_STEP_MS,
            debounce=_DEBOUNCE_MS,
            rust_timeout=int(RESCAN_SECONDS * 1000),
            yield_on_timeout=True,
            recursive=self._path.is_dir(),
        )
        async for _ in events:
            self._scan(trust_empty_files=False)
            if self._holds_back():
                await asyncio.sleep(EMPTY_FILE_SECONDS)
                self._scan(trust_empty_files=True)
            if _identity(self._path) != place and root == self._path:
                return

    def _holds_back(self) -> bool:
        return any(seen.stamp.size == 0 and seen.digest != _EMPTY for seen in self._seen.values())

    def _scan(self, *, trust_empty_files: bool) -> bool:
        now = self._now()
        problems: list[Problem] = []
        closed: list[str] = []

        def unreadable(folder: str, error: OSError) -> None:
            message = f"the folder cannot be read: {error.strerror}"
            problems.append(_unreadable(folder, ProblemCode.UNREADABLE_FILE, message, "Make it readable."))
            closed.append(f"{folder}/")

        try:
            listed = dict(list_files(self._path, unreadable))
        except OSError as error:
            self._emptied_at = None
            self._store.report([self._vanished(f"{self._path} cannot be read: {error.strerror}")])
            return False
        # What stands in a folder that cannot be read stays as it is.
        kept = [file for file in self._seen if file.startswith(tuple(closed))] if closed else []
        listed.update((file, self._seen[file].stamp) for file in kept)
        if not listed and self._seen and not self._is_believed(now):
            self._store.report([self._vanished(f"{self._path} has no manifests any more")])
            return False
        if listed:
            self._emptied_at = None
        changes: dict[str, bytes | None] = {file: None for file in self._seen if file not in listed}
        for file in changes:
            del self._seen[file]
        for file in [file for file in self._written if file not in listed]:
            del self._written[file]
        for file, stamp in listed.items():
            before = self._seen.get(file)
            if file in kept or (before is not None and before.settled and before.stamp == stamp):
                continue
            if stamp.size == 0 and before is not None and before.digest != _EMPTY and not trust_empty_files:
                self._seen[file] = Seen(stamp=stamp, digest=before.digest, settled=False)
                continue
            text = self._read(file, stamp.size, problems, now)
            if text is None:
                continue
            mark = digest(text)
            self._seen[file] = Seen(stamp=stamp, digest=mark, settled=not stamp.is_young(int(now * 1e9)))
            if before is None or before.digest != mark:
                changes[file] = text
        self._note_writers()
        self._store.report(problems)
        return self._store.replace_files(changes) if changes else False

    def _note_writers(self) -> None:
        if self._written:
            self._has_writers.set()
        else:
            self._has_writers.clear()

    def _is_believed(self, now: float) -> bool:
        if self._emptied_at is None:
            self._emptied_at = now
        if now - self._emptied_at < CONFIRM_SECONDS:
            return False
        self._emptied_at = None
        return True

    def _read(self, file: str, size: int, problems: list[Problem], now: float) -> bytes | None:
        since = self._written.pop(file, now)
        if size > MAX_FILE_BYTES:
            message = f"the file has {size} bytes, more than {MAX_FILE_BYTES}"
            problems.append(_unreadable(file, ProblemCode.TOO_LARGE, message, "Split the file."))
            return None
        try:
            return read_whole(file, now=now)
        except BeingWritten:
            self._written[file] = since
            if now - since >= RESCAN_SECONDS:
                message = "a program has the file open for writing, so it is not read yet"
                fix = "Close it, or write a new file and rename it."
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
