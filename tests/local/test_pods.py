"""What a pod is given, and what becomes of it when its manifest is edited."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.local.conftest import web
from tests.mesh.running_mesh import RunningMesh
from tests.sidecar_modes import in_both_modes

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]


def pod(mesh: RunningMesh, name: str) -> dict[str, Any]:
    (found,) = [found for found in mesh.status()["pods"] if found["name"] == name]
    return dict(found)


def until(mesh: RunningMesh, name: str, **expected: object) -> dict[str, Any]:
    """The pod, once it looks as expected."""
    deadline = time.monotonic() + 60
    while True:
        found = [found for found in mesh.status()["pods"] if found["name"] == name]
        if found and all(found[0][key] == value for key, value in expected.items()):
            return dict(found[0])
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_names_labels_and_who_has_a_sidecar(mesh: RunningMesh) -> None:
    pods = {found["name"]: found for found in mesh.status()["pods"]}
    (deployed,) = [name for name in pods if name.startswith("web-")]
    assert re.fullmatch(r"web-[a-z0-9]{10}-[a-z0-9]{5}", deployed)
    assert {"db-0", "db-1", "caller", "outsider", deployed} == set(pods)
    assert pods[deployed]["labels"]["pod-template-hash"] in deployed
    assert pods["db-1"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-1"
    assert [name for name, found in pods.items() if not found["sidecar"]] == ["outsider"]
    assert all(found["ready"] and found["ip"] for found in pods.values())
    assert len({found["ip"] for found in pods.values()}) == 5
    services = {found["name"]: found["ip"] for found in mesh.status()["services"]}
    assert services["db"] == "None"
    assert services["web"].count(".") == 3


def test_what_a_container_is_given(mesh: RunningMesh) -> None:
    printed = mesh.exec("caller", "env").stdout
    environment = dict(line.partition("=")[::2] for line in printed.splitlines())
    caller = pod(mesh, "caller")
    assert environment["POD_NAME"] == "caller"
    assert environment["POD_NAMESPACE"] == "app"
    assert environment["POD_IP"] == caller["ip"]
    assert environment["IPS"].startswith(caller["ip"])
    assert environment["KEY"] == "s3cret"
    assert environment["COLOR"] == "blue"
    assert environment["ACCOUNT"] == "caller"
    assert environment["APP"] == "caller"
    assert environment["TEAM"] == "a b"
    assert environment["NODE"]
    assert environment["GREETING"] == "hello from caller"
    assert not any(name.startswith("HEDDLE") or name == "PYTHONPATH" for name in environment)
    assert mesh.exec("caller", "pwd").stdout.strip() == str(mesh.directory / "app")
    assert mesh.exec("caller", "getent", "hosts", "old.example").stdout.split()[0] == "192.0.2.7"
    assert mesh.exec("caller", "hostname").stdout.strip() == "caller"


def test_a_stateful_sets_pods_are_found_by_name(mesh: RunningMesh) -> None:
    for name in ("db-0", "db-1"):
        answered = mesh.exec("caller", "curl", "-s", f"http://{name}.db:8080/").stdout
        assert json.loads(answered)["pod"] == name


@pytest.mark.parametrize("who", ["caller", "pod/caller", "caller.app", "deploy/web", "sts/db"])
def test_exec_finds_the_pod(mesh: RunningMesh, who: str) -> None:
    done = mesh.heddle("local", "exec", who, "--mesh", mesh.name, "--", "true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exec_hands_everything_through(mesh: RunningMesh) -> None:
    done = mesh.exec("caller", "sh", "-c", "cat; echo err >&2; exit 41", stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (41, "in\n", "err\n")
    assert mesh.exec("caller", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    missing = mesh.exec("caller", "no-such-program")
    assert missing.returncode == 127
    assert "no-such-program" in missing.stderr
    nobody = mesh.exec("nobody", "true")
    assert nobody.returncode == 2
    assert "there are:" in nobody.stderr


def test_twenty_commands_at_once(mesh: RunningMesh) -> None:
    started = [
        subprocess.Popen(mesh.exec_argv("caller", "sh", "-c", f"cat; exit {n}"), stdin=-1, stdout=-1, text=True)
        for n in range(20)
    ]
    for number, process in enumerate(started):
        output, _ = process.communicate(f"{number}", timeout=60)
        assert (process.returncode, output) == (number, str(number))


def test_logs(mesh: RunningMesh) -> None:
    assert mesh.must("local", "logs", "caller", "--mesh", mesh.name) == "hello from caller\n"
    assert mesh.must("local", "logs", "caller", "--tail", "0", "--mesh", mesh.name) == ""
    assert mesh.heddle("local", "logs", "caller", "-c", "istio-proxy", "--mesh", mesh.name).returncode == 0
    wrong = mesh.heddle("local", "logs", "caller", "-c", "nothing", "--mesh", mesh.name)
    assert (wrong.returncode, "there are: shell, istio-proxy" in wrong.stderr) == (2, True)


def test_a_bare_pod_is_relabelled_without_a_restart(mesh: RunningMesh) -> None:
    before = mesh.exec("caller", "pgrep", "-f", "sleep infinity").stdout
    base = (mesh.directory / "00-base.yaml").read_text()
    mesh.apply(base.replace("labels: {app: caller}", "labels: {app: caller, role: boss}"), "00-base.yaml")
    assert pod(mesh, "caller")["labels"] == {"app": "caller", "role": "boss"}
    assert pod(mesh, "caller")["restarts"] == 0
    assert mesh.exec("caller", "pgrep", "-f", "sleep infinity").stdout == before


def test_a_container_without_a_command_is_reported_and_the_others_go_on(mesh: RunningMesh) -> None:
    mesh.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: imaged, namespace: app}\n"
        "spec: {containers: [{name: it, image: nginx}, {name: shell, command: [sleep, infinity]}]}\n"
    )
    found = pod(mesh, "imaged")
    assert not found["ready"]
    assert found["phase"] == "CannotRun"
    assert "no command; images are not pulled" in found["reason"]
    assert mesh.exec("imaged", "true").returncode == 0
    assert mesh.exec("caller", "curl", "-sf", "http://web/").returncode == 0


def test_a_crash_is_shown_and_mended_by_an_edit(mesh: RunningMesh) -> None:
    manifest = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: weak, namespace: app}\n"
        "spec: {containers: [{name: it, command: [sh, -c, 'echo dying; exit 3']}]}\n"
    )
    mesh.write(manifest)
    found = until(mesh, "weak", phase="CrashLoopBackOff")
    assert "exit status 3" in found["reason"]
    assert "dying" in mesh.must("local", "logs", "weak", "--mesh", mesh.name)
    late = mesh.heddle("status", "--wait", "--timeout", "1", "--mesh", mesh.name)
    assert (late.returncode, "weak.app" in late.stderr) == (2, True)
    mesh.apply(manifest.replace("exit 3", "sleep infinity"))
    assert pod(mesh, "weak")["ready"]


def test_a_config_map_that_comes_late(mesh: RunningMesh) -> None:
    mesh.write(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: early, namespace: app}\n"
        "spec: {containers: [{name: it, command: [sleep, infinity], envFrom: [{configMapRef: {name: late}}]}]}\n"
    )
    assert "ConfigMap app/late" in until(mesh, "early", phase="CreateContainerConfigError")["reason"]
    try:
        mesh.apply(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late, namespace: app}\ndata: {A: b}\n", "late.yaml"
        )
        assert mesh.exec("early", "printenv", "A").stdout == "b\n"
    finally:
        (mesh.directory / "late.yaml").unlink()


def test_a_sidecar_that_dies_comes_back(mesh: RunningMesh) -> None:
    until(mesh, "caller", ready=True)
    done = mesh.heddle(
        "local", "exec", "caller", "-c", "istio-proxy", "--mesh", mesh.name, "--", "pkill", "-9", "-f", "config-path.*"
        + re.escape(pod(mesh, "caller")["ip"] + "/"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    until(mesh, "caller", ready=False)
    until(mesh, "caller", ready=True)
    assert mesh.exec("caller", "curl", "-sf", "http://web/").returncode == 0


@contextmanager
def hammering(mesh: RunningMesh, caller: str) -> Iterator[subprocess.Popen[str]]:
    program = str(mesh.directory / "app" / "hammer.py")
    argv = mesh.exec_argv(caller, "python3", program, "http://web:80/")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        try:
            yield process
        finally:
            process.terminate()


def summary(process: subprocess.Popen[str]) -> dict[str, dict[str, int]]:
    output, _ = process.communicate(timeout=60)
    found: dict[str, dict[str, int]] = json.loads(output)
    return found


@in_both_modes
@pytest.mark.parametrize("delay", [0, 0.2])
def test_no_request_fails_while_pods_come_and_go(mesh: RunningMesh, delay: float) -> None:
    mesh.apply(web(replicas=3, delay=delay), "web.yaml")
    with hammering(mesh, "caller") as process:
        mesh.apply(web(replicas=1, delay=delay), "web.yaml")
        assert len(mesh.pods("web-")) == 1
        mesh.apply(web(replicas=4, delay=delay), "web.yaml")
        assert len(mesh.pods("web-")) == 4
        mesh.apply(web(replicas=2, version="2", ready_after=0.5, delay=delay), "web.yaml")
        assert [found["labels"]["version"] for found in mesh.pods("web-")] == ["2", "2"]
        mesh.exec("caller", "curl", "-s", "http://web/")
        found = summary(process)
    assert set(found["outcomes"]) == {"200"}
    assert set(found["versions"]) == {"1", "2"}


def test_a_deleted_file_takes_its_pods_away(mesh: RunningMesh) -> None:
    assert mesh.exec("caller", "curl", "-sf", "http://web/").returncode == 0
    text = (mesh.directory / "web.yaml").read_text()
    mesh.remove("web.yaml")
    assert mesh.pods("web-") == []
    answer = mesh.exec("caller", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://web/").stdout
    assert answer == "503"
    mesh.apply(text, "web.yaml")


def test_a_pod_may_have_the_longest_name(mesh: RunningMesh) -> None:
    name, container = "p" * 253, "c" * 63
    mesh.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: app}}
spec:
  containers: [{{name: {container}, command: [sh, -c, "echo said; exec sleep 1000"]}}]
""")
    until(mesh, name, ready=True, sidecar=True)
    assert mesh.must("local", "logs", name, "-n", "app", "-c", container, "--mesh", mesh.name) == "said\n"
    bootstrap = json.loads(mesh.must("bootstrap", name, "-n", "app", "--mesh", mesh.name))
    assert bootstrap["node"]["id"].split("~")[2].startswith("ppp")
