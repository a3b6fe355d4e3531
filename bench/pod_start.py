"""A Pod object is created: how long until its first answer through its own sidecar, and where the time goes.

A real API server, Heddle installed by its chart, the webhook injecting, our nodes running the pod as it was injected.
Nothing is pulled. The pod is asked from its node, again and again, from the moment it has an address.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.figures_table import Figure, figures_parser, report
from tests.kubelet.installed_mesh import InstalledMesh, installed
from tests.kubelet.running_cluster import cluster_up

ROUNDS = 20
TARGET_P50_SECONDS = 0.5
_PORT = 8080
_LIMIT_SECONDS = 60.0
_STEPS = ("bound", "network", "volumes", "istio-init ended", "istio-proxy prepared", "istio-proxy started")
_APPLICATION = f"""
import socket
listener = socket.create_server(("", {_PORT}), backlog=64)
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    connection.close()
"""


def pod(name: str) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": "example/app",
        "command": ["python3", "-S", "-E", "-c", _APPLICATION],
        "ports": [{"containerPort": _PORT, "name": "http"}],
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec}


def measure(rounds: int) -> list[Figure]:
    with cluster_up() as cluster, installed(cluster, {"replicas": 1}) as mesh:
        mesh.meshed_namespace("bench")
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "bench"},
            "spec": {"selector": {"app": "bench"}, "ports": [{"name": "http", "port": 80, "targetPort": _PORT}]},
        }
        cluster.apply(json.dumps(service), "bench")
        # The first one makes everybody load what they need.
        found = []
        for number in range(rounds + 1):
            if number:
                # Before the next one is measured.
                cluster.kubectl("delete", "pod", f"p{number - 1}", "-n", "bench", "--wait=true")
            found.append(_start_one(mesh, f"p{number}"))
        memory = _sidecar_memory(mesh, f"p{rounds}")
    del found[0]
    totals = sorted(total for _, total, _ in found)
    created = 1000 * statistics.median(created for created, _, _ in found)
    p50, p90 = 1000 * statistics.median(totals), 1000 * statistics.quantiles(totals, n=10)[8]
    steps = {
        step: 1000 * statistics.median(moments[step] for _, _, moments in found) for step in (*_STEPS, "first answer")
    }
    return [
        Figure(
            what=f"a Pod object created until its first answer through its own sidecar, {rounds} times",
            measured=f"p50 {p50:,.0f} ms, p90 {p90:,.0f} ms",
            target=f"p50 under {1000 * TARGET_P50_SECONDS:,.0f} ms",
            met=p50 < 1000 * TARGET_P50_SECONDS,
            values={"p50_ms": p50, "p90_ms": p90},
        ),
        Figure(
            what="  of that, until the POST is answered (webhook, etcd)",
            measured=f"{created:,.0f} ms; from step to step:",
            values={"created_ms": created},
        ),
        *(
            Figure(what=f"    {step}", measured=f"{took:,.0f} ms", values={"step_ms": took})
            for step, took in steps.items()
        ),
        Figure(what="memory of its sidecar", measured=f"{memory:,.0f} MiB", values={"sidecar_mib": memory}),
    ]


def _start_one(mesh: InstalledMesh, name: str) -> tuple[float, float, dict[str, float]]:
    """Seconds until the object was there, until the first answer, and of each step from the one before it."""
    import http.client
    import ssl
    import urllib.parse

    plane = mesh.cluster.control_plane
    where = urllib.parse.urlsplit(plane.url)
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    connection = http.client.HTTPSConnection(where.hostname or "", where.port, context=context)
    headers = {"Authorization": f"Bearer {plane.admin_token}", "Content-Type": "application/json"}
    connection.connect()
    began = time.monotonic()
    connection.request("POST", "/api/v1/namespaces/bench/pods", json.dumps(pod(name)), headers)
    answer = connection.getresponse()
    said = answer.read()
    created = time.monotonic() - began
    assert answer.status == 201, said
    connection.close()
    address = _address(mesh, name, began + _LIMIT_SECONDS)
    while not _answers(address):
        assert time.monotonic() < began + _LIMIT_SECONDS, "no answer"
        time.sleep(0.002)
    total = time.monotonic() - began
    assert mesh.counter("bench", name, "^http.*inbound.*downstream_rq_2xx$") == 1, "it was not the sidecar's answer"
    moments = mesh.cluster.nodes.moments("bench", name)
    previous, steps = began, {}
    for step in _STEPS:
        steps[step] = moments[step] - previous
        previous = moments[step]
    steps["first answer"] = began + total - previous
    return created, total, steps


def _address(mesh: InstalledMesh, name: str, until: float) -> str:
    file = mesh.cluster.nodes.directory / "pods" / f"bench_{name}.json"
    while time.monotonic() < until:
        if file.exists():
            found: str = json.loads(file.read_text())["addresses"][0]
            return found
        time.sleep(0.002)
    raise AssertionError(f"{name} got no address")


def _answers(address: str) -> bool:
    """Whether the application answers."""
    try:
        with socket.create_connection((address, _PORT), 1) as connection:
            connection.settimeout(2)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            head = b""
            while chunk := connection.recv(4096):
                head += chunk
    except OSError:
        return False
    return head.startswith(b"HTTP/1.1 200")


def _sidecar_memory(mesh: InstalledMesh, name: str) -> float:
    """The resident memory of all that is a sidecar's in a pod, in MiB: one process, as there is no agent."""
    script = "cat /proc/$(pgrep -u 1337 -n envoy)/status"
    said = mesh.cluster.run("bench", name, "app", "sh", "-c", script).stdout
    (line,) = (line for line in said.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("pod_start", __doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(arguments)
    return report(measure(args.rounds), args.json)


if __name__ == "__main__":
    sys.exit(main())
