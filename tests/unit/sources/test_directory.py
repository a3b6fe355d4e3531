"""A directory as a source: what is read, exactly when, and what a brake holds back. Real files, an own clock."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model.problem_codes import ProblemCode
from sources.directory import CONFIRM_SECONDS, RESCAN_SECONDS, Directory
from sources.file_scan import YOUNG_NS
from sources.open_files import read_whole
from sources.store import Store
from tests.unit.sources.watched_directory import Clock, codes, names, namespace, watching

NOBODY = 65534


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_which_files_are_read(tmp_path: Path, store: Store) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name in ("a.yaml", "b.yml", "c.json", "sub/d.yaml", "sub/deep/e.yaml"):
        (tmp_path / name).write_text(namespace(Path(name).stem))
    for name in (
        ".f.yaml",
        "g.yaml~",
        "#h.yaml#",
        ".#i.yaml",
        ".j.yaml.swp",
        "4913",
        "k.txt",
        "l.yaml.bak",
        ".git/m.yaml",
    ):
        (tmp_path / name).write_text(namespace("no"))
    directory = Directory(tmp_path, store)
    assert directory.scan()
    assert names(store) == ["a", "b", "c", "d", "e"]
    assert store.files[0] == str(tmp_path / "a.yaml")
    assert not directory.scan()


def test_one_file(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "manifests"
    file.write_text(namespace("a"))
    directory = Directory(file, store)
    directory.scan()
    assert names(store) == ["a"]
    file.write_text(namespace("b"))
    directory.scan()
    assert names(store) == ["b"]


def test_changes_are_seen_at_once(tmp_path: Path, store: Store) -> None:
    directory = Directory(tmp_path, store)
    assert not directory.scan()
    (tmp_path / "a.yaml").write_text(namespace("a"))
    (tmp_path / "b.yaml").write_text(namespace("b"))
    assert directory.scan()
    (tmp_path / "a.yaml").unlink()
    assert directory.scan()
    assert names(store) == ["b"]
    os.rename(tmp_path / "b.yaml", tmp_path / "c.yaml")
    assert not directory.scan()
    assert store.files == (str(tmp_path / "c.yaml"),)


def test_a_file_of_the_same_size_and_time_is_read_again_while_it_is_young(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "a.yaml"
    directory = Directory(tmp_path, store)
    for name in ("a", "b", "c", "d"):
        file.write_text(namespace(name))
        os.utime(file, ns=(1, 1))
        directory.scan()
        assert names(store) == [name]


def test_an_old_file_is_not_read_again(tmp_path: Path, store: Store, clock: Clock) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    directory = Directory(tmp_path, store, now=clock)
    directory.scan()
    reads: list[str] = []
    directory._read = lambda file, *rest: reads.append(file)  # type: ignore[method-assign]
    directory.scan()
    assert reads == []
    clock.now = file.stat().st_ctime_ns / 1e9 + YOUNG_NS / 2e9
    again = Directory(tmp_path, store, now=clock)
    again.scan()
    again._read = lambda file, *rest: reads.append(file)  # type: ignore[method-assign]
    again.scan()
    assert reads == [str(file)]


def test_links_are_followed_as_a_mounted_config_map_needs(tmp_path: Path, store: Store) -> None:
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "a.yaml").write_text(namespace(f"v{version}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.yaml").symlink_to("nothing")
    directory = Directory(tmp_path, store)
    directory.scan()
    assert (names(store), codes(store)) == (["v1"], [])
    (tmp_path / "..new").symlink_to("..2")
    os.rename(tmp_path / "..new", tmp_path / "..data")
    directory.scan()
    assert names(store) == ["v2"]


def test_a_file_that_cannot_be_read_keeps_its_last_good(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(namespace("a"))
    (tmp_path / "b.yaml").write_text(namespace("b"))
    directory = Directory(tmp_path, store)
    directory.scan()

    def refuse(path: str, *, quiet: bool) -> bytes:
        if path.endswith("a.yaml"):
            raise PermissionError(13, "Permission denied")
        return read_whole(path, quiet=quiet)

    with monkeypatch.context() as patch:
        # Root reads everything, so that no mode bits make this fail.
        patch.setattr("sources.directory.read_whole", refuse)
        (tmp_path / "a.yaml").write_text(namespace("changed"))
        (tmp_path / "b.yaml").write_text(namespace("c"))
        directory.scan()
    assert names(store) == ["a", "c"]
    assert codes(store) == [ProblemCode.UNREADABLE_FILE]
    directory.scan()
    assert (names(store), codes(store)) == (["c", "changed"], [])


def test_a_file_that_is_being_written_stays_as_it_was(tmp_path: Path, store: Store, clock: Clock) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a") + "---\n" + namespace("b"))
    directory = Directory(tmp_path, store, now=clock)
    directory.scan()
    with file.open("w") as writer:
        assert not directory.scan()
        writer.write(namespace("a"))
        writer.flush()
        (tmp_path / "c.yaml").write_text(namespace("c"))
        assert directory.scan()
        assert (names(store), codes(store)) == (["a", "b", "c"], [])
        assert directory.pending == (f"{file} is being written",)
        clock.now += RESCAN_SECONDS
        directory.scan()
        assert (names(store), codes(store)) == (["a", "b", "c"], [ProblemCode.UNREADABLE_FILE])
        writer.write("---\n" + namespace("d"))
    assert directory.scan()
    assert (names(store), codes(store)) == (["a", "c", "d"], [])
    assert not directory.pending


def test_a_file_that_goes_away_while_it_is_written(tmp_path: Path, store: Store) -> None:
    directory = Directory(tmp_path, store)
    (tmp_path / "b.yaml").write_text(namespace("b"))
    with (tmp_path / "a.yaml").open("w") as writer:
        writer.write(namespace("a"))
        directory.scan()
        assert names(store) == ["b"]
        (tmp_path / "a.yaml").unlink()
        directory.scan()
    assert (names(store), directory.pending) == (["b"], ())


def test_a_folder_that_cannot_be_read_keeps_what_is_in_it(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("open", "closed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").write_text(namespace(folder))
    directory = Directory(tmp_path, store)
    directory.scan()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr("sources.file_scan.os.scandir", refuse)
        (tmp_path / "open" / "a.yaml").write_text(namespace("changed"))
        directory.scan()
        assert names(store) == ["changed", "closed"]
        assert [str(problem.position) for problem in store.problems] == [str(tmp_path / "closed")]
    (tmp_path / "closed" / "a.yaml").unlink()
    directory.scan()
    assert (names(store), codes(store)) == (["changed"], [])


def test_a_folder_that_can_be_listed_but_not_entered_keeps_what_is_in_it(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    for name in ("closed/a", "closed/b", "c"):
        (tmp_path / f"{name}.yaml").write_text(namespace(name[-1]))
    directory = Directory(tmp_path, store)
    directory.scan()
    stat = os.stat

    def refuse(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        if str(path).endswith("closed/."):
            raise PermissionError(13, "Permission denied")
        return stat(path, follow_symlinks=follow_symlinks)

    with monkeypatch.context() as patch:
        # As mode 0444 does to all but root.
        patch.setattr("sources.file_scan.os.stat", refuse)
        (tmp_path / "closed" / "a.yaml").unlink()
        directory.scan()
        assert names(store) == ["a", "b", "c"]
        assert [str(problem.position) for problem in store.problems] == [str(tmp_path / "closed")]
    directory.scan()
    assert (names(store), codes(store)) == (["b", "c"], [])


def test_what_stood_in_a_closed_folder_is_not_held_back(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    file = tmp_path / "closed" / "a.yaml"
    file.write_text(namespace("a"))
    directory = Directory(tmp_path, store)
    directory.scan()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with file.open("w"), monkeypatch.context() as patch:
        directory.scan()
        assert directory.pending
        patch.setattr("sources.file_scan.os.scandir", refuse)
        directory.scan()
        assert (names(store), codes(store), directory.pending) == (["a"], [ProblemCode.UNREADABLE_FILE], ())


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Within the block mode bits mean something, whoever runs the tests."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError:
        pytest.skip("root of a user namespace that has no other user")
    try:
        yield
    finally:
        os.seteuid(0)


def test_folders_and_links_without_permission_keep_what_they_led_to(store: Store) -> None:
    # Not in tmp_path: that is below a folder of the user who runs the tests.
    with ordinary_user(), tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for folder in ("source", "source/closed", "elsewhere"):
            (top / folder).mkdir()
        for file in ("source/a", "source/closed/b", "elsewhere/c"):
            (top / f"{file}.yaml").write_text(namespace(file[-1]))
        (top / "source" / "link.yaml").symlink_to(top / "elsewhere" / "c.yaml")
        directory = Directory(top / "source", store)
        directory.scan()
        places = [str(top / "source" / "closed"), str(top / "source" / "link.yaml")]
        for mode in (0o000, 0o444):
            for folder in ("source/closed", "elsewhere"):
                (top / folder).chmod(mode)
            (top / "source" / "a.yaml").write_text(namespace(f"a{mode}"))
            directory.scan()
            assert names(store) == [f"a{mode}", "b", "c"]
            assert sorted(str(problem.position) for problem in store.problems) == places
        for folder in ("source/closed", "elsewhere"):
            (top / folder).chmod(0o755)
        directory.scan()
        assert codes(store) == []


def test_an_absurdly_large_file_is_not_read(tmp_path: Path, store: Store) -> None:
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(1 << 30)
    Directory(tmp_path, store).scan()
    assert codes(store) == [ProblemCode.TOO_LARGE]


@pytest.mark.parametrize("vanish", [shutil.rmtree, lambda path: os.rename(path, path.parent / "away")])
def test_r60_a_directory_that_is_gone_keeps_everything(
    tmp_path: Path, store: Store, clock: Clock, vanish: Callable[[Path], None]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.yaml").write_text(namespace("a"))
    directory = Directory(source, store, now=clock)
    directory.scan()
    vanish(source)
    for _ in range(3):
        assert not directory.scan()
        clock.now += CONFIRM_SECONDS
    assert (names(store), codes(store)) == (["a"], [ProblemCode.SOURCE_VANISHED])
    source.mkdir()
    (source / "b.yaml").write_text(namespace("b"))
    directory.scan()
    assert (names(store), codes(store)) == (["b"], [])


def test_r60_an_empty_directory_is_believed_the_second_time(tmp_path: Path, store: Store, clock: Clock) -> None:
    (tmp_path / "a.yaml").write_text(namespace("a"))
    directory = Directory(tmp_path, store, now=clock)
    directory.scan()
    assert (names(store), directory.pending) == (["a"], ())
    (tmp_path / "a.yaml").unlink()
    assert not directory.scan()
    assert directory.pending == (f"{tmp_path} is empty: looking again",)
    clock.now += CONFIRM_SECONDS / 2
    assert not directory.scan()
    assert (names(store), codes(store)) == (["a"], [ProblemCode.SOURCE_VANISHED])
    clock.now += CONFIRM_SECONDS / 2
    assert directory.scan()
    assert (names(store), codes(store), len(directory.pending)) == ([], [], 0)


def test_r60_a_directory_that_comes_back_in_time_loses_nothing(tmp_path: Path, store: Store, clock: Clock) -> None:
    (tmp_path / "a.yaml").write_text(namespace("a"))
    directory = Directory(tmp_path, store, now=clock)
    directory.scan()
    (tmp_path / "a.yaml").unlink()
    directory.scan()
    (tmp_path / "a.yaml").write_text(namespace("a"))
    generation = store.generation
    assert not directory.scan()
    assert (directory.pending, store.generation, codes(store)) == ((), generation, [])


# Watching


async def test_a_watch_sees_every_kind_of_change(tmp_path: Path, store: Store) -> None:
    (tmp_path / "a.yaml").write_text(namespace("a"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        (tmp_path / "b.yaml").write_text(namespace("b"))
        await watched.until(lambda: names(store) == ["a", "b"])
        (tmp_path / ".new").write_text(namespace("c"))
        os.rename(tmp_path / ".new", tmp_path / "a.yaml")
        await watched.until(lambda: names(store) == ["b", "c"])
        (tmp_path / "b.yaml").unlink()
        await watched.until(lambda: names(store) == ["c"])
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "d.yaml").write_text(namespace("d"))
        await watched.until(lambda: names(store) == ["c", "d"])


@pytest.mark.parametrize("source", ["mesh", "mesh/a.yaml"])
async def test_a_folder_above_that_lets_nobody_in_ends_no_watch(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "a.yaml").write_text(namespace("a"))
    real, shut = os.stat, False

    def stat(path: str | os.PathLike[str], **named: Any) -> os.stat_result:
        if shut and str(path).startswith(str(tmp_path / "mesh")):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, **named)

    for seconds in ("RESCAN_SECONDS", "RESCAN_ANYWAY_SECONDS"):
        monkeypatch.setattr(f"sources.directory.{seconds}", 0.02)
    monkeypatch.setattr(os, "stat", stat)
    async with watching(tmp_path / source, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        shut = True
        async with asyncio.timeout(5):
            while codes(store) != ["SourceVanished"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            shut = False
            while codes(store):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        (tmp_path / "mesh" / "a.yaml").write_text(namespace("b"))
        await watched.until(lambda: names(store) == ["b"])


async def test_a_watched_file_may_be_replaced(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    async with watching(file, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        for name in ("b", "c"):
            (tmp_path / "new").write_text(namespace(name))
            os.rename(tmp_path / "new", file)
            await watched.until(lambda name=name: names(store) == [name])  # type: ignore[misc]


async def test_a_watched_directory_may_be_replaced(tmp_path: Path, store: Store) -> None:
    for folder in ("now", "next"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").write_text(namespace(folder))
    async with watching(tmp_path / "now", store) as watched:
        await watched.until(lambda: names(store) == ["now"])
        os.rename(tmp_path / "now", tmp_path / "old")
        os.rename(tmp_path / "next", tmp_path / "now")
        await watched.until(lambda: names(store) == ["next"])
        (tmp_path / "now" / "a.yaml").write_text(namespace("later"))
        await watched.until(lambda: names(store) == ["later"])
    assert [] not in watched.seen


async def test_a_truncated_file_is_given_the_time_to_be_written(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a"))
    (tmp_path / "b.yaml").write_text(namespace("b"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a", "b"])
        for count in range(5):
            with file.open("w") as half:
                await asyncio.sleep(0)
                half.write(namespace(f"a{count}"))
            await watched.until(lambda count=count: names(store) == [f"a{count}", "b"])  # type: ignore[misc]
        file.write_text("")
        await watched.until(lambda: names(store) == ["b"])
    assert watched.seen.count(["b"]) == 1


async def test_a_watch_reads_a_file_when_its_writer_closes_it(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(namespace("a") + "---\n" + namespace("b"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a", "b"])
        with file.open("w") as writer:
            writer.write(namespace("a"))
            writer.flush()
            (tmp_path / "c.yaml").write_text(namespace("c"))
            await watched.until(lambda: names(store) == ["a", "b", "c"])
            await asyncio.sleep(0.1)
            writer.write("---\n" + namespace("d"))
        await watched.until(lambda: names(store) == ["a", "c", "d"])
    assert ["a", "c"] not in watched.seen


async def test_a_watch_waits_for_a_directory_that_is_not_there_yet(tmp_path: Path, store: Store) -> None:
    async with watching(tmp_path / "later", store) as watched:
        await asyncio.sleep(0)
        assert codes(store) == [ProblemCode.SOURCE_VANISHED]
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "a.yaml").write_text(namespace("a"))
        await watched.until(lambda: names(store) == ["a"])
    assert codes(store) == []
