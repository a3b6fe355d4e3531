"""What a kubelet asks: whether this replica serves yet, and whether it still turns; and what Prometheus asks.

Ready means that everything was read once and the ports are open. It stays so when the API server goes away: what was
read is in force, and sidecars are better served with it than by nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from heddle.cluster.metrics_text import CONTENT_TYPE

READY_PATH: Final = "/healthz/ready"
LIVE_PATH: Final = "/healthz/live"
METRICS_PATH: Final = "/metrics"
_KEPT_ALIVE_SECONDS: Final = 30.0


class Health:
    """The state. `waiting` answers what is not read yet, for whoever looks why a replica is not ready."""

    def __init__(self, waiting: Callable[[], tuple[str, ...]]) -> None:
        self._waiting = waiting
        self.serving = False
        """Whether all ports are open. Whoever opened them sets it, and unsets it before closing them."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Why it is not ready; empty if it is."""
        return () if self.serving else self._waiting() or ("the ports are not open",)


@asynccontextmanager
async def running_health(health: Health, *, metrics: Callable[[], str], host: str, port: int) -> AsyncIterator[int]:
    """Serves over HTTP as long as the block lasts; yields the port (0: any). Raises OSError if it cannot be bound.

    `metrics` answers them in Prometheus' text format.
    """

    async def ready(request: web.Request) -> web.Response:
        missing = health.missing
        return web.Response(status=503 if missing else 200, text="".join(f"{line}\n" for line in missing or ("ready",)))

    async def live(request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def measured(request: web.Request) -> web.Response:
        return web.Response(body=metrics().encode(), headers={"Content-Type": CONTENT_TYPE})

    application = web.Application(client_max_size=1024)
    application.router.add_get(READY_PATH, ready)
    application.router.add_get(LIVE_PATH, live)
    application.router.add_get(METRICS_PATH, measured)
    runner = web.AppRunner(
        application, access_log=None, keepalive_timeout=_KEPT_ALIVE_SECONDS, handle_signals=False, shutdown_timeout=1.0
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
