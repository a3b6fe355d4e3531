"""One process started by the supervisor: its end is an event, not a thread that waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from heddle.local.init import start_time


class ChildProcess:
    """A running process in a session of its own, standard output and error in one place."""

    def __init__(self, argv: Sequence[str], *, environment: Mapping[str, str], directory: str, output: int) -> None:
        """Starts it; `output` is a descriptor, still the caller's afterwards. Raises OSError."""
        self._process = subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self._ended = asyncio.Event()
        self._watch = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._watch, self._reap)
        self.status: int | None = None
        """As a shell shows it, once it has ended."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def started(self) -> int:
        """In clock ticks since boot; 0 if it is gone."""
        try:
            return start_time(self._process.pid)
        except OSError:
            return 0

    async def wait(self) -> int:
        """Returns its status when it has ended."""
        await self._ended.wait()
        assert self.status is not None
        return self.status

    def signal_group(self, number: signal.Signals) -> None:
        """Sends a signal to it and to what it started (that stayed in its process group)."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def stop(self, *, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL to what is left after `grace_seconds`. Returns when it has ended."""
        self.signal_group(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._ended.wait()
        except TimeoutError:
            self.signal_group(signal.SIGKILL)
            await self._ended.wait()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._watch)
        os.close(self._watch)
        # Before it is reaped its number is not anybody else's: what it left behind in its group goes with it.
        self.signal_group(signal.SIGKILL)
        returned = self._process.wait()
        self.status = returned if returned >= 0 else 128 - returned
        self._ended.set()
