"""`heddle serve --kubernetes` as several replicas of one installation, each with a pod that the API server knows."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from tests.cluster.client import Client
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.webhook_process import NAMESPACE, free_port

_LIMIT_SECONDS: Final = 120.0


def own_address() -> str:
    """One of this machine's that is no loopback's: an API server passes nothing on to those."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        # Nothing is sent: the kernel only looks where it would leave from.
        found.connect(("198.51.100.1", 9))
        return str(found.getsockname()[0])


class ReplicaProcess:
    """One control plane. `xds` is where its sidecars connect, `admin` where it is asked."""

    def __init__(self, cluster: ControlPlane, client: Client, folder: Path, name: str) -> None:
        self._cluster = cluster
        self._client = client
        self.name = name
        self._folder = folder / name
        self._folder.mkdir()
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        host = own_address()
        self.xds, self.admin = (f"{host}:{free_port()}" for _ in range(2))
        self._health = f"127.0.0.1:{free_port()}"

    def start(self) -> None:
        self._make_pod()
        (self._folder / "token").write_text(self.token("heddle", pod=self.name))
        command = [sys.executable, "-m", "heddle.main", "serve", "--kubernetes", "--log-json", "-v"]
        command += ["--kubeconfig", str(self._client.kubeconfig), "--mesh-config", f"{NAMESPACE}/istio"]
        command += ["--xds", self.xds, "--health", self._health]
        command += ["--admin", self.admin, "--admin-token", str(self._folder / "token")]
        environment = {
            **os.environ,
            "HEDDLE_STATE": str(self._folder / "state"),
            "POD_NAME": self.name,
            "POD_NAMESPACE": NAMESPACE,
        }
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        end = time.monotonic() + _LIMIT_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"it is not ready:\n{self.log()}")
            time.sleep(0.05)

    def start_again(self) -> None:
        """Starts it where it has ended."""
        if self._process is None:
            self.start()

    def token(self, account: str, *, audience: str = "heddle-admin", pod: str | None = None) -> str:
        return self._cluster.token(NAMESPACE, account, audience=audience, pod=pod)

    def log(self) -> str:
        return self._log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under a name."""
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == name]

    def pause(self) -> None:
        """It stands still, as on a node that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """The process; its pod stays."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            process.wait(_LIMIT_SECONDS)

    def _ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self._health}/healthz/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as refused:
            refused.close()
            return False
        except OSError:
            return False

    def _make_pod(self) -> None:
        host, _, port = self.admin.rpartition(":")
        labels = {
            "app.kubernetes.io/name": "heddle",
            "heddle.io/revision": "heddle",
            "app.kubernetes.io/version": "0.1.0",
        }
        container = {
            "name": "heddle",
            "image": "example/heddle",
            "ports": [{"name": "admin", "containerPort": int(port)}],
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"serviceAccountName": "heddle", "containers": [container]},
        }
        self._cluster.admin.apply(json.dumps(pod))
        ready = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": host, "podIPs": [{"ip": host}], "conditions": ready}
        patch = json.dumps({"status": status})
        place = ("-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)
        self._cluster.kubectl("patch", "pod", self.name, *place)
