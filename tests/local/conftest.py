"""One mesh whose pods come and go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.on_demand import SidecarConfig
from tests.mesh.running_mesh import RunningMesh
from tests.sidecar_modes import config as config  # the fixture
from tests.sidecar_modes import parametrize_modes

MANIFESTS = Path(__file__).parent / "manifests"
pytest_generate_tests = parametrize_modes


def copy_manifests(parent: Path, name: str) -> RunningMesh:
    """A mesh that is not started, on manifests of its own. The server's replicas are in web.yaml."""
    directory = parent / name
    shutil.copytree(MANIFESTS, directory, ignore=shutil.ignore_patterns("__pycache__"))
    mesh = RunningMesh(f"{name}-{os.getpid()}", directory)
    mesh.write(web(), "web.yaml")
    return mesh


def web(*, replicas: int = 1, version: str = "1", ready_after: float = 0, delay: float = 0) -> str:
    """The Deployment behind Service `web`."""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: app
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: web}}
  template:
    metadata:
      labels: {{app: web, version: "{version}"}}
    spec:
      containers:
        - name: web
          command: [python3, app/server.py]
          env:
            - {{name: VERSION, value: "{version}"}}
            - {{name: READY_AFTER, value: "{ready_after}"}}
            - {{name: DELAY, value: "{delay}"}}
          ports:
            - containerPort: 8080
          readinessProbe:
            httpGet: {{path: /ready, port: 8080}}
            periodSeconds: 1
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, config: SidecarConfig) -> Iterator[RunningMesh]:
    mesh = copy_manifests(tmp_path_factory.mktemp("local"), f"pods-{config}")
    mesh.up("--sidecar-config", config)
    yield mesh
    mesh.down()


@pytest.fixture
def mesh(running: RunningMesh) -> Iterator[RunningMesh]:
    """The shared mesh; what a test changed is put back."""
    yield running
    before = {path.name: path.read_text() for path in MANIFESTS.glob("*.yaml")} | {"web.yaml": web()}
    for path in running.directory.glob("*.yaml"):
        if path.name not in before:
            path.unlink()
    for name, text in before.items():
        if (running.directory / name).read_text() != text:
            running.write(text, name)
    running.settle()
