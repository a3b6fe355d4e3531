"""Requests all the while, to show that none fails."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.mesh.running_mesh import CHECKOUT, RunningMesh

LOAD = str(CHECKOUT / "examples" / "shop" / "app" / "load.py")


@contextlib.contextmanager
def load(mesh: RunningMesh, caller: str = "client", rate: int = 100) -> Iterator[list[dict[str, Any]]]:
    """Requests to echo for as long as the block lasts; its summary is in the list afterwards."""
    summaries: list[dict[str, Any]] = []
    command = ("python3", LOAD, "http://echo/", "--seconds", "300", "--rate", str(rate))
    with subprocess.Popen(mesh.exec_argv(f"deploy/{caller}", *command), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield summaries
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=30)
    summaries.append(json.loads(output.strip().splitlines()[-1]))
