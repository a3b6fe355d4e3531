"""The sidecars that are simulated in measurements let in as much at once as a real Envoy does.

How often a server has to wait while it sends a large response is the client's to say, in HTTP/2's settings.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from bench.light_sidecar import Habits, LightSidecar
from bench.simulated_sidecar import SimulatedSidecar
from tests.envoy.xds_toy import LOOPBACK, running_envoy

pytestmark = pytest.mark.envoy
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _MAX_FRAME_SIZE, _INITIAL_WINDOW_SIZE = 4, 5, 4
_DEFAULTS = {_INITIAL_WINDOW_SIZE: 65_535, _MAX_FRAME_SIZE: 16_384}
"""RFC 9113, section 6.5.2."""


async def _read_settings(reader: asyncio.StreamReader) -> dict[int, int]:
    """The settings of the frame that a client begins with."""
    assert await reader.readexactly(len(_PREFACE)) == _PREFACE
    header = await reader.readexactly(9)
    assert header[3] == _SETTINGS
    body = await reader.readexactly(int.from_bytes(header[:3]))
    told = dict(struct.iter_unpack("!HL", body))
    return {key: told.get(key, default) for key, default in _DEFAULTS.items()}


async def _settings_of(client: Callable[[int], AbstractAsyncContextManager[object]]) -> dict[int, int]:
    """What the client, given a port, tells whoever listens there."""
    told: asyncio.Future[dict[int, int]] = asyncio.get_running_loop().create_future()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            settings = await _read_settings(reader)
            if not told.done():
                told.set_result(settings)
        finally:
            writer.close()

    server = await asyncio.start_server(hear, LOOPBACK, 0)
    async with server, asyncio.timeout(20), client(server.sockets[0].getsockname()[1]):
        return await told


@asynccontextmanager
async def _running(sidecar: LightSidecar | SimulatedSidecar) -> AsyncIterator[None]:
    task = asyncio.create_task(sidecar.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _light(port: int) -> AbstractAsyncContextManager[None]:
    habits = Habits(address=f"{LOOPBACK}:{port}", delta=True, root=None, server_name="", types=frozenset())
    return _running(LightSidecar(habits, node="toy-0.toy", token="", heard=lambda sidecar, type_url: None))


def _simulated(port: int) -> AbstractAsyncContextManager[None]:
    return _running(SimulatedSidecar(f"{LOOPBACK}:{port}", node_id="toy-0.toy"))


@pytest.mark.parametrize("simulated", [_light, _simulated], ids=["light", "simulated"])
def test_they_let_in_as_much_as_envoy(
    tmp_path: Path, simulated: Callable[[int], AbstractAsyncContextManager[None]]
) -> None:
    def real(port: int) -> AbstractAsyncContextManager[int]:
        return running_envoy(tmp_path, ads_port=port, delta=True)

    async def run() -> None:
        assert await _settings_of(simulated) == await _settings_of(real)

    asyncio.run(run())
