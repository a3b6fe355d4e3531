"""Ending what is still running in a pod, whoever started it: its own children, or `heddle local exec`."""

from __future__ import annotations

import contextlib
import os
import signal


def kill_in_network(network: str) -> None:
    """Kills every process of this PID namespace that lives in the network namespace at path `network`.

    Goes over `/proc` until it finds none: a process may be born while it looks. The caller's own is never touched.
    """
    wanted = os.stat(network)
    own = os.stat("/proc/self/ns/net")
    if (wanted.st_dev, wanted.st_ino) == (own.st_dev, own.st_ino):
        raise ValueError("these are the caller's own processes")
    for _ in range(20):
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
