"""Two replicas as the chart installs them, with the tokens that kubelets give: they know each other, and are asked."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from heddle.main import main
from tests.cluster.build import ClusterUnavailable
from tests.kubelet import mesh_manifests as manifests
from tests.kubelet.installed_mesh import NAMESPACE, InstalledMesh, installed
from tests.kubelet.load import connections, load
from tests.kubelet.running_cluster import cluster_up, eventually

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.network,
    pytest.mark.envoy,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="pods have users of their own, which only root can give them"),
    pytest.mark.skipif(os.environ.get("HEDDLE_SKIP_CLUSTER") == "1", reason="HEDDLE_SKIP_CLUSTER=1"),
]

AWAY_SECONDS = 60
MODES = ("on-demand", "eager")
"""The names of the pods too."""
RATE = 25
"""Requests a second, and connections, of each pod."""


@pytest.fixture(scope="module")
def mesh() -> Iterator[InstalledMesh]:
    try:
        with cluster_up() as cluster, installed(cluster, {"replicas": 2}) as mesh:
            yield mesh
    except ClusterUnavailable as reason:
        pytest.fail(str(reason), pytrace=False)


def programmed(mesh: InstalledMesh, namespace: str, name: str) -> str:
    found = mesh.cluster.control_plane.admin.get("virtualservice", name, "-n", namespace)
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((each["message"] for each in conditions if each["type"] == "Programmed"), "")


def test_the_leader_counts_the_sidecars_of_both_and_so_does_a_person(
    mesh: InstalledMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = "shop"
    mesh.meshed_namespace(namespace)
    mesh.cluster.apply(manifests.server("web") + manifests.service("web") + manifests.client("client"), namespace)
    mesh.cluster.rolled_out(namespace, "deployment/web-v1")
    mesh.cluster.ready(namespace, "client")
    mesh.cluster.apply(manifests.split("web", {"v1": 100}), namespace)
    said = eventually(lambda: programmed(mesh, namespace, "web"), lambda message: message.startswith("All"))
    assert said == "All 2 connected sidecars have acknowledged it."
    capsys.readouterr()
    code = main(["status", "--kubernetes", "--kubeconfig", str(mesh.cluster.control_plane.kubeconfig), "-o", "json"])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (code, printed.err) == (0, "")
    planes = {plane["name"]: plane for plane in found["control_planes"]}
    assert set(planes) == set(mesh.control_planes())
    assert sorted(plane["leading"] for plane in planes.values()) == [False, True]
    assert {sidecar["control_plane"] for sidecar in found["sidecars"]} <= set(planes)
    assert len(found["sidecars"]) == sum(plane["sidecars"] for plane in planes.values()) == 2


def test_a_minute_without_any_control_plane_fails_no_request_to_what_was_used(mesh: InstalledMesh) -> None:
    """Killed, all at once, and not started again: requests and TCP connections, of a sidecar that learns on demand and
    of one that has everything."""
    mesh.meshed_namespace("away")
    callers = "".join(manifests.client(mode, annotations=f"heddle.io/sidecar-config: {mode}") for mode in MODES)
    mesh.cluster.apply(manifests.server("web") + manifests.service("web") + callers, "away")
    mesh.cluster.rolled_out("away", "deployment/web-v1")
    for mode in MODES:
        mesh.cluster.ready("away", mode)
        eventually(lambda mode=mode: mesh.call("away", mode, "http://web/"), lambda call: call.status == 200)
    modes = mesh.on_demand()
    assert {mode: modes["away", mode] for mode in MODES} == {"on-demand": True, "eager": False}
    with contextlib.ExitStack() as loads:
        summaries = [loads.enter_context(load(mesh, "away", rate=RATE, pod=mode)) for mode in MODES]
        summaries += [loads.enter_context(connections(mesh, "away", "web:81", RATE, mode)) for mode in MODES]
        assert len(mesh.signal_control_planes(signal.SIGKILL)) == 2
        mesh.cluster.kubectl("scale", "-n", NAMESPACE, "deployment/heddle", "--replicas=0")
        mesh.cluster.kubectl("wait", "-n", NAMESPACE, "--for=delete", "pod", "--all", "--timeout=60s")
        time.sleep(AWAY_SECONDS)
        assert mesh.control_planes() == []
        mesh.cluster.kubectl("scale", "-n", NAMESPACE, "deployment/heddle", "--replicas=2")
        mesh.cluster.rolled_out(NAMESPACE, "deployment/heddle")
        for mode in MODES:
            eventually(lambda mode=mode: ("away", mode) in mesh.connected())
        mesh.cluster.apply(manifests.marked("web", "back"), "away")
        for mode in MODES:
            eventually(
                lambda mode=mode: mesh.call("away", mode, "http://web/").json["headers"].get("x-mark", ""),
                lambda mark: mark == "back",
            )
    for summary in summaries:
        assert summary["failed"] == 0, summary
        assert summary["answers"] > RATE * AWAY_SECONDS * 0.8, summary
