"""Manifests that are written in place: what a directory holds back, for how long, and what it says meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.problem_codes import ProblemCode
from sources import mounts as mount_table
from sources import open_files
from sources.directory import CONFIRM_SECONDS, Directory
from sources.held_file import QUIET_AT_MOST_SECONDS, QUIET_SECONDS
from sources.store import Store
from tests.unit.sources.watched_directory import Clock, Watched, codes, names, namespace, watching

WRITER = """
import sys
with open(sys.argv[1], "w") as file:
    for line in sys.stdin:
        file.write(line.rstrip().encode().decode("unicode_escape"))
        file.flush()
        print("written", flush=True)
"""


class SlowWriter:
    """Another process that writes a file in place, as `cat > FILE` does from a slow pipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def write(self, text: str) -> None:
        """Returns once the piece is in the file."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode("unicode_escape").decode() + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "written\n"

    def close(self) -> None:
        self._process.communicate(timeout=20)


@contextlib.contextmanager
def slow_writer(file: Path) -> Iterator[SlowWriter]:
    command = [sys.executable, "-S", "-c", WRITER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        writer = SlowWriter(process)
        writer.write("")
        try:
            yield writer
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with another user's files: nobody can tell whether they are open."""
    monkeypatch.setattr(open_files, "_SET_LEASE", None)


def test_another_process_that_writes_slowly_is_waited_for(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a") + "---\n" + namespace("b"))
    directory = Directory(tmp_path, store)
    directory.scan()
    with slow_writer(file) as writer:
        for piece in (namespace("a"), "---\n", namespace("c")):
            assert not directory.scan()
            assert (names(store), directory.pending) == (["a", "b"], (f"{file} is being written",))
            writer.write(piece)
        writer.close()
        assert directory.scan()
    assert (names(store), directory.pending) == (["a", "c"], ())


async def test_a_watch_never_shows_a_half_written_file(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a") + "---\n" + namespace("b"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a", "b"])
        with slow_writer(file) as writer:
            for number, piece in enumerate((namespace("a"), "---\n", namespace("c"))):
                writer.write(piece)
                await replace_and_see(tmp_path / "other.yaml", f"other{number}", store, watched)
                assert names(store) == ["a", "b", f"other{number}"]
            writer.close()
        await watched.until(lambda: names(store) == ["a", "c", "other2"])
    assert all("b" in seen or "c" in seen for seen in watched.seen)


async def replace_and_see(file: Path, name: str, store: Store, watched: Watched) -> None:
    """Another file comes into force, which shows that the watch has looked at everything."""
    (file.parent / ".new").write_text(namespace(name))
    os.rename(file.parent / ".new", file)
    await watched.until(lambda: name in names(store))


