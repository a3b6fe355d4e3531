"""kubectl and helm as one identity: the administrator, or a service account with only the rights it was given."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any


class CommandFailed(AssertionError):
    """A command that had to end with 0 did not; the text has all it said."""


class Client:
    """Commands with one kubeconfig, and none of the caller's own settings.

    `programs` holds kubectl; `helm_folder` is asked for helm's folder at the first use, as it may have to be built.
    """

    def __init__(self, kubeconfig: Path, home: Path, programs: Path, helm_folder: Callable[[], Path]) -> None:
        self.kubeconfig = kubeconfig
        self._home = home
        self._programs = programs
        self._helm_folder = helm_folder

    def try_kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> Completed:
        """One kubectl command with its status and output, whatever it is. Raises TimeoutExpired."""
        return self._run(self._programs / "kubectl", arguments, stdin, timeout_seconds)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """The output of a kubectl command. Raises CommandFailed unless it ends with 0."""
        return _must(self.try_kubectl(*arguments, stdin=stdin, timeout_seconds=timeout_seconds))

    def apply(self, manifests: str) -> None:
        """`kubectl apply -f -`. Raises CommandFailed."""
        self.kubectl("apply", "-f", "-", stdin=manifests)

    def get(self, *arguments: str) -> dict[str, Any]:
        """What `kubectl get ARGUMENTS` finds, as JSON. Raises CommandFailed."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def try_helm(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 180) -> Completed:
        """One helm command with its status and output, whatever it is. Raises ClusterUnavailable, TimeoutExpired."""
        return self._run(self._helm_folder() / "helm", arguments, stdin, timeout_seconds)

    def helm(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 180) -> str:
        """The output of a helm command. Raises CommandFailed unless it ends with 0."""
        return _must(self.try_helm(*arguments, stdin=stdin, timeout_seconds=timeout_seconds))

    def _run(self, program: Path, arguments: tuple[str, ...], stdin: str | None, timeout_seconds: float) -> Completed:
        return subprocess.run(
            [str(program), *arguments],
            input=stdin if stdin is not None else "",
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """The whole environment of a command.

        The home is the cluster's own: kubectl's caches go by host and port, which a later cluster may have again.
        """
        home = str(self._home)
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "TMPDIR": home,
            "KUBECONFIG": str(self.kubeconfig),
        }


Completed = subprocess.CompletedProcess[str]


def _must(done: Completed) -> str:
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(done.args)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def write_kubeconfig(file: Path, *, url: str, authority: Path, token: str) -> None:
    """A kubeconfig with one context, `heddle-test`. It names `authority` by its path."""
    name = "heddle-test"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    file.touch(mode=0o600)
    file.write_text(json.dumps(content, indent=1))
