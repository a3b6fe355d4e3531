"""Whether a container is ready, and alive: the checks of its manifest, made inside the pod's own network.

They go straight to the application and past its sidecar, so that a policy that wants mutual TLS does not matter, as
the rewritten probes of an injected pod do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, assert_never

from model.pods import ContainerPort, Exec, HttpGet, Probe, TcpSocket

Connect = Callable[[int, ssl.SSLContext | None], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Opens a connection to a port of the pod's address. Raises OSError."""

RunCommand = Callable[[tuple[str, ...]], Awaitable[int]]
"""Runs a command in the container and answers its exit status; ends it when cancelled."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_EARLY_PAUSE: Final = 1.0
"""A container that is not ready yet is asked more often than its period says; Kubernetes allows that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """How to check one container. `host` is what goes into the header of that name."""

    connect: Connect
    run_command: RunCommand
    host: str
    ports: tuple[ContainerPort, ...] = ()

    async def check(self, probe: Probe) -> bool:
        """Makes the check once; a port that has no number and whatever takes longer than the time-out fails."""
        try:
            async with asyncio.timeout(probe.timeout.total_seconds()):
                match probe.check:
                    case HttpGet() as get:
                        return await self._http(get)
                    case TcpSocket(port=port):
                        _, writer = await self.connect(self._number(port), None)
                        writer.close()
                        return True
                    case Exec(command=command):
                        return await self.run_command(command) == 0
                    case _:
                        assert_never(probe.check)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            # TimeoutError is an OSError; ValueError is an answer that is no HTTP.
            return False

    async def _http(self, get: HttpGet) -> bool:
        number = self._number(get.port)
        context = None
        if get.scheme == "HTTPS":
            context = ssl.create_default_context()
            # As a kubelet: whether it answers is asked, not who it is.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await self.connect(number, context)
        try:
            named = {name.lower() for name, _ in get.headers}
            given = (("Host", f"{self.host}:{number}"), ("User-Agent", "heddle-probe"), ("Accept", "*/*"))
            headers = [*(pair for pair in given if pair[0].lower() not in named), *get.headers, ("Connection", "close")]
            path = get.path if get.path.startswith("/") else f"/{get.path}"
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
            writer.write("\r\n".join(lines).encode("latin-1", errors="replace"))
            await writer.drain()
            version, status, *_ = (await reader.readuntil(b"\n")).split(maxsplit=2)
            if not version.startswith(b"HTTP/"):
                raise ValueError("no HTTP")
            return 200 <= int(status) < 400
        finally:
            writer.close()

    def _number(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        for own in self.ports:
            if own.name == port:
                return own.number
        raise ValueError(f"no port is named {port!r}")


async def watch_readiness(probe: Probe, checker: Checker, report: Callable[[bool], None]) -> None:
    """Reports each change of readiness, the first when it becomes ready. Ends only by being cancelled."""
    await asyncio.sleep(probe.initial_delay.total_seconds())
    ready, streak, pause = False, 0, _FIRST_PAUSE
    while True:
        good = await checker.check(probe)
        streak = 0 if good == ready else streak + 1
        if streak >= (probe.success_threshold if good else probe.failure_threshold):
            ready, streak = good, 0
            report(ready)
        if ready:
            pause = probe.period.total_seconds()
        else:
            pause = min(2 * pause, probe.period.total_seconds(), _LONGEST_EARLY_PAUSE)
        await asyncio.sleep(pause)


async def wait_until_started(probe: Probe, checker: Checker) -> bool:
    """Returns True once the startup probe succeeds, False when its time (period x failure threshold) is up."""
    pause = _FIRST_PAUSE
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout((probe.initial_delay + probe.period * probe.failure_threshold).total_seconds()):
            await asyncio.sleep(probe.initial_delay.total_seconds())
            while not await checker.check(probe):
                await asyncio.sleep(pause)
                pause = min(2 * pause, probe.period.total_seconds(), _LONGEST_EARLY_PAUSE)
            return True
    return False


async def wait_until_dead(probe: Probe, checker: Checker) -> None:
    """Returns when the liveness probe has failed as often in a row as it may."""
    await asyncio.sleep(probe.initial_delay.total_seconds())
    failures = 0
    while failures < probe.failure_threshold:
        await asyncio.sleep(probe.period.total_seconds())
        failures = 0 if await checker.check(probe) else failures + 1
