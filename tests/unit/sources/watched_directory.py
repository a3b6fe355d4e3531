"""What the tests of a directory share: manifests, a clock, a watch in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sources.directory import Directory
from sources.store import Store

TIMEOUT_SECONDS = 20.0
"""Never measured; only so that a broken watch ends."""


def namespace(name: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"


def names(store: Store) -> list[str]:
    return sorted(name for _, name in store.namespaces)


def codes(store: Store) -> list[str]:
    return [problem.code for problem in store.problems]


class Clock:
    """Seconds; starts where all files are old."""

    def __init__(self) -> None:
        self.now = 4e9

    def __call__(self) -> float:
        return self.now


class Watched:
    """A watch in the background; `until` waits for a state of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = asyncio.Event()
        self.seen: list[list[str]] = []
        store.on_change(self._note)

    def _note(self) -> None:
        self.seen.append(names(self._store))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def watching(path: Path, store: Store) -> AsyncIterator[Watched]:
    watched = Watched(store)
    task = asyncio.create_task(Directory(path, store).watch())
    try:
        yield watched
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
