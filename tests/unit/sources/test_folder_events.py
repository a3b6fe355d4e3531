"""What a watched directory learns from the kernel, without its look at everything now and then."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
from pathlib import Path

import pytest
from asyncinotify import Inotify, Mask
from structlog.testing import capture_logs

from sources.directory import RESCAN_ANYWAY_SECONDS, RESCAN_SECONDS, Directory
from sources.folder_events import FolderEvents
from sources.store import Store
from tests.unit.sources.watched_directory import Clock, names, namespace, watching


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def no_rescan(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in ("RESCAN_SECONDS", "RESCAN_ANYWAY_SECONDS"):
        monkeypatch.setattr(f"sources.directory.{seconds}", 600.0)


@pytest.mark.usefixtures("no_rescan")
async def test_every_kind_of_change_is_an_event(tmp_path: Path, store: Store) -> None:
    mesh, elsewhere = tmp_path / "mesh", tmp_path / "elsewhere"
    (mesh / "old" / "older").mkdir(parents=True)
    (elsewhere / "in").mkdir(parents=True)
    (elsewhere / "in" / "moved.yaml").write_text(namespace("moved"))
    async with watching(mesh, store) as watched:
        await asyncio.sleep(0)
        (mesh / "old" / "older" / "a.yaml").write_text(namespace("a"))
        await watched.until(lambda: names(store) == ["a"])
        (mesh / "new" / "newer").mkdir(parents=True)
        (mesh / "new" / "newer" / "b.yaml").write_text(namespace("b"))
        await watched.until(lambda: names(store) == ["a", "b"])
        (mesh / "new" / "newer" / "b.yaml").write_text(namespace("c"))
        await watched.until(lambda: names(store) == ["a", "c"])
        os.rename(elsewhere, mesh / "came")
        await watched.until(lambda: names(store) == ["a", "c", "moved"])
        (mesh / "came" / "in" / "moved.yaml").write_text(namespace("later"))
        await watched.until(lambda: names(store) == ["a", "c", "later"])
        os.rename(mesh / "came", elsewhere)
        await watched.until(lambda: names(store) == ["a", "c"])
        (mesh / "old" / "older" / "a.yaml").unlink()
        await watched.until(lambda: names(store) == ["c"])


@pytest.mark.usefixtures("no_rescan")
async def test_a_change_comes_into_force_at_once(tmp_path: Path, store: Store) -> None:
    """But for the few milliseconds in which others that belong to it may follow. The quickest of ten."""
    loop = asyncio.get_running_loop()
    waits = []
    (tmp_path / "a.yaml").write_text(namespace("a"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        for number in range(10):
            begun = loop.time()
            (tmp_path / "a.yaml").write_text(namespace(f"a{number}"))
            await watched.until(lambda number=number: names(store) == [f"a{number}"])  # type: ignore[misc]
            waits.append(loop.time() - begun)
    assert min(waits) < 0.05, waits


@pytest.mark.usefixtures("no_rescan")
async def test_whoever_writes_without_a_pause_holds_nothing_back_for_long(tmp_path: Path, store: Store) -> None:
    """The shortest time of ten from one change to the next."""
    loop = asyncio.get_running_loop()
    (tmp_path / "a.yaml").write_text(namespace("a"))
    changed: list[float] = []
    store.on_change(lambda: changed.append(loop.time()))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        changed.clear()
        number = 0
        while len(changed) < 11:
            number += 1
            (tmp_path / "a.yaml").write_text(namespace(f"a{number}"))
            await asyncio.sleep(0.001)
    assert min(later - earlier for earlier, later in itertools.pairwise(changed)) < 0.1


@pytest.mark.usefixtures("no_rescan")
async def test_what_is_written_together_comes_into_force_together(tmp_path: Path, store: Store) -> None:
    (tmp_path / "a.yaml").write_text(namespace("a"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        await asyncio.sleep(0.05)
        for name in ("b", "c", "d"):
            (tmp_path / f"{name}.yaml").write_text(namespace(name))
            await asyncio.sleep(0.001)
        await watched.until(lambda: "d" in names(store))
    assert watched.seen[-1] == ["a", "b", "c", "d"]
    assert ["a", "b"] not in watched.seen


@pytest.mark.usefixtures("no_rescan")
async def test_folders_that_links_lead_to_are_watched(tmp_path: Path, store: Store) -> None:
    mesh, elsewhere = tmp_path / "mesh", tmp_path / "elsewhere"
    (elsewhere / "below").mkdir(parents=True)
    mesh.mkdir()
    (mesh / "link").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(mesh)
    async with watching(mesh, store) as watched:
        await asyncio.sleep(0)
        (elsewhere / "below" / "a.yaml").write_text(namespace("a"))
        await watched.until(lambda: names(store) == ["a"])


@pytest.mark.usefixtures("no_rescan")
async def test_a_link_that_is_made_or_changed_later_is_followed(tmp_path: Path, store: Store) -> None:
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    for folder in ("v1", "v2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").write_text(namespace(folder))
    async with watching(mesh, store) as watched:
        await asyncio.sleep(0)
        for folder in ("v1", "v2"):
            (mesh / ".next").symlink_to(tmp_path / folder)
            os.rename(mesh / ".next", mesh / "current")
            await watched.until(lambda folder=folder: names(store) == [folder])  # type: ignore[misc]
            (tmp_path / folder / "a.yaml").write_text(namespace(f"{folder}b"))
            await watched.until(lambda folder=folder: names(store) == [f"{folder}b"])  # type: ignore[misc]


@pytest.mark.usefixtures("no_rescan")
async def test_links_that_lead_nowhere_take_no_watch_away(tmp_path: Path, store: Store) -> None:
    (tmp_path / "sub").mkdir()
    async with watching(tmp_path, store) as watched:
        await asyncio.sleep(0)
        (tmp_path / "sub" / "a.yaml").write_text(namespace("a"))
        await watched.until(lambda: names(store) == ["a"])
        with capture_logs() as logs:
            for name, target in (("loop", "loop"), ("below", "sub/a.yaml/x"), ("long", "x" * 300), ("gone", "nothing")):
                (tmp_path / name).symlink_to(target)
            (tmp_path / "another").mkdir()
            (tmp_path / "another" / "b.yaml").write_text(namespace("b"))
            await watched.until(lambda: names(store) == ["a", "b"])
            await asyncio.sleep(0.1)  # the end of a watch is an event too
            (tmp_path / "sub" / "a.yaml").write_text(namespace("c"))
            await watched.until(lambda: names(store) == ["b", "c"])
        assert not logs


@pytest.mark.usefixtures("no_rescan")
async def test_a_folder_that_comes_while_its_parent_is_looked_at_is_watched(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_watch = Inotify.add_watch

    def late(self: Inotify, path: str, mask: Mask) -> object:
        if path.endswith("/new"):
            (Path(path) / "newer").mkdir(exist_ok=True)
        return add_watch(self, path, mask)

    monkeypatch.setattr(Inotify, "add_watch", late)
    (tmp_path / "a.yaml").write_text(namespace("a"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        (tmp_path / "new").mkdir()
        async with asyncio.timeout(20):
            while not (tmp_path / "new" / "newer").exists():  # noqa: ASYNC110 - the watch tells nobody
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        (tmp_path / "new" / "newer" / "b.yaml").write_text(namespace("b"))
        await watched.until(lambda: names(store) == ["a", "b"])


@pytest.mark.usefixtures("no_rescan")
async def test_a_folder_that_is_made_anew_at_once_is_watched(tmp_path: Path, store: Store) -> None:
    """It may get the inode that the one before it had."""
    mesh = tmp_path / "mesh"
    (mesh / "a").mkdir(parents=True)
    (mesh / "a" / "a.yaml").write_text(namespace("a"))
    (mesh / "b.yaml").write_text(namespace("b"))
    async with watching(mesh, store) as watched:
        await watched.until(lambda: names(store) == ["a", "b"])
        for folder, name in ((mesh / "a", "c"), (mesh, "d")):
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "new.yaml").write_text(namespace(name))
            await watched.until(lambda name=name: name in names(store))  # type: ignore[misc]
            (folder / "new.yaml").write_text(namespace(f"{name}2"))
            await watched.until(lambda name=name: f"{name}2" in names(store))  # type: ignore[misc]


@pytest.mark.usefixtures("no_rescan")
async def test_the_folder_of_a_watched_file_may_be_replaced(tmp_path: Path, store: Store) -> None:
    for folder in ("now", "next"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").write_text(namespace(folder))
    async with watching(tmp_path / "now" / "a.yaml", store) as watched:
        await watched.until(lambda: names(store) == ["now"])
        os.rename(tmp_path / "now", tmp_path / "old")
        os.rename(tmp_path / "next", tmp_path / "now")
        await watched.until(lambda: names(store) == ["next"])
        (tmp_path / "now" / "a.yaml").write_text(namespace("later"))
        await watched.until(lambda: names(store) == ["later"])


@pytest.mark.usefixtures("no_rescan")
@pytest.mark.parametrize("source", ["mesh", "mesh/a.yaml"])
async def test_a_folder_above_may_be_replaced(tmp_path: Path, store: Store, source: str) -> None:
    for folder in ("now", "next"):
        (tmp_path / folder / "deep" / "mesh").mkdir(parents=True)
        (tmp_path / folder / "deep" / "mesh" / "a.yaml").write_text(namespace(folder))
    async with watching(tmp_path / "now" / "deep" / source, store) as watched:
        await watched.until(lambda: names(store) == ["now"])
        os.rename(tmp_path / "now", tmp_path / "old")
        os.rename(tmp_path / "next", tmp_path / "now")
        await watched.until(lambda: names(store) == ["next"])
        (tmp_path / "now" / "deep" / "mesh" / "a.yaml").write_text(namespace("later"))
        await watched.until(lambda: names(store) == ["later"])


@pytest.mark.usefixtures("no_rescan")
async def test_a_link_to_a_folder_above_is_followed_too(tmp_path: Path, store: Store) -> None:
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    (mesh / "up").symlink_to(tmp_path)
    async with watching(mesh, store) as watched:
        await asyncio.sleep(0)
        (tmp_path / "a.yaml").write_text(namespace("a"))
        await watched.until(lambda: names(store) == ["a"])


@pytest.mark.usefixtures("no_rescan")
async def test_whoever_writes_without_end_stops_nobody_else(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    sync_get = Inotify.sync_get

    def endless(self: Inotify) -> object:
        nonlocal reads, event
        reads += 1
        event = sync_get(self) or event
        return event if reads < 20_000 else None

    event: object = None
    monkeypatch.setattr(Inotify, "sync_get", endless)
    (tmp_path / "a.yaml").write_text(namespace("a"))
    async with watching(tmp_path, store) as watched:
        await watched.until(lambda: names(store) == ["a"])
        (tmp_path / "a.yaml").write_text(namespace("b"))
        in_a_turn = 0
        while names(store) != ["b"]:
            before = reads
            await asyncio.sleep(0)
            in_a_turn = max(in_a_turn, reads - before)
    assert 0 < in_a_turn < 1000


def test_a_folder_that_was_moved_away_is_no_longer_watched(tmp_path: Path) -> None:
    async def run() -> None:
        mesh, away = tmp_path / "mesh", tmp_path / "away"
        (mesh / "sub").mkdir(parents=True)
        with contextlib.closing(FolderEvents(mesh, below=True)) as events:
            os.rename(mesh / "sub", away)
            await events.gathered(within=20)
            await events.gathered(within=0.05)  # the watch that ends is an event too
            (away / "a.yaml").write_text("x")
            loop = asyncio.get_running_loop()
            began = loop.time()
            await events.gathered(within=0.2)
            assert loop.time() - began >= 0.2

    asyncio.run(run())


async def test_a_folder_that_lets_nobody_in_for_a_while_is_watched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, shut = Inotify.add_watch, False

    def add_watch(self: Inotify, path: str, mask: Mask) -> object:
        if shut:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(self, path, mask)

    monkeypatch.setattr(Inotify, "add_watch", add_watch)
    (tmp_path / "sub").mkdir()
    with contextlib.closing(FolderEvents(tmp_path, below=True)) as events:
        shut = True
        (tmp_path / "sub").chmod(0o700)
        assert await _happened(events, 5.0)
        while await _happened(events, 0.1):
            pass  # the end of a watch is an event too
        (tmp_path / "sub" / "a.yaml").write_text(namespace("a"))
        assert not await _happened(events, 0.2)
        shut = False
        assert not await _happened(events, 0.05)
        (tmp_path / "sub" / "b.yaml").write_text(namespace("b"))
        assert await _happened(events, 5.0)


async def test_the_permissions_of_a_folder_above_are_an_event(tmp_path: Path) -> None:
    """Without them nothing below can be read, which is to be said."""
    (tmp_path / "above" / "mesh").mkdir(parents=True)
    with contextlib.closing(FolderEvents(tmp_path / "above" / "mesh", below=True)) as events:
        (tmp_path / "beside").mkdir()
        assert not await _happened(events, 0.2)
        (tmp_path / "above").chmod(0o711)
        assert await _happened(events, 5.0)


async def _happened(events: FolderEvents, within: float) -> bool:
    """Whether there is an event before that time has passed."""
    began = asyncio.get_running_loop().time()
    await events.gathered(within)
    return asyncio.get_running_loop().time() - began < within


@pytest.mark.parametrize("refused", ["__init__", "add_watch"])
async def test_without_watches_everything_is_looked_at_now_and_then(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    monkeypatch.setattr(Inotify, refused, _none_left)
    with capture_logs() as logs:
        async with watching(tmp_path, store) as watched:
            await asyncio.sleep(0)
            (tmp_path / "a.yaml").write_text(namespace("a"))
            await watched.until(lambda: names(store) == ["a"])
    (said,) = [log for log in logs if log["event"] == "sources.not_watched"]
    assert said["path"] == str(tmp_path)
    assert "max_user_watches" in said["fix"]


@pytest.mark.parametrize(
    ("there_is", "seconds"),
    [
        ("nothing else", RESCAN_ANYWAY_SECONDS),
        ("a young file", RESCAN_SECONDS),
        ("a file being written", RESCAN_SECONDS),
        ("a link to a file", RESCAN_SECONDS),
        ("a link to an empty folder", RESCAN_SECONDS),
        ("a link that leads nowhere yet", RESCAN_SECONDS),
        ("a file with another name", RESCAN_SECONDS),
        ("a link above", RESCAN_SECONDS),
        ("one file, by a link", RESCAN_SECONDS),
        ("one file", RESCAN_ANYWAY_SECONDS),
        ("something mounted below", RESCAN_SECONDS),
        ("another machine's file system", RESCAN_SECONDS),
        ("a file too large", RESCAN_SECONDS),
        ("no watch", RESCAN_SECONDS),
        ("a folder above that may not be watched", RESCAN_SECONDS),
    ],
)
async def test_where_events_tell_all_it_is_looked_at_less_often(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, there_is: str, seconds: float
) -> None:
    mesh, elsewhere = tmp_path / "mesh", tmp_path / "elsewhere"
    (mesh / "sub").mkdir(parents=True)
    (mesh / "sub" / "a.yaml").write_text(namespace("a"))
    elsewhere.mkdir()
    (tmp_path / "b.yaml").write_text(namespace("b"))
    path, clock = mesh, Clock()
    monkeypatch.setattr("sources.directory.is_local", lambda _: there_is != "another machine's file system")
    with contextlib.ExitStack() as opened:
        match there_is:
            case "a young file":
                clock.now = (mesh / "sub" / "a.yaml").stat().st_ctime
            case "a file being written":
                opened.enter_context((mesh / "b.yaml").open("w"))
            case "a link to a file":
                (mesh / "b.yaml").symlink_to(tmp_path / "b.yaml")
            case "a link to an empty folder":
                (mesh / "elsewhere").symlink_to(elsewhere)
            case "a link that leads nowhere yet":
                (mesh / "b.yaml").symlink_to(elsewhere / "b.yaml")
            case "a file with another name":
                (mesh / "b.yaml").hardlink_to(tmp_path / "b.yaml")
            case "a link above":
                (tmp_path / "now").symlink_to(tmp_path)
                path = tmp_path / "now" / "mesh"
            case "one file, by a link":
                path = mesh / "b.yaml"
                path.symlink_to(tmp_path / "b.yaml")
            case "one file":
                path = tmp_path / "b.yaml"
            case "something mounted below":
                monkeypatch.setattr("sources.directory.has_mounts_below", lambda folder: folder == mesh)
            case "a file too large":
                monkeypatch.setattr("sources.directory.MAX_FILE_BYTES", 10)
            case "no watch":
                monkeypatch.setattr("sources.folder_events.Inotify", _none_left)
            case "a folder above that may not be watched":
                monkeypatch.setattr(Inotify, "add_watch", _refusing(tmp_path))
        assert await _waits(Directory(path, store, now=clock), monkeypatch) == seconds


async def test_a_folder_that_becomes_a_link_is_looked_at_often(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sources.directory.is_local", lambda _: True)
    waits: list[float] = []
    again = asyncio.Event()

    async def gathered(_: FolderEvents, within: float) -> None:
        waits.append(within)
        if len(waits) == 1:
            os.rename(tmp_path / "now", tmp_path / "v1")
            (tmp_path / "now").symlink_to(tmp_path / "v1")
        else:
            again.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(FolderEvents, "gathered", gathered)
    (tmp_path / "now" / "mesh").mkdir(parents=True)
    watch = asyncio.create_task(Directory(tmp_path / "now" / "mesh", store, now=Clock()).watch())
    await asyncio.wait_for(again.wait(), 20)
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    assert waits == [RESCAN_ANYWAY_SECONDS, RESCAN_SECONDS]


async def _waits(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> float:
    """How long it waits for an event at most."""
    waits: asyncio.Queue[float] = asyncio.Queue()

    async def gathered(_: FolderEvents, within: float) -> None:
        waits.put_nowait(within)
        await asyncio.Event().wait()

    monkeypatch.setattr(FolderEvents, "gathered", gathered)
    watch = asyncio.create_task(directory.watch())
    try:
        return await asyncio.wait_for(waits.get(), 20)
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


def _refusing(folder: Path) -> object:
    add_watch = Inotify.add_watch

    def refuse(self: Inotify, path: str, mask: Mask) -> object:
        if path == str(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return add_watch(self, path, mask)

    return refuse


def _none_left(*_: object, **_named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
