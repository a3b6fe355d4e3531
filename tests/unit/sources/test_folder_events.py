"""What a watched directory learns from the kernel, without its look at everything once a second."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from asyncinotify import Inotify
from structlog.testing import capture_logs

from sources.store import Store
from tests.unit.sources.watched_directory import names, namespace, watching


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def no_rescan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.directory.RESCAN_SECONDS", 600.0)


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


@pytest.mark.parametrize("refused", ["__init__", "add_watch"])
async def test_without_watches_everything_is_looked_at_every_second(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Inotify, refused, refuse)
    with capture_logs() as logs:
        async with watching(tmp_path, store) as watched:
            await asyncio.sleep(0)
            (tmp_path / "a.yaml").write_text(namespace("a"))
            await watched.until(lambda: names(store) == ["a"])
    (said,) = [log for log in logs if log["event"] == "sources.not_watched"]
    assert said["path"] == str(tmp_path)
    assert "max_user_watches" in said["fix"]
