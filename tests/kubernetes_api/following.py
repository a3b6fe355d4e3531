"""A source that follows a fake API server, for the length of a block."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from sources.kubernetes.resources import Scope
from sources.kubernetes.source import KubernetesSource
from sources.store import Store
from tests.kubernetes_api.server import FakeApiServer

TIMEOUT_SECONDS = 20.0
"""Never measured; only so that a broken source ends."""


class Following:
    """`store` as `source` keeps it."""

    def __init__(self, store: Store, source: KubernetesSource) -> None:
        self.store = store
        self.source = source

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions are of several things that tell nobody
                await asyncio.sleep(0.002)

    async def catch_up(self) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self.source.catch_up()


@asynccontextmanager
async def beginning(server: FakeApiServer, scope: Scope | None = None) -> AsyncIterator[Following]:
    """Follows a server that runs already, and does not wait until everything was read."""
    with tempfile.TemporaryDirectory() as folder:
        access = ClusterAccess(kubeconfig=server.write_kubeconfig(Path(folder) / "config"))
        async with open_api(access) as api:
            store = Store(managed_slices=True)
            source = KubernetesSource(api, store, scope or Scope(), jitter=lambda: -1.0)
            task = asyncio.create_task(source.watch())
            try:
                yield Following(store, source)
            finally:
                if not task.done():
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


@asynccontextmanager
async def following(server: FakeApiServer, scope: Scope | None = None) -> AsyncIterator[Following]:
    """Follows a server; when the block begins everything was read."""
    async with beginning(server, scope) as found:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await found.source.synced()
        yield found
