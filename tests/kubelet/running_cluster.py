"""A whole cluster on this machine: a real control plane, and nodes on which its pods run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tests.cluster import build
from tests.cluster.control_plane import ControlPlane, running
from tests.kubelet.nodes import TWO_ZONES, Nodes, nodes_up

LIMIT_SECONDS: Final = 60.0
"""How long a test waits for what should take a second or two, on a machine with other work."""
_LOOK_SECONDS: Final = 0.05
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`control_plane` is reachable from pods at the machine's address in their network."""

    control_plane: ControlPlane
    nodes: Nodes

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """A command of the administrator. Raises CommandFailed unless it ends with 0."""
        return self.control_plane.kubectl(*arguments, stdin=stdin)

    def apply(self, manifests: str, namespace: str) -> None:
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifests)

    def rolled_out(self, namespace: str, *workloads: str) -> None:
        """Waits until the rollouts are over. Raises CommandFailed, which says why not."""
        for workload in workloads:
            self.kubectl("rollout", "status", "-n", namespace, workload, f"--timeout={LIMIT_SECONDS:.0f}s")

    def ready(self, namespace: str, *pods: str) -> None:
        """Waits until the pods (names, or `-l` with a selector) are ready. Raises CommandFailed."""
        self.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod", *pods, f"--timeout={LIMIT_SECONDS:.0f}s")

    def pods(self, namespace: str, selector: str = "") -> list[str]:
        """The names of the pods there that are not on their way out."""
        more = ("-l", selector) if selector else ()
        items = self.control_plane.admin.get("pods", "-n", namespace, *more)["items"]
        return [item["metadata"]["name"] for item in items if "deletionTimestamp" not in item["metadata"]]

    def pod(self, namespace: str, name: str) -> dict[str, Any]:
        return self.control_plane.admin.get("pod", name, "-n", namespace)

    def run(
        self, namespace: str, pod: str, container: str, *argv: str, timeout_seconds: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """A command in a container, whatever comes of it. Raises KeyError, TimeoutExpired."""
        return subprocess.run(
            self.nodes.command(namespace, pod, container, *argv),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )


def eventually(ask: Callable[[], _T], holds: Callable[[_T], bool] = bool) -> _T:
    """Asks again and again until the answer is right, and returns it. Raises AssertionError with the last answer."""
    until = time.monotonic() + LIMIT_SECONDS
    while True:
        answer = ask()
        if holds(answer):
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"still {json.dumps(answer, default=str)}")
        time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def cluster_up(
    nodes: Mapping[str, Mapping[str, str]] = TWO_ZONES,
    *,
    renew_tokens_after: float = 0.0,
    progress: build.Progress = build.say,
) -> Iterator[Cluster]:
    """A cluster as long as the block lasts. Raises ClusterUnavailable, RuntimeError."""
    with nodes_up(nodes, renew_tokens_after=renew_tokens_after) as up:
        with running(up.host, service_ranges=up.service_ranges, progress=progress) as control_plane:
            up.join(control_plane.kubeconfig)
            yield Cluster(control_plane=control_plane, nodes=up)
