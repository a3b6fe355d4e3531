"""Requests from a pod of a cluster, all the time that something is done to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

from tests.kubelet.installed_mesh import InstalledMesh


@contextlib.contextmanager
def load(
    mesh: InstalledMesh, namespace: str, url: str = "http://web/", rate: int = 50, pod: str = "client"
) -> Iterator[dict[str, Any]]:
    """Requests from a pod as long as the block lasts; afterwards their summary is in the answer."""
    argv = ("python3", "/load/load.py", url, "--seconds", "600", "--rate", str(rate), "--each", "--workers", "4")
    with _under_way(mesh, namespace, pod, argv, "200") as summary:
        yield summary


@contextlib.contextmanager
def connections(mesh: InstalledMesh, namespace: str, to: str, rate: int, pod: str) -> Iterator[dict[str, Any]]:
    """TCP connections (`to` is HOST:PORT) from a pod as long as the block lasts, with their summary afterwards."""
    with _under_way(mesh, namespace, pod, ("python3", "/app/connections.py", to, str(rate)), "tcp") as summary:
        yield summary


@contextlib.contextmanager
def _under_way(
    mesh: InstalledMesh, namespace: str, pod: str, argv: tuple[str, ...], good: str
) -> Iterator[dict[str, Any]]:
    """`good` is the second word of the first line of a program that can work at all."""
    line = mesh.cluster.nodes.command(namespace, pod, "app", *argv)
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    summary: dict[str, Any] = {}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        # Under way, before anything is done to it.
        first = process.stdout.readline()
        assert first.split()[1] == good, first
        lines: list[str] = []
        try:
            with _reader(process, lines):
                try:
                    yield summary
                finally:
                    # Also where the block has failed: our end of the pipe ends with it alone.
                    mesh.cluster.run(namespace, pod, "app", "pkill", "-TERM", "-f", argv[1])
                process.wait(60)
        finally:
            process.kill()
        summary.update(json.loads(lines[-1]))


@contextlib.contextmanager
def _reader(process: subprocess.Popen[str], lines: list[str]) -> Iterator[None]:
    """Reads what the load says, so that it never waits for us."""
    assert process.stdout is not None
    thread = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    thread.start()
    try:
        yield
    finally:
        process.kill()
        thread.join()