async def test_a_watch_reads_a_file_that_is_closed_without_another_write(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No event tells of that, and the next look at everything is too late for this test.
    monkeypatch.setattr("sources.directory.RESCAN_SECONDS", 600.0)
    (tmp_path / "b.yaml").write_text(namespace("b"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["b"])
        with slow_writer(tmp_path / "a.yaml") as writer:
            writer.write(namespace("a"))
            await replace_and_see(tmp_path / "b.yaml", "c", store, watched)
            assert names(store) == ["c"]
            # A writer that wrote long ago: no event of its writing is on its way any more.
            await replace_and_see(tmp_path / "b.yaml", "d", store, watched)
            writer.close()
        await watched.until(lambda: names(store) == ["a", "d"])


async def test_a_watched_file_that_is_emptied_is_given_the_time_to_be_filled(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sources.directory.EMPTY_FILE_SECONDS", 600.0)
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        os.truncate(file, 0)
        await replace_and_see(tmp_path / "b.yaml", "b", store, watched)
        assert names(store) == ["a", "b"]
        file.write_text(namespace("c"))
        await watched.until(lambda: names(store) == ["b", "c"])
    assert ["b"] not in watched.seen


def test_a_file_that_is_written_while_a_source_starts_is_read_once_it_is_closed(tmp_path: Path, store: Store) -> None:
    (tmp_path / "b.yaml").write_text(namespace("b"))
    with slow_writer(tmp_path / "a.yaml") as writer:
        writer.write(namespace("a"))
        directory = Directory(tmp_path, store)
        directory.scan()
        assert (names(store), directory.pending) == (["b"], (f"{tmp_path / 'a.yaml'} is being written",))
        writer.write("---\n" + namespace("c"))
        writer.close()
    directory.scan()
    assert (names(store), directory.pending) == (["a", "b", "c"], ())


def test_a_file_renamed_into_place_is_read_at_once_while_another_is_written(tmp_path: Path, store: Store) -> None:
    directory = Directory(tmp_path, store)
    with (tmp_path / "a.yaml").open("w") as writer:
        writer.write(namespace("a"))
        (tmp_path / ".new").write_text(namespace("b"))
        os.rename(tmp_path / ".new", tmp_path / "b.yaml")
        assert directory.scan()
        assert names(store) == ["b"]


def test_a_file_that_becomes_unreadable_while_it_is_held_back(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    directory = Directory(tmp_path, store)
    directory.scan()

    def refuse(path: str, *, quiet: bool) -> bytes:
        raise PermissionError(13, "Permission denied")

    with file.open("w") as writer:
        writer.write(namespace("b"))
        directory.scan()
        assert directory.pending
        with monkeypatch.context() as patch:
            patch.setattr("sources.directory.read_whole", refuse)
            directory.scan()
        assert (names(store), codes(store), directory.pending) == (["a"], [ProblemCode.UNREADABLE_FILE], ())
    directory.scan()
    assert (names(store), codes(store)) == (["b"], [])


def test_a_directory_that_goes_away_holds_nothing_back(tmp_path: Path, store: Store) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.yaml").write_text(namespace("a"))
    directory = Directory(source, store)
    directory.scan()
    with (source / "a.yaml").open("w"):
        directory.scan()
        assert directory.pending
        os.rename(source, tmp_path / "away")
        directory.scan()
        assert (names(store), directory.pending) == (["a"], ())


def test_the_last_file_that_goes_away_while_it_is_written_leaves_an_empty_source(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    directory = Directory(tmp_path, store, now=clock)
    directory.scan()
    with file.open("w"):
        directory.scan()
        file.unlink()
        directory.scan()
        assert (names(store), directory.pending) == (["a"], (f"{tmp_path} is empty: looking again",))
        clock.now += CONFIRM_SECONDS
        directory.scan()
    assert (names(store), directory.pending) == ([], ())


# Where no lease can be had


@pytest.mark.usefixtures("no_lease")
def test_a_file_that_was_just_written_must_be_quiet(tmp_path: Path, store: Store, clock: Clock) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    clock.now = file.stat().st_mtime + QUIET_SECONDS / 2
    directory = Directory(tmp_path, store, now=clock)
    directory.scan()
    assert (names(store), directory.pending) == ([], (f"{file} is being written",))
    clock.now += QUIET_SECONDS
    directory.scan()
    assert (names(store), directory.pending) == (["a"], ())


@pytest.mark.usefixtures("no_lease")
def test_a_file_with_a_time_to_come_is_read_when_it_was_quiet(tmp_path: Path, store: Store, clock: Clock) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    os.utime(file, (clock.now + 3600, clock.now + 3600))
    directory = Directory(tmp_path, store, now=clock)
    directory.scan()
    assert names(store) == []
    clock.now += 2 * QUIET_SECONDS
    directory.scan()
    assert (names(store), directory.pending) == (["a"], ())
    # It looks young for ever: reading it again must not hold it back again.
    directory.scan()
    assert directory.pending == ()


@pytest.mark.usefixtures("no_lease")
def test_a_file_that_is_appended_for_ever_is_reported_and_read_in_the_end(
    tmp_path: Path, store: Store, clock: Clock
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    directory = Directory(tmp_path, store, now=clock)
    began, reported = clock.now, False
    while not names(store):
        with file.open("a") as appending:
            appending.write("#\n")
        os.utime(file, (clock.now, clock.now))
        clock.now += QUIET_SECONDS / 2
        directory.scan()
        reported |= codes(store) == [ProblemCode.UNREADABLE_FILE]
        assert clock.now - began < 2 * QUIET_AT_MOST_SECONDS
    assert clock.now - began >= QUIET_AT_MOST_SECONDS
    assert reported


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_the_lease_of_a_file_system_with_other_machines_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    status = tmp_path.stat()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"22 1 0:1 / /other rw - ext4 /dev/x rw\n36 22 {device} / {tmp_path} rw shared:1 - {kind} a:/b rw\n"
    )
    file = tmp_path / "a.yaml"
    file.write_text("text")
    monkeypatch.setattr(mount_table, "MOUNTS", mounts)
    mount_table.is_shared.cache_clear()
    try:
        with file.open("a"):
            # Refused for a reason of its own there: a writer it would not be.
            assert open_files.read_whole(str(file), quiet=True) == b"text"
        with pytest.raises(open_files.BeingWritten):
            open_files.read_whole(str(file), quiet=False)
    finally:
        mount_table.is_shared.cache_clear()
