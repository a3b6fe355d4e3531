"""Requests written by hand, sent by a pod of the mesh: see manifests/app/raw_requests.py."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.mesh.running_mesh import RunningMesh


def get(host: str, *, to: str = "echo:80") -> dict[str, Any]:
    return {"to": to, "pieces": [[0, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"]]}


def post(host: str, *pieces: tuple[float, str], length: int) -> dict[str, Any]:
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
    return {"to": "echo:80", "pieces": [[0, head], *pieces]}


@contextmanager
def requests(mesh: RunningMesh, caller: str = "client") -> Iterator[RawRequests]:
    argv = mesh.exec_argv(f"deploy/{caller}", "python3", "app/raw_requests.py")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield RawRequests(process)
        finally:
            process.kill()


class RawRequests:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, *items: dict[str, Any]) -> list[dict[str, Any]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(items) + "\n")
        self._process.stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answers

    def statuses(self, *items: dict[str, Any]) -> list[int]:
        return [answer["status"] for answer in self.send(*items)]
