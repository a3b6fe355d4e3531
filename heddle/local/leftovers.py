"""Ending what is still running in a pod, whoever started it: its own children, or `heddle local exec`."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

LOOPBACK_MARK: Final = "HEDDLE_LOOPBACK_POD"
"""A variable in the environment of every process of a loopback mesh, by which its leftovers are found."""

_ROUNDS: Final = 20


def kill_in_network(network: str) -> None:
    """Kills every process of this PID namespace that lives in the network namespace at path `network`.

    Goes over `/proc` until it finds none: a process may be born while it looks. The caller's own is never touched.
    """
    wanted = os.stat(network)
    own = os.stat("/proc/self/ns/net")
    if (wanted.st_dev, wanted.st_ino) == (own.st_dev, own.st_ino):
        raise ValueError("these are the caller's own processes")
    for _ in range(_ROUNDS):
        found = [pid for pid in _processes() if _lives_in(pid, wanted)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _lives_in(pid: int, wanted: os.stat_result) -> bool:
    try:
        found = os.stat(f"/proc/{pid}/ns/net")
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def kill_marked(variable: str, prefix: str) -> None:
    """Kills every process of this user whose environment has `variable` with `prefix` itself or something under it."""
    exact, under = f"{variable}={prefix}".encode(), f"{variable}={prefix}/".encode()
    for _ in range(_ROUNDS):
        found = [pid for pid in _processes() if pid != os.getpid() and _is_marked(pid, exact, under)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _is_marked(pid: int, exact: bytes, under: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return False
    return any(variable == exact or variable.startswith(under) for variable in variables)
