"""`heddle serve --kubernetes` with its webhooks, for a real API server on this machine, and what it may do there."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import yaml

from heddle.cluster.chart import load_chart
from tests.cluster.client import Client
from tests.cluster.control_plane import ControlPlane

CONFIGURATIONS: Final = Path(__file__).resolve().parents[2] / "docs" / "webhook-configurations.yaml"
_LIMIT_SECONDS: Final = 120.0

NAMESPACE: Final = "heddle-system"
_RIGHTS: Final = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


def rights() -> str:
    """Heddle's namespace, its account, and what the chart lets it do."""
    objects = load_chart().render({}, namespace=NAMESPACE).objects
    items = [item for item in objects if item["kind"] in _RIGHTS]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace, *items]})


class WebhookProcess:
    """One Heddle. `start` returns when it is ready; the second time at the same ports."""

    def __init__(self, client: Client, folder: Path, settings: str = "") -> None:
        self._client = client
        self._folder = folder
        (folder / "settings.yaml").write_text(settings)
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._health = 0

    def start(self) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", "heddle.main", "serve", "--kubernetes"]
        command += ["--log-json", "-v"]
        command += ["--kubeconfig", str(self._client.kubeconfig), "--xds", "127.0.0.1:0"]
        command += ["--webhook", f"127.0.0.1:{self.port}", "--health", f"127.0.0.1:{self._health or free_port()}"]
        command += ["--settings", str(self._folder / "settings.yaml"), "--mesh-config", f"{NAMESPACE}/istio"]
        self._health = int(command[command.index("--health") + 1].rpartition(":")[2])
        environment = {**os.environ, "HEDDLE_STATE": str(self._folder / "state")}
        with open(self._log, "ab") as log:
            begun = log.tell()
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        end = time.monotonic() + _LIMIT_SECONDS
        while self.ready() != 200:
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"it is not ready: {self.ready()}\n{self.log()[begun:]}")
            time.sleep(0.05)
        (address,) = [entry["address"] for entry in self.events("webhook.serving", begun)]
        self.port = int(address.rpartition(":")[2])

    def ready(self) -> int:
        """The status of its readiness; 0 if nobody answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self._health}/healthz/ready", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code
        except OSError:
            return 0

    def log(self) -> str:
        return self._log.read_text()

    def events(self, name: str, begun: int = 0) -> list[dict[str, Any]]:
        """What it logged under a name."""
        lines = [line for line in self.log()[begun:].splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == name]

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(number)
            try:
                process.wait(_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                # It writes where it stands.
                process.send_signal(signal.SIGABRT)
                process.wait()
                raise AssertionError(f"it did not end:\n{self.log()[-8000:]}") from None


def configurations(port: int) -> list[dict[str, Any]]:
    """The documented ones, at a port of this machine instead of a Service."""
    injector, validator, _ = yaml.safe_load_all(CONFIGURATIONS.read_text())
    found: list[dict[str, Any]] = copy.deepcopy([injector, validator])
    for configuration in found:
        for webhook in configuration["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}"}
    return found


def configure(cluster: ControlPlane, port: int) -> None:
    for configuration in configurations(port):
        cluster.admin.apply(json.dumps(configuration))


def unconfigure(cluster: ControlPlane) -> None:
    cluster.kubectl("delete", "mutatingwebhookconfiguration", "heddle-injector", "--ignore-not-found")
    cluster.kubectl("delete", "validatingwebhookconfiguration", "heddle-validator", "--ignore-not-found")


def free_port() -> int:
    """One that was free a moment ago."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
