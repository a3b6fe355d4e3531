"""Starting and ending meshes, in good order and in bad."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heddle.meshes import MeshHome, home_of
from tests.local.conftest import copy_manifests
from tests.mesh.running_mesh import HEDDLE, RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]

ONE_POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: only, namespace: default}\n"
    "spec: {containers: [{name: it, command: [sleep, '987654']}]}\n"
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RunningMesh]:
    """A mesh of one pod, not started."""
    (tmp_path / "pod.yaml").write_text(ONE_POD)
    mesh = RunningMesh(f"small-{os.getpid()}", tmp_path)
    yield mesh
    mesh.down()


def home(mesh: RunningMesh) -> MeshHome:
    return home_of(mesh.name)


def processes_of(mesh: RunningMesh) -> list[str]:
    """Command lines of what belongs to the mesh, by its name or its pod's odd number of seconds."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "987654" in line or (mesh.name in line and "heddle.local.supervisor" in line):
            found.append(line)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("isolation", ["auto", "loopback"])
def test_down_leaves_nothing_and_may_be_said_again(small: RunningMesh, isolation: str) -> None:
    small.up("--isolation", isolation)
    assert [pod["ready"] for pod in small.status()["pods"]] == [True]
    assert small.status()["isolation"] == "loopback" if isolation == "loopback" else True
    began = time.monotonic()
    small.down()
    assert time.monotonic() - began < 10
    assert processes_of(small) == []
    assert not home(small).path.exists()
    assert "no mesh" in small.must("local", "down", "--mesh", small.name)
    assert small.heddle("local", "status", "--mesh", small.name).returncode == 2


@pytest.mark.parametrize("isolation", ["auto", "loopback"])
def test_what_a_crash_leaves_is_cleaned_by_the_next_command(small: RunningMesh, isolation: str) -> None:
    small.up("--isolation", isolation)
    holder = json.loads((home(small).path / "process.json").read_text())["pid"]
    os.kill(holder, signal.SIGKILL)
    until(lambda: not home(small).is_running())
    small.up("--isolation", isolation)
    assert len(processes_of(small)) >= 2
    holder = json.loads((home(small).path / "process.json").read_text())["pid"]
    os.kill(holder, signal.SIGKILL)
    until(lambda: not home(small).is_running())
    assert "left behind" in small.must("local", "down", "--mesh", small.name)
    until(lambda: processes_of(small) == [])
    assert not home(small).path.exists()


def trust_domain(name: str) -> str:
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    return f"{head}data: {{mesh: 'trustDomain: {name}'}}\n"


@pytest.mark.parametrize("isolation", ["auto", "loopback"])
def test_a_crashed_mesh_is_not_started_with_another_trust_domain(small: RunningMesh, isolation: str) -> None:
    small.write(trust_domain("a.b"), "mesh.yaml")
    small.up("--isolation", isolation)
    holder = json.loads((home(small).path / "process.json").read_text())["pid"]
    os.kill(holder, signal.SIGKILL)
    until(lambda: not home(small).is_running())
    small.write(trust_domain("c.d"), "mesh.yaml")
    for _ in range(2):
        again = small.heddle(
            "local", "up", str(small.directory), "--detach", "--mesh", small.name, "--isolation", isolation
        )
        assert again.returncode == 2, again.stderr
        assert "holds the authority of 'a.b', not of 'c.d': put that trustDomain back" in again.stderr
        assert f"heddle local down --mesh {small.name}" in again.stderr
        assert "Traceback" not in again.stderr
        assert (home(small).path / "ca" / "authority" / "root.pem").exists()
    small.write(trust_domain("a.b"), "mesh.yaml")
    small.up("--isolation", isolation)
    small.down()
    small.write(trust_domain("c.d"), "mesh.yaml")
    small.up("--isolation", isolation)


def test_in_the_foreground_ctrl_c_ends_it(small: RunningMesh) -> None:
    argv = [*HEDDLE, "local", "up", str(small.directory), "--mesh", small.name]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "is up" in line:
                break
        assert any("pods 1/1 ready" in line for line in said)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=30) == 0
    assert processes_of(small) == []
    assert not home(small).path.exists()


def test_a_name_is_taken_only_once(small: RunningMesh) -> None:
    small.up()
    second = small.heddle("local", "up", str(small.directory), "--detach", "--mesh", small.name)
    assert second.returncode == 2
    assert "runs already" in second.stderr


def test_up_with_wait_says_why_a_pod_cannot_be_ready(small: RunningMesh) -> None:
    small.write(
        ONE_POD.replace("only", "imaged").replace(", command: [sleep, '987654']", ", image: nginx"), "image.yaml"
    )
    started = small.heddle("local", "up", str(small.directory), "--detach", "--wait", "--mesh", small.name)
    assert started.returncode == 1
    assert "imaged.default: CannotRun: it: no command" in started.stderr
    assert {pod["name"]: pod["ready"] for pod in small.status()["pods"]} == {"only": True, "imaged": False}


def test_a_directory_that_is_not_there(small: RunningMesh) -> None:
    started = small.heddle("local", "up", str(small.directory / "no"), "--mesh", small.name)
    assert started.returncode == 2
    assert "does not exist" in started.stderr


def test_a_directory_that_the_mesh_would_not_see_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_STATE", str(tmp_path))
    mesh = copy_manifests(tmp_path, "unseen")
    started = mesh.heddle("local", "up", str(mesh.directory), "--mesh", mesh.name)
    assert started.returncode == 2
    assert f"{mesh.directory} is within {tmp_path}" in started.stderr


def test_two_meshes_side_by_side(tmp_path: Path) -> None:
    meshes = [copy_manifests(tmp_path, name) for name in ("left", "right")]
    try:
        for mesh in meshes:
            mesh.up()
        addresses = [{pod["ip"] for pod in mesh.status()["pods"]} for mesh in meshes]
        assert not addresses[0] & addresses[1]
        for mesh in meshes:
            served = mesh.exec("caller", "curl", "-sf", "http://web/").stdout
            assert json.loads(served)["pod"] == mesh.pods("web-")[0]["name"]
        meshes[0].down()
        assert meshes[1].exec("caller", "curl", "-sf", "http://web/").returncode == 0
    finally:
        for mesh in meshes:
            mesh.down()
