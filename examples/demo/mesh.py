"""The running shop, driven as a user would: through the `heddle` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HEDDLE = (sys.executable, "-m", "heddle.main")
CHECKOUT = Path(__file__).resolve().parents[2]
SHOP = CHECKOUT / "examples" / "shop"
NAMESPACE = "shop"


class CommandFailed(Exception):
    """A `heddle` command ended with something else than 0; the text is what it printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """One mesh named `name` on the manifests in `directory`."""

    name: str
    directory: Path

    def heddle(self, *arguments: str, timeout: float = 120) -> str:
        """The standard output of one command. Raises CommandFailed."""
        done = subprocess.run(
            [*HEDDLE, *arguments], capture_output=True, text=True, timeout=timeout, cwd=CHECKOUT, check=False
        )
        if done.returncode != 0:
            raise CommandFailed(f"heddle {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def up(self, certificate_life: str, isolation: str) -> None:
        self.heddle(
            "local", "up", str(self.directory), "--detach", "--wait", "--mesh", self.name,
            "--cert-life", certificate_life, "--isolation", isolation,
        )  # fmt: skip

    def down(self) -> None:
        self.heddle("local", "down", "--mesh", self.name)

    def status(self) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = json.loads(
            self.heddle("local", "status", "--mesh", self.name, "-o", "json")
        )
        return found

    def settle(self) -> None:
        """Returns once every sidecar has the present configuration."""
        self.heddle("status", "--wait", "--timeout", "30", "--mesh", self.name)

    def exec_argv(self, deployment: str, *command: str) -> list[str]:
        where = ["local", "exec", f"deploy/{deployment}", "-n", NAMESPACE, "--mesh", self.name, "--", *command]
        return [*HEDDLE, *where]

    def run_in(self, deployment: str, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A command inside a pod: its exit status, output and errors."""
        return subprocess.run(
            self.exec_argv(deployment, *command), capture_output=True, text=True, timeout=timeout, cwd=CHECKOUT,
            check=False,
        )  # fmt: skip

    def load(self, deployment: str, url: str, *options: str, timeout: float = 300) -> dict[str, object]:
        """Runs the load generator in a pod to its end; its summary."""
        done = self.run_in(deployment, "python3", "app/load.py", url, *options, timeout=timeout)
        if done.returncode != 0:
            raise CommandFailed(f"the load generator in {deployment}: {done.stdout}{done.stderr}")
        summary: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
        return summary

    @contextmanager
    def loading(self, deployment: str, url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
        """The load generator running in a pod; killed at the end if it still runs."""
        process = subprocess.Popen(
            self.exec_argv(deployment, "python3", "app/load.py", url, *options),
            stdout=subprocess.PIPE, text=True, cwd=CHECKOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def edit(self, file: str, text: str) -> float:
        """Replaces one manifest in one step; the monotonic time just before, in seconds."""
        target = self.directory / file
        written = target.with_suffix(".new")
        written.write_text(text)
        before = time.monotonic()
        os.replace(written, target)
        return before


def copy_shop(parent: Path) -> Path:
    """A copy of the example's manifests and programs that the demo, and then the user, may edit."""
    directory = parent / "shop"
    shutil.copytree(SHOP, directory, ignore=shutil.ignore_patterns("__pycache__"))
    return directory
