"""What a kubelet is told."""

from __future__ import annotations

import aiohttp
import pytest

from heddle.cluster.health import LIVE_PATH, METRICS_PATH, READY_PATH, Health, running_health


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_ready_is_who_serves() -> None:
    waiting = ["pods of the cluster: not read yet"]
    health = Health(lambda: tuple(waiting))
    async with running_health(health, metrics=lambda: "up 1\n", host="127.0.0.1", port=0) as port:
        assert await ask(port, READY_PATH) == (503, "pods of the cluster: not read yet\n")
        assert await ask(port, LIVE_PATH) == (200, "live\n")
        waiting.clear()
        assert await ask(port, READY_PATH) == (503, "the ports are not open\n")
        health.serving = True
        assert await ask(port, READY_PATH) == (200, "ready\n")
        # The API server is away: what was read is still served.
        waiting.append("pods of the cluster: unreachable")
        assert await ask(port, READY_PATH) == (200, "ready\n")
        health.serving = False
        assert (await ask(port, READY_PATH))[0] == 503
        assert await ask(port, METRICS_PATH) == (200, "up 1\n")
        assert (await ask(port, "/debug"))[0] == 404


async def test_a_port_in_use_is_an_error() -> None:
    health = Health(tuple)
    async with running_health(health, metrics=str, host="127.0.0.1", port=0) as port:
        with pytest.raises(OSError):
            async with running_health(health, metrics=str, host="127.0.0.1", port=port):
                pass
