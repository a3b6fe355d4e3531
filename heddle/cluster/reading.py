"""A cluster that is being read: begun before the rest of the program is loaded, as both take about as long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from heddle import clock
from sources.kubernetes.api import Api
from sources.kubernetes.resources import Scope
from sources.kubernetes.source import KubernetesSource
from sources.store import Store


class ClusterReading:
    """A store, and the source that fills it from an API server. `run` is the source's whole life."""

    def __init__(self, api: Api, scope: Scope) -> None:
        self.api = api
        self.store = Store(managed_slices=True, now=clock.now, mesh_config=scope.mesh_config)
        self.source = KubernetesSource(api, self.store, scope, jitter=clock.jitter)
        self._begun: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Reads from now on."""
        self._begun = self._begun or asyncio.create_task(self.source.watch())

    async def run(self) -> None:
        """Reads, begun or not, until cancelled. Raises what the source does, however long ago."""
        self.begin()
        assert self._begun is not None
        await self._begun

    async def end(self) -> None:
        """Reads no more. What it ended by was `run`'s to raise."""
        if self._begun is not None:
            self._begun.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._begun


@asynccontextmanager
async def reading(api: Api, scope: Scope) -> AsyncIterator[ClusterReading]:
    """Begun, and ended with the block."""
    found = ClusterReading(api, scope)
    found.begin()
    try:
        yield found
    finally:
        await found.end()
