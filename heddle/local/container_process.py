"""One container: a process that is started again when it ends, later each time that it ends soon."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from heddle.local.child_process import ChildProcess
from heddle.local.log_files import open_log

_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
_STABLE_SECONDS: Final = 60.0
"""Kubernetes waits 10 s to 5 min and forgets after 10 min; whoever edits a file on a laptop waits for it."""


class RestartPolicy(StrEnum):
    """When a container that ended is started again. Source: Pod `spec.restartPolicy`."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class Phase(StrEnum):
    """Where a container is in its life."""

    WAITING = "Waiting"
    RUNNING = "Running"
    BACKING_OFF = "CrashLoopBackOff"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANNOT_RUN = "CannotRun"


FINAL: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANNOT_RUN})
"""Phases that no time changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to execute, ready for the supervisor: namespaces are part of `argv`. `directory` is the supervisor's own."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    directory: str = "/"


class ContainerProcess:
    """Runs one container. `run` is its whole life; the rest may be asked at any time."""

    def __init__(
        self,
        *,
        command: Command,
        policy: RestartPolicy,
        changed: Callable[[], None],
        longest_delay: float = _LONGEST_DELAY,
    ) -> None:
        """`changed` is called after each change of what can be asked. `longest_delay` in seconds, before a start."""
        self._command = command
        self._policy = policy
        self._changed = changed
        self._longest_delay = longest_delay
        self._process: ChildProcess | None = None
        self._stopping = asyncio.Event()
        self.phase = Phase.WAITING
        self.reason = ""
        self.restarts = 0

    @property
    def process(self) -> ChildProcess | None:
        """The process that runs now."""
        return self._process

    async def run(self, while_running: Callable[[], Coroutine[None, None, None]] | None = None) -> None:
        """Starts it, and again as the policy says; returns when it will not be started again.

        `while_running` (probes, say) runs beside each process and is cancelled when that ends.
        """
        loop = asyncio.get_running_loop()
        first = delay = min(_FIRST_DELAY, self._longest_delay)
        while not self._stopping.is_set():
            began = loop.time()
            try:
                status = await self._run_once(while_running)
            except (OSError, ValueError) as error:
                # A ValueError is a NUL, or a variable that no process may have.
                self._become(Phase.CANNOT_RUN, str(error))
                return
            if self._stopping.is_set():
                self._become(Phase.COMPLETED, "")
                return
            again = self._policy is RestartPolicy.ALWAYS or (self._policy is RestartPolicy.ON_FAILURE and status != 0)
            reason = _describe(status)
            if not again:
                self._become(Phase.FAILED if status else Phase.COMPLETED, reason if status else "")
                return
            if loop.time() - began > _STABLE_SECONDS:
                delay = first
            self._become(Phase.BACKING_OFF, reason)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            delay = min(2 * delay, self._longest_delay)
            self.restarts += 1

    async def stop(self, *, grace_seconds: float) -> None:
        """Ends the process, for good; `run` returns."""
        self._stopping.set()
        if self._process is not None:
            await self._process.stop(grace_seconds=grace_seconds)

    async def _run_once(self, while_running: Callable[[], Coroutine[None, None, None]] | None) -> int:
        output = open_log(self._command.log)
        try:
            process = ChildProcess(
                self._command.argv,
                environment=self._command.environment,
                directory=self._command.directory,
                output=output,
            )
        finally:
            os.close(output)
        self._process = process
        self._become(Phase.RUNNING, "")
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = tasks.create_task(while_running()) if while_running else None
                status = await process.wait()
                if beside is not None:
                    beside.cancel()
            return status
        finally:
            self._process = None
            if process.status is None:  # cancelled: nothing of it stays
                await process.stop(grace_seconds=0)

    def _become(self, phase: Phase, reason: str) -> None:
        self.phase, self.reason = phase, reason
        self._changed()


def _describe(status: int) -> str:
    return f"ended by signal {status - 128}" if status > 128 else f"exit status {status}"
