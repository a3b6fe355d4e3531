"""Where the injector's namespaces come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from heddle.cluster.webhook_namespaces import READS_PER_SECOND, ClusterNamespaces
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from sources.store import Store
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

KNOWN = b"{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {a: known}}}"


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as found:
        yield found


class Moments:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def namespaces(
    server: FakeApiServer, folder: Path, moments: Moments | None = None
) -> AsyncIterator[ClusterNamespaces]:
    store = Store()
    store.replace_file("shop", KNOWN)
    async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))) as api:
        async with asyncio.timeout(20):
            yield ClusterNamespaces(store, api, monotonic=moments or Moments())


async def test_what_is_watched_is_asked_of_nobody(server: FakeApiServer, tmp_path: Path) -> None:
    async with namespaces(server, tmp_path) as found:
        assert await found.labels_of("shop") == {"a": "known"}
    assert server.requests == []


async def test_a_new_one_is_read_once(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(namespace("new", a="read"))
    moments = Moments()
    async with namespaces(server, tmp_path, moments) as found:
        answers = await asyncio.gather(*(found.labels_of("new") for _ in range(50)))
        assert answers == [{"a": "read"}] * 50
        assert len(server.requests) == 1
        moments.now += 2
        server.put(namespace("new", a="again"))
        assert await found.labels_of("new") == {"a": "again"}


async def test_whoever_names_many_makes_the_api_server_answer_few(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(namespace("new", a="read"))
    moments = Moments()
    async with namespaces(server, tmp_path, moments) as found:
        for number in range(READS_PER_SECOND + 10):
            assert await found.labels_of(f"none-{number}") is None
        assert len(server.requests) == READS_PER_SECOND
        assert await found.labels_of("shop", newest=True) == {"a": "known"}
        moments.now += 2
        assert await found.labels_of("new") == {"a": "read"}


async def test_the_newest_labels_are_the_api_servers(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(namespace("shop", a="newest"))
    moments = Moments()
    async with namespaces(server, tmp_path, moments) as found:
        assert await found.labels_of("shop", newest=True) == {"a": "newest"}
        assert await found.labels_of("shop") == {"a": "known"}
        moments.now += 2
        server.refuse["namespaces"] = Refuse(403)
        assert await found.labels_of("shop", newest=True) == {"a": "known"}


async def test_of_what_nobody_knows_nothing_is_said(server: FakeApiServer, tmp_path: Path) -> None:
    async with namespaces(server, tmp_path) as found:
        assert await found.labels_of("gone") is None
        asked = len(server.requests)
        for name in ("", "../pods", "a/b", "A", "x" * 64):
            assert await found.labels_of(name) is None
        assert len(server.requests) == asked
        await server.stop()
        assert await found.labels_of("other") is None
