"""A real mesh under test, driven through the `heddle` command alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from model.on_demand import SidecarConfig

CHECKOUT = Path(__file__).resolve().parents[2]
MANIFESTS = Path(__file__).parent / "manifests"
HEDDLE = (sys.executable, "-m", "heddle.main")


class RunningMesh:
    """A mesh on a directory of its own. Tests add files and take them away again, and call from `namespace`."""

    def __init__(self, name: str, directory: Path, *, namespace: str = "app") -> None:
        self.name = name
        self.namespace = namespace
        self.directory = directory

    @property
    def on_demand(self) -> bool:
        """Whether its sidecars were started to learn on demand."""
        return SidecarConfig.ON_DEMAND.value in self.name

    def heddle(
        self, *arguments: str, stdin: str | None = None, timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """One command with its exit status, whatever it is."""
        return subprocess.run(
            [*HEDDLE, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=CHECKOUT,
            check=False,
        )

    def must(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of a command that has to end with 0."""
        done = self.heddle(*arguments, stdin=stdin)
        assert done.returncode == 0, f"heddle {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self, *options: str) -> None:
        self.must("local", "up", str(self.directory), "--detach", "--wait", "--mesh", self.name, *options)

    def down(self) -> None:
        self.must("local", "down", "--mesh", self.name)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.must("local", "status", "--mesh", self.name, "-o", "json"))
        return found

    def pods(self, workload: str) -> list[dict[str, Any]]:
        return [pod for pod in self.status()["pods"] if pod["name"].startswith(workload)]

    def settle(self) -> None:
        self.must("status", "--wait", "--timeout", "45", "--mesh", self.name)

    def write(self, text: str, file: str = "case.yaml") -> None:
        """Saves a manifest as an editor does, and says nothing to anybody."""
        written = self.directory / f"{file}.part~"
        written.write_text(text)
        os.replace(written, self.directory / file)

    def apply(self, text: str, file: str = "case.yaml") -> None:
        """Saves a manifest and returns once every sidecar has what follows from it."""
        self.write(text, file)
        self.settle()

    def remove(self, file: str = "case.yaml") -> None:
        (self.directory / file).unlink(missing_ok=True)
        self.settle()

    def exec_argv(self, where: str, *command: str) -> list[str]:
        return [*HEDDLE, "local", "exec", where, "-n", self.namespace, "--mesh", self.name, "--", *command]

    def exec(self, where: str, *command: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.exec_argv(where, *command), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )

    def call(self, where: str, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        """Sends calls (see manifests/app/call.py) from a deployment's pod, in order."""
        done = self.exec(f"deploy/{where}", "python3", "app/call.py", stdin=json.dumps(calls))
        assert done.returncode == 0, done.stderr
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    def get(self, where: str, url: str, **more: Any) -> dict[str, Any]:
        """One GET from a deployment's pod."""
        return self.call(where, {"url": url, **more})[0]


def start(tmp_path: Path, name: str, *options: str) -> RunningMesh:
    directory = tmp_path / name
    shutil.copytree(MANIFESTS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    running = RunningMesh(f"{name}-{os.getpid()}", directory)
    running.up(*options)
    return running
