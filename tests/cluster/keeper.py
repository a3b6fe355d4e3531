"""Processes that end when their owner does, however it ends, together with the folder they work in.

A small process of its own is the parent of them all. It reads requests from a pipe; the pipe's end is the owner's end,
be it by `close`, by Ctrl-C or by SIGKILL. (A death signal set by the owner would not do: the kernel sends that when the
*thread* which forked ends, and tests start things from threads that come and go.)
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Keeper:
    """Starts and ends processes by name. Removes `directory` when it is closed or its owner is gone."""

    def __init__(self, directory: Path) -> None:
        self._answers = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the owner, which then decides.
            start_new_session=True,
        )

    def start(self, name: str, argv: Sequence[str], log: Path) -> None:
        """Starts a process; its output is added to `log`. Raises RuntimeError if there is no such program."""
        self._ask("start", name, argv=list(argv), log=str(log))

    def status(self, name: str) -> int | None:
        """None while it runs, then its exit status, negative for a signal. Raises RuntimeError if it is unknown."""
        return self._ask("status", name)

    def end(self, name: str, number: signal.Signals, *, within_seconds: float) -> int:
        """Sends a signal, waits for the end and returns the status. Raises RuntimeError if it lives on."""
        status = self._ask("end", name, signal=int(number), seconds=within_seconds)
        assert status is not None
        return status

    def pid(self, name: str) -> int:
        found = self._ask("pid", name)
        assert found is not None
        return found

    def close(self) -> None:
        """Ends all at once (SIGKILL) and returns when processes and folder are gone. A second call does nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _ask(self, what: str, name: str, **more: Any) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._answers:
            try:
                print(json.dumps({"what": what, "name": name, **more}), file=self._process.stdin, flush=True)
                line = self._process.stdout.readline()
            except (BrokenPipeError, ValueError):
                line = ""
        if not line:
            raise RuntimeError(f"{name}: the processes were ended, nothing can be asked of them any more")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']}")
        value: int | None = answer["value"]
        return value


def _serve(directory: Path) -> None:
    processes: dict[str, subprocess.Popen[bytes]] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for line in sys.stdin:
            try:
                answer: dict[str, Any] = {"value": _answer(processes, json.loads(line))}
            except (OSError, KeyError, subprocess.TimeoutExpired) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            # An owner that is gone closes both pipes; the loop then ends by itself.
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(answer), flush=True)
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()
        _remove(directory)


def _answer(processes: dict[str, subprocess.Popen[bytes]], request: dict[str, Any]) -> int | None:
    name = request["name"]
    match request["what"]:
        case "start":
            with open(request["log"], "ab") as log:
                processes[name] = subprocess.Popen(
                    request["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Safe here, where there is one thread: for the case that this process is killed.
                    preexec_fn=_die_with_parent,
                )
            return None
        case "status":
            return processes[name].poll()
        case "pid":
            return processes[name].pid
        case "end":
            processes[name].send_signal(request["signal"])
            return processes[name].wait(request["seconds"])
        case unknown:
            raise KeyError(unknown)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _remove(directory: Path) -> None:
    # The owner's own programs (a kubectl that was cut off) may write into it for a moment still.
    for _ in range(50):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
