"""Heddle in a cluster of ours: installed by its chart, with the chart's own rights, injecting by its webhook."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.kubelet.images import CHECKOUT
from tests.kubelet.running_cluster import Cluster, eventually

NAMESPACE: Final = "heddle-system"
_INSTALL_SECONDS: Final = 180
_ADMIN_SOCKET: Final = "/tmp/heddle/serve/admin.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a request from a pod came to. `status` 0: there was no answer; `error` says why."""

    status: int
    body: str
    error: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def caller(self) -> str:
        """Who the server's sidecar says that the caller is, '' without mutual TLS."""
        certificate = self.json["headers"].get("x-forwarded-client-cert", "")
        return str(certificate.partition("URI=")[2].partition(";")[0].partition(",")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledMesh:
    """`cluster` with a running control plane in it."""

    cluster: Cluster

    def call(self, namespace: str, pod: str, url: str, *options: str, container: str = "app") -> Call:
        """A request from a container of a pod, by curl."""
        asked = ("curl", "-sS", "--max-time", "10", "-o", "-", "-w", "\n%{http_code}", *options, url)
        done = self.cluster.run(namespace, pod, container, *asked)
        body, _, status = done.stdout.rpartition("\n")
        return Call(status=int(status or 0), body=body, error=done.stderr.strip())

    def sidecar(self, namespace: str, pod: str, path: str) -> str:
        """What a pod's sidecar answers on its admin socket."""
        asked = ("curl", "-sS", "--max-time", "10", "--unix-socket", "/run/heddle/admin.sock", f"http://admin{path}")
        done = self.cluster.run(namespace, pod, "istio-proxy", *asked)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def counter(self, namespace: str, pod: str, pattern: str) -> int:
        """The sum of a sidecar's counters whose names match a regular expression."""
        text = self.sidecar(namespace, pod, f"/stats?format=json&filter={pattern}")
        return sum(one.get("value", 0) for one in json.loads(text)["stats"])

    def certificate(self, namespace: str, pod: str) -> str:
        """The serial number of the certificate that a pod's sidecar uses now."""
        found = json.loads(self.sidecar(namespace, pod, "/certs"))["certificates"]
        serials = {one["serial_number"] for each in found for one in each.get("cert_chain", ()) if _is_workload(one)}
        return ",".join(sorted(serials))

    def control_planes(self) -> list[str]:
        """The names of the control plane's pods."""
        return self.cluster.pods(NAMESPACE, "app.kubernetes.io/name=heddle") or self.cluster.pods(NAMESPACE)

    def status(self, control_plane: str) -> dict[str, Any]:
        """What a control plane says of itself on its admin socket."""
        asked = ("curl", "-sS", "--max-time", "10", "--unix-socket", _ADMIN_SOCKET, "http://admin/status")
        done = self.cluster.run(NAMESPACE, control_plane, "heddle", *asked)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def connected(self) -> set[tuple[str, str]]:
        """The pods whose sidecars have a stream, by namespace and name."""
        return set(self.on_demand())

    def on_demand(self) -> dict[tuple[str, str], bool]:
        """Of those, whether each learns on demand."""
        return {
            (sidecar["namespace"], sidecar["pod"]): sidecar["on_demand"]
            for control_plane in self.control_planes()
            for sidecar in self.status(control_plane)["sidecars"]
        }

    def signal_control_planes(self, number: signal.Signals, *, besides: Container[str] = ()) -> list[str]:
        """Sends a signal to the process of every control plane; its container stays. Their pids, without `besides`."""
        signalled = []
        for control_plane in self.control_planes():
            found = self.cluster.run(
                NAMESPACE, control_plane, "heddle", "pgrep", "-u", "10001", "-f", "heddle.main serve"
            )
            for pid in found.stdout.split():
                if pid not in besides:
                    self.cluster.run(NAMESPACE, control_plane, "heddle", "kill", f"-{number.value}", pid)
                    signalled.append(pid)
        return signalled

    def restarts(self, control_plane: str) -> int:
        """How often its container was started again."""
        (status,) = self.cluster.pod(NAMESPACE, control_plane)["status"]["containerStatuses"]
        return int(status["restartCount"])

    def leader(self) -> str:
        """The pod of the control plane that has the Lease."""
        lease = self.cluster.control_plane.admin.get("lease", "heddle-leader", "-n", NAMESPACE)
        return str(lease["spec"].get("holderIdentity") or "").partition("_")[0]

    def meshed_namespace(self, name: str) -> None:
        """Makes a namespace whose pods are injected, and waits for its roots."""
        self.cluster.kubectl("create", "namespace", name)
        self.cluster.kubectl("label", "namespace", name, "heddle.io/inject=enabled")
        for made in ("serviceaccount/default", "configmap/heddle-root"):
            self.cluster.kubectl("wait", "--for=create", made, "-n", name, "--timeout=50s")


@contextlib.contextmanager
def installed(cluster: Cluster, values: dict[str, Any]) -> Iterator[InstalledMesh]:
    """Heddle in `cluster` as long as that is there."""
    mesh = InstalledMesh(cluster=cluster)
    install(cluster, values)
    eventually(mesh.control_planes)
    yield mesh


def install(cluster: Cluster, values: dict[str, Any]) -> None:
    """What `heddle install --apply --wait` does, also to what is there. Raises AssertionError with all it said."""
    with tempfile.TemporaryDirectory(prefix="heddle-install-") as folder:
        (Path(folder) / "values.yaml").write_text(json.dumps(values))
        done = subprocess.run(
            (sys.executable, "-m", "heddle.main", "install", "-f", f"{folder}/values.yaml", "--apply", "--wait"),
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "KUBECONFIG": str(cluster.control_plane.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def _is_workload(certificate: dict[str, Any]) -> bool:
    return any("uri" in name for name in certificate.get("subject_alt_names", ()))
