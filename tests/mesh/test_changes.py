"""What happens when manifests change while requests flow: good changes, bad ones, and certificates that end."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sources.directory import CONFIRM_SECONDS
from tests.mesh.conftest import BOTH
from tests.mesh.load import load
from tests.mesh.running_mesh import RunningMesh, start

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = BOTH


def split(v1: int, v2: int, name: str = "echo") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: app}}
spec:
  hosts: [echo]
  http:
    - route:
        - destination: {{host: echo, subset: v1}}
          weight: {v1}
        - destination: {{host: echo, subset: v2}}
          weight: {v2}
"""


def findings(mesh: RunningMesh) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(mesh.heddle("status", "--mesh", mesh.name, "-o", "json").stdout)[
        "findings"
    ]
    return found


def test_weights_flip_under_load_without_a_failed_request(mesh: RunningMesh) -> None:
    with load(mesh) as summaries:
        for flip in range(10):
            mesh.apply(split(100, 0) if flip % 2 else split(0, 100))
            expected = {"v1": 10} if flip % 2 else {"v2": 10}
            assert mesh.get("client", "http://echo/", repeat=10)["versions"] == expected
    assert summaries[0]["failed"] == 0, summaries
    assert summaries[0]["answers"] > 100


def test_bad_input_leaves_the_last_good_in_force(mesh: RunningMesh) -> None:
    mesh.apply(split(0, 100))
    mesh.write(split(0, 0))
    done = mesh.heddle("status", "--wait", "--timeout", "30", "--mesh", mesh.name)
    assert done.returncode == 1, done.stdout
    assert mesh.get("client", "http://echo/", repeat=10)["versions"] == {"v2": 10}
    mine = [finding for finding in findings(mesh) if finding["file"].endswith("case.yaml")]
    assert mine
    assert mine[0]["line"] > 0
    assert mine[0]["fix"]


def trust_domain(name: str) -> str:
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    return f"{head}data:\n  mesh: |\n    trustDomain: {name}\n"


def restarts_needed(mesh: RunningMesh) -> list[dict[str, Any]]:
    return [finding for finding in findings(mesh) if finding["code"] == "RestartNeeded"]


def test_a_new_trust_domain_waits_for_a_restart_and_breaks_no_call(mesh: RunningMesh) -> None:
    calls = [{"url": "http://echo/"}, {"tcp": "echo:9000", "send": "ping", "expect": "ping", "timeout": 5}]
    with load(mesh) as summaries:
        mesh.write(trust_domain("other.example"))
        done = mesh.heddle("status", "--wait", "--timeout", "30", "--mesh", mesh.name)
        assert done.returncode == 1, done.stdout
        (finding,) = restarts_needed(mesh)
        assert finding["file"].endswith("case.yaml")
        assert (finding["line"], finding["field"]) == (6, "data.mesh.trustDomain")
        assert "'cluster.local' stays in force" in finding["message"]
        assert finding["message"] in done.stdout
        # A client that has no connection yet is the first to notice other identities.
        status, raw = mesh.call("other", *calls)
        assert status["status"] == 200
        assert dict(status["json"]["headers"])["x-forwarded-client-cert"].endswith(
            "URI=spiffe://cluster.local/ns/app/sa/other"
        )
        assert "text" in raw
        mesh.apply(trust_domain("cluster.local"))
        assert restarts_needed(mesh) == []
        assert mesh.get("other", "http://echo/")["status"] == 200
    assert summaries[0]["failed"] == 0, summaries
    assert summaries[0]["answers"] > 10


def test_r60_a_directory_that_vanishes_takes_nothing_from_anybody(mesh: RunningMesh) -> None:
    """And one that is empty for a moment, as while it is replaced."""
    aside = mesh.directory.with_name("aside")
    mesh.apply(split(100, 0))
    with load(mesh) as summaries:
        mesh.directory.rename(aside)
        try:
            time.sleep(CONFIRM_SECONDS + 1)
            # A pod's programs are in there too, all but Python itself.
            ask = "import urllib.request; print(urllib.request.urlopen('http://echo/', timeout=5).status)"
            assert mesh.exec("deploy/other", "python3", "-c", ask).stdout == "200\n"
            mesh.directory.mkdir()
            time.sleep(CONFIRM_SECONDS / 10)
        finally:
            shutil.rmtree(mesh.directory, ignore_errors=True)
            aside.rename(mesh.directory)
        mesh.apply(split(0, 100))
        assert mesh.get("client", "http://echo/", repeat=5)["versions"] == {"v2": 5}
    assert summaries[0]["failed"] == 0, summaries
    assert summaries[0]["answers"] > 100


