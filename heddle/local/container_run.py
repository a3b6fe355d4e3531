"""One container of a pod: its environment, its process, its probes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heddle.local.child_process import ChildProcess
from heddle.local.container_process import FINAL, Command, ContainerProcess, Phase, RestartPolicy
from heddle.local.environment import (
    CannotResolve,
    Data,
    PodFacts,
    command_line,
    resolve_environment,
)
from heddle.local.places import Place
from heddle.local.probes import Checker, wait_until_dead, wait_until_started, watch_readiness
from model.pods import Container

NO_COMMAND: Final = "no command; images are not pulled"
NO_CONFIGURATION: Final = "CreateContainerConfigError"
"""Kubernetes' word for a ConfigMap or Secret that is not there (yet)."""
_LOOK_AGAIN_SECONDS: Final = 0.5
_LIVENESS_GRACE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerContext:
    """What a container needs besides its manifest. `data` gives the present ConfigMaps and Secrets."""

    place: Place
    facts: PodFacts
    data: Callable[[], tuple[Data, Data]]
    inherited: Mapping[str, str]
    directory: Path
    """The directory that was given to `up`: where commands start, and what relative ones are relative to."""
    log: Path
    policy: RestartPolicy
    changed: Callable[[], None]


class ContainerRun:
    """One container's life in one pod."""

    def __init__(self, container: Container, context: ContainerContext) -> None:
        self.container = container
        self.ready = False
        self.environment: Mapping[str, str] = {}
        """Empty until it could be worked out."""
        self.directory = str(context.directory / container.working_dir)
        self._context = context
        self._process: ContainerProcess | None = None
        self._trouble: tuple[str, str] | None = None
        self._stopping = asyncio.Event()

    @property
    def phase(self) -> str:
        """As `kubectl get pods` would say it."""
        if self._trouble is not None:
            return self._trouble[0]
        return self._process.phase.value if self._process is not None else Phase.WAITING.value

    @property
    def reason(self) -> str:
        """Why it is in its phase, for people; '' if there is nothing to say."""
        if self._trouble is not None:
            return self._trouble[1]
        return self._process.reason if self._process is not None else ""

    @property
    def restarts(self) -> int:
        return self._process.restarts if self._process is not None else 0

    async def ended(self) -> None:
        """Returns when no process of it runs, at once if none does."""
        process = self._process.process if self._process is not None else None
        if process is not None:
            await process.wait()

    @property
    def is_final(self) -> bool:
        """Whether no time will change its phase."""
        return self.phase in FINAL

    @property
    def succeeded(self) -> bool:
        return self.phase == Phase.COMPLETED

    async def run(self) -> None:
        """Returns when the container will not run any more."""
        if not self.container.command:
            self._complain(Phase.CANNOT_RUN, NO_COMMAND)
            return
        if not os.path.isdir(self.directory):
            self._complain(Phase.CANNOT_RUN, f"workingDir {self.directory} does not exist")
            return
        self.environment = await self._resolved()
        if self._stopping.is_set():
            return
        self._trouble = None
        argv = command_line(self.container, self.environment)
        command = Command(
            argv=self._context.place.application_argv(argv, self.directory),
            environment=self.environment,
            log=self._context.log,
            directory=self.directory,
        )
        self._process = ContainerProcess(command=command, policy=self._context.policy, changed=self._changed)
        await self._process.run(self._probe)

    async def stop(self, *, grace_seconds: float) -> None:
        """Ends it; `run` returns."""
        self._stopping.set()
        if self._process is not None:
            await self._process.stop(grace_seconds=grace_seconds)

    def terminate(self) -> None:
        """Asks the process to end, now, without waiting for it."""
        self._stopping.set()
        if self._process is not None and self._process.process is not None:
            self._process.process.signal_group(signal.SIGTERM)

    async def _resolved(self) -> Mapping[str, str]:
        while True:
            config_maps, secrets = self._context.data()
            try:
                return resolve_environment(
                    self.container,
                    self._context.facts,
                    config_maps=config_maps,
                    secrets=secrets,
                    inherited=self._context.inherited,
                    given={"SIDECAR_IP": self._context.place.sidecar_address, **self._context.place.environment},
                )
            except CannotResolve as error:
                if self._trouble != (NO_CONFIGURATION, str(error)):
                    self._complain(NO_CONFIGURATION, str(error))
            try:
                async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                    await self._stopping.wait()
                return {}
            except TimeoutError:
                continue

    async def _probe(self) -> None:
        """Beside each process: decides whether it is ready, and ends it when it is not alive."""
        container, checker = self.container, self._checker()
        try:
            if container.startup is not None and not await wait_until_started(container.startup, checker):
                await self._restart("the startup probe did not succeed")
                return
            async with asyncio.TaskGroup() as tasks:
                if container.liveness is not None:
                    tasks.create_task(self._watch_liveness(checker))
                if container.readiness is None:
                    self._set_ready(True)
                else:
                    await watch_readiness(container.readiness, checker, self._set_ready)
        finally:
            # Without a probe it stays ready as long as it runs, which `_changed` sees to.
            if container.readiness is not None:
                self._set_ready(False)

    async def _watch_liveness(self, checker: Checker) -> None:
        assert self.container.liveness is not None
        await wait_until_dead(self.container.liveness, checker)
        await self._restart("the liveness probe failed")

    async def _restart(self, reason: str) -> None:
        if self._process is not None and self._process.process is not None:
            # Its end cancels this very task.
            process = self._process.process
            process.signal_group(signal.SIGTERM)
            await asyncio.sleep(_LIVENESS_GRACE_SECONDS)
            process.signal_group(signal.SIGKILL)
            self._process.reason = reason

    def _checker(self) -> Checker:
        place = self._context.place

        async def run_command(command: tuple[str, ...]) -> int:
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                child = ChildProcess(
                    place.application_argv(command, self.directory),
                    environment=self.environment,
                    directory=self.directory,
                    output=null,
                )
            finally:
                os.close(null)
            try:
                return await child.wait()
            finally:
                await child.stop(grace_seconds=0)

        host = place.application_addresses[0]
        return Checker(connect=place.connect, run_command=run_command, host=host, ports=self.container.ports)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._context.changed()

    def _changed(self) -> None:
        if self._process is not None and self._process.phase is not Phase.RUNNING:
            self.ready = False
        self._context.changed()

    def _complain(self, phase: str, reason: str) -> None:
        self._trouble = (str(phase), reason)
        self._context.changed()
