"""The program that a kubeconfig names for credentials (`exec`): run so that whoever waits for it can give up.

Source: client.authentication.k8s.io, `ExecCredential`. The client's own way of running it keeps the program's words to
itself, waits for it for ever, and leaves it behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any, Final

from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.kube_config import FileOrData, KubeConfigLoader

PROGRAM_SECONDS: Final = 120.0
"""How long the program may take: somebody may have to log in."""

_NOTICED_SECONDS: Final = 0.25
"""How often the wait is looked up from. Ctrl-C that comes just before `asyncio.run` goes to sleep does not wake it."""


class Loader(KubeConfigLoader):
    """The client's loader of kubeconfigs, but for the program. What that does not give is a ConfigException."""

    async def load_from_exec_plugin(self) -> bool:
        """Sets what the program gave: a token, a certificate with its key, or both."""
        user: Any = self._user["exec"]  # type: ignore[index]  # the client has no types; who calls this has a user
        command = str(user["command"])
        status = await run_program(
            (command, *map(str, user.safe_get("args") or ())),
            version=str(user["apiVersion"]),
            environment={str(each["name"]): str(each["value"]) for each in user.safe_get("env") or ()},
            interactive=user.safe_get("interactiveMode") != "Never",
        )
        if "token" in status:
            self.token = f"Bearer {status['token']}"
        if "clientCertificateData" in status and "clientKeyData" in status:
            self.cert_file, self.key_file = _file(status, "clientCertificateData"), _file(status, "clientKeyData")
        elif "token" not in status:
            raise ConfigException(f"the program {command} gave no credentials: neither a token nor a certificate")
        return True


def _file(status: dict[str, Any], name: str) -> Any:
    """Where the client keeps what the program gave, which connections read from a file."""
    given: Any = FileOrData(status, None, data_key_name=name, base64_file_content=False)  # type: ignore[no-untyped-call]
    return given.as_file()


async def run_program(
    argv: tuple[str, ...], *, version: str, environment: dict[str, str], interactive: bool
) -> dict[str, Any]:
    """The `status` of what the program prints. What it says on standard error is for whoever started us.

    Raises ConfigException if it fails, takes longer than PROGRAM_SECONDS, or prints something else. It is killed when
    it takes too long, and when this is cancelled.
    """
    terminal = interactive and sys.stdin is not None and sys.stdin.isatty()
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": terminal}}
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **environment, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
            stdin=None if terminal else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except OSError as error:
        raise ConfigException(f"the program {argv[0]} gave no credentials: {error.strerror}") from None
    except asyncio.CancelledError:
        # Cancelled halfway, asyncio waits for whoever still holds a pipe that it has not opened yet.
        with suppress(OSError):
            await _end(await starting)
        raise
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            printed = await _output(process)
    except TimeoutError:
        fix = f"see what it waits for by running it yourself: {' '.join(argv)}"
        raise ConfigException(
            f"the program {argv[0]} gave no credentials within {PROGRAM_SECONDS:g} s; {fix}"
        ) from None
    finally:
        await _end(process)
    if process.returncode != 0:
        raise ConfigException(f"the program {argv[0]} gave no credentials: exit status {process.returncode}")
    return _parse_credential(printed, argv[0], version)


async def _output(process: asyncio.subprocess.Process) -> bytes:
    reading = asyncio.ensure_future(process.communicate())
    try:
        while not reading.done():
            await asyncio.wait((reading,), timeout=_NOTICED_SECONDS)
    finally:
        reading.cancel()
    return reading.result()[0]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    # Its own children may hold the pipe for as long as they like.
    process._transport.close()  # type: ignore[attr-defined]  # asyncio has no other way
    await process.wait()


def _parse_credential(printed: bytes, program: str, version: str) -> dict[str, Any]:
    try:
        found = json.loads(printed)
    except (ValueError, RecursionError):
        raise ConfigException(f"the program {program} gave no credentials: what it printed is no JSON") from None
    status = found.get("status") if isinstance(found, dict) else None
    if not isinstance(status, dict) or found.get("kind") != "ExecCredential":
        raise ConfigException(f"the program {program} gave no credentials: it printed no ExecCredential with a status")
    if found.get("apiVersion") != version:
        said = found.get("apiVersion")
        raise ConfigException(f"the program {program} gave credentials of {said}, and the kubeconfig says {version}")
    return status
