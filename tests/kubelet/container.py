"""One container of a pod: its process, its probes, its state as the API shows it, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from heddle.local.child_process import ChildProcess
from heddle.local.container_process import FINAL, Command, ContainerProcess, Phase, RestartPolicy
from heddle.local.environment import CannotResolve
from heddle.local.log_files import open_log
from heddle.local.probes import wait_until_dead, watch_readiness
from tests.kubelet.container_command import CannotRun
from tests.kubelet.health import ContainerProbe, parse_probe, wait_until_started

Json = Mapping[str, Any]
_LEAST_GRACE_SECONDS: Final = 2.0
"""What is left of a pod's grace after a hook that took all of it."""
_LOOK_AGAIN_SECONDS: Final = 0.2
_RESTART_SECONDS: Final = 0.5
"""Until what ended is started again, however often: a kubelet waits ten seconds at first, which no test has."""


class Role(Enum):
    """What a container is to its pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    """An init container that is started again for ever."""
    MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """`code` as a shell shows it."""

    code: int
    since: datetime
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What runs a command in the container: `line` puts namespaces and rights before it."""

    line: Callable[[tuple[str, ...]], tuple[str, ...]]
    argv: tuple[str, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container needs of its pod. `prepare` makes its root and works out its variables.

    Raises CannotRun, CannotResolve, OSError. `changed` is called after each change of what can be asked.
    """

    address: Callable[[], str]
    restart_policy: str
    log: Path
    prepare: Callable[[Json], Awaitable[Prepared]]
    now: Callable[[], datetime]
    changed: Callable[[], None]


@dataclass(slots=True)
class _Times:
    """`last` is the run before the one that goes on."""

    running: Running | None = None
    ended: Ended | None = None
    last: Ended | None = None


class PodContainer:
    """`spec` is the container as the API has it."""

    def __init__(self, spec: Json, role: Role, around: Surroundings) -> None:
        self.spec = spec
        self.role = role
        self.name: str = spec["name"]
        self.ready = False
        self.started = asyncio.Event()
        self.trouble: tuple[str, str] | None = None
        """Reason and message of why it cannot be run."""
        self.times = _Times()
        self._around = around
        self._process: ContainerProcess | None = None
        self._prepared: Prepared | None = None
        self._stopping = asyncio.Event()

    @property
    def phase(self) -> Phase:
        return self._process.phase if self._process is not None else Phase.WAITING

    @property
    def restarts(self) -> int:
        return self._process.restarts if self._process is not None else 0

    @property
    def is_final(self) -> bool:
        return self.phase in FINAL

    @property
    def succeeded(self) -> bool:
        return self.phase is Phase.COMPLETED

    async def run(self) -> None:
        """Returns when it will not run any more."""
        prepared = await self._prepare()
        if prepared is None or self._stopping.is_set():
            return
        command = Command(
            argv=prepared.line(prepared.argv), environment=prepared.variables, log=self._around.log, directory="/"
        )
        self._process = ContainerProcess(
            command=command, policy=self._policy(), changed=self._changed, longest_delay=_RESTART_SECONDS
        )
        await self._process.run(self._beside)

    async def stop(self, *, grace_seconds: float) -> None:
        """preStop, SIGTERM, and SIGKILL at the end of the grace. Returns when it has ended."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_seconds
        if self._process is not None and self._process.process is not None and grace_seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._run_hook("preStop")
        self._stopping.set()
        if self._process is not None:
            left = until - loop.time()
            await self._process.stop(grace_seconds=max(left, _LEAST_GRACE_SECONDS) if grace_seconds > 0 else 0)

    def _policy(self) -> RestartPolicy:
        match self.role:
            case Role.SIDECAR:
                return RestartPolicy.ALWAYS
            case Role.INIT:
                never = self._around.restart_policy == "Never"
                return RestartPolicy.NEVER if never else RestartPolicy.ON_FAILURE
            case Role.MAIN:
                return RestartPolicy(self._around.restart_policy)

    async def _prepare(self) -> Prepared | None:
        """Tries until it can be run; None if it was stopped before."""
        while not self._stopping.is_set():
            try:
                self._prepared = await self._around.prepare(self.spec)
            except (CannotRun, CannotResolve) as error:
                self._complain("CreateContainerConfigError", str(error))
            except OSError as error:
                self._complain("CreateContainerError", str(error))
            else:
                self.trouble = None
                return self._prepared
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                    await self._stopping.wait()
        return None

    async def _beside(self) -> None:
        """Beside each process: what it is, whether it has started, is ready, is alive."""
        assert self._process is not None
        process = self._process.process
        assert process is not None
        self.times.last, self.times.ended = self.times.ended or self.times.last, None
        self.times.running = Running(since=self._around.now())
        self._around.changed()
        try:
            await self._watch(process)
        finally:
            self.ready = False
            self.started.clear()
            if process.status is not None:
                self.times.ended = Ended(code=process.status, since=self.times.running.since, at=self._around.now())
            self.times.running = None
            self._around.changed()

    async def _watch(self, process: ChildProcess) -> None:
        await self._run_hook("postStart")
        startup, liveness, readiness = (self._probe(f"{kind}Probe") for kind in ("startup", "liveness", "readiness"))
        if startup is not None and not await wait_until_started(startup):
            await self._end(process)
            return
        self.started.set()
        self._around.changed()
        async with asyncio.TaskGroup() as tasks:
            if liveness is not None:
                tasks.create_task(self._watch_liveness(liveness, process))
            if readiness is not None:
                await watch_readiness(readiness.probe, readiness.checks, self._set_ready)  # type: ignore[arg-type]
            else:
                self._set_ready(True)
                await asyncio.Event().wait()

    async def _watch_liveness(self, probe: ContainerProbe, process: ChildProcess) -> None:
        await wait_until_dead(probe.probe, probe.checks)  # type: ignore[arg-type]
        await self._end(process)

    async def _end(self, process: ChildProcess) -> None:
        """Its end cancels whoever waits here."""
        process.signal_group(signal.SIGTERM)
        await asyncio.sleep(_LEAST_GRACE_SECONDS)
        process.signal_group(signal.SIGKILL)
        await asyncio.Event().wait()

    def _probe(self, field_name: str) -> ContainerProbe | None:
        return parse_probe(self.spec, field_name, address=self._around.address(), run_command=self._execute)

    async def _run_hook(self, name: str) -> None:
        hook = (self.spec.get("lifecycle") or {}).get(name) or {}
        if sleep := hook.get("sleep"):
            await asyncio.sleep(sleep["seconds"])
        elif command := hook.get("exec"):
            await self._execute(tuple(command["command"]))
        elif get := hook.get("httpGet"):
            # A hook is a probe whose answer does not matter.
            asked = parse_probe(
                {**self.spec, name: {"httpGet": get}}, name, address=self._around.address(), run_command=self._execute
            )
            assert asked is not None
            await asked.checks.check(asked.probe)

    async def _execute(self, argv: tuple[str, ...]) -> int:
        """The exit status of a command in the container; it ends with its caller."""
        assert self._prepared is not None
        output = open_log(self._around.log)
        try:
            child = ChildProcess(
                self._prepared.line(argv), environment=self._prepared.variables, directory="/", output=output
            )
        finally:
            os.close(output)
        try:
            return await child.wait()
        finally:
            await child.stop(grace_seconds=0)

    def _set_ready(self, ready: bool) -> None:
        self.ready = ready
        self._around.changed()

    def _changed(self) -> None:
        self._around.changed()

    def _complain(self, reason: str, message: str) -> None:
        if self.trouble != (reason, message):
            self.trouble = (reason, message)
            self._around.changed()
