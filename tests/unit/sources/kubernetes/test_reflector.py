"""How a collection is read: what is asked for when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import pytest

from sources.kubernetes.api import FULL
from sources.kubernetes.events import Json
from sources.kubernetes.reflector import Reflector
from sources.kubernetes.resources import PODS, Resource


class PagesOfTwo:
    """An API server of four pods, and whoever receives them: `steps` are what happened, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.received = asyncio.Event()

    async def get(self, path: str, query: Mapping[str, str], accept: str = FULL) -> bytes:
        token = query.get("continue", "")
        self.steps.append(f"asked for {token or 'the first'}")
        names = ("c", "d") if token else ("a", "b")
        metadata = {"resourceVersion": "7", "continue": "" if token else "the rest"}
        return json.dumps({"metadata": metadata, "items": [{"metadata": {"name": each}} for each in names]}).encode()

    @asynccontextmanager
    async def stream(self, *_: object) -> AsyncIterator[object]:
        """Of news there are none."""
        await asyncio.Event().wait()
        yield None

    def to_value(self, resource: Resource, item: Json) -> object:
        self.steps.append(f"read {item['metadata']['name']}")
        return item["metadata"]["name"]

    def receive(self, resource: Resource, values: Mapping[str, object | None]) -> None:
        self.received.set()

    def note(self, resource: Resource) -> None:
        """Nobody waits for it."""


async def test_the_next_page_is_asked_for_while_one_is_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.kubernetes.reflector._AT_ONCE", 1)
    pages = PagesOfTwo()
    running = asyncio.create_task(Reflector(PODS, pages, pages, jitter=lambda: 0.0).run())  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        await pages.received.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert pages.steps[:6] == ["asked for the first", "read a", "asked for the rest", "read b", "read c", "read d"]