@pytest.mark.parametrize(
    "bad",
    ["spec: [unclosed", "a: 1\na: 2", "just text", "\x00", "kind: VirtualService", "- 1\n- 2"],
    ids=["malformed", "duplicate key", "no object", "a nul byte", "half an object", "a list"],
)
def test_what_is_no_manifest_hides_nothing(mesh: RunningMesh, bad: str) -> None:
    mesh.write(bad, "bad.yaml")
    try:
        mesh.write(split(100, 0))
        mesh.heddle("status", "--wait", "--timeout", "30", "--mesh", mesh.name)
        assert mesh.get("client", "http://echo/", repeat=5)["versions"] == {"v1": 5}
        assert any(finding["file"].endswith("bad.yaml") for finding in findings(mesh))
    finally:
        mesh.remove("bad.yaml")


def test_the_second_virtual_service_for_a_host_is_named(mesh: RunningMesh) -> None:
    mesh.write(split(100, 0) + "---" + split(0, 100, name="later"))
    mesh.heddle("status", "--wait", "--timeout", "30", "--mesh", mesh.name)
    assert mesh.get("client", "http://echo/", repeat=5)["versions"] == {"v1": 5}
    assert any("later" in finding["resource"] for finding in findings(mesh))


def test_status_is_never_about_the_configuration_before_a_save(mesh: RunningMesh) -> None:
    for turn in range(10):
        status, said = (210 + turn, f"turn {turn}")
        mesh.apply(f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: app}}
spec:
  hosts: [echo]
  http: [{{directResponse: {{status: {status}, body: {{string: {said}}}}}}}]
""")
        answer = mesh.get("client", "http://echo/")
        assert (answer["status"], answer["text"]) == (status, said)


def test_status_names_what_is_late(mesh: RunningMesh) -> None:
    mesh.write("""
apiVersion: v1
kind: Pod
metadata: {name: never-ready, namespace: app, labels: {app: never}}
spec:
  containers:
    - name: main
      command: [sleep, infinity]
      readinessProbe: {tcpSocket: {port: 1}, periodSeconds: 1}
""")
    done = mesh.heddle("status", "--wait", "--timeout", "4", "--mesh", mesh.name)
    assert done.returncode == 2
    assert "never-ready" in done.stderr


@pytest.fixture(scope="module", params=MODES, ids=str)
def short_lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    options = ("--cert-life", "12s", "--sidecar-config", request.param)
    mesh = start(tmp_path_factory.mktemp("short"), f"short-{request.param}", *options)
    yield mesh
    mesh.down()


def test_certificates_are_rotated_under_load(short_lived: RunningMesh, tmp_path: Path) -> None:
    """Two meshes run side by side meanwhile: this one and the shared one."""

    def serial() -> str:
        printed = short_lived.must(
            "config", "secret", "deploy/echo-v1", "-n", "app", "--mesh", short_lived.name, "-o", "json"
        )
        return next(secret["serial"] for secret in json.loads(printed)["secret"] if secret["name"] == "default")

    serials = {serial()}
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: app}
spec:
  host: echo
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 5}}}
"""
    short_lived.apply(rule, "destinations.yaml")
    with load(short_lived) as summaries:
        while len(serials) < 4:
            short_lived.get("client", "http://echo/sleep/0.5")
            serials.add(serial())
    assert summaries[0]["failed"] == 0, summaries


def test_the_access_log_goes_to_the_sidecars_own_output(mesh: RunningMesh) -> None:
    mesh.apply("""
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
""")
    mesh.call("client", *[{"url": "http://echo/looked-for"}] * 6)
    logged = mesh.must("local", "logs", "deploy/client", "-n", "app", "-c", "istio-proxy", "--mesh", mesh.name)
    assert "/looked-for" in logged
