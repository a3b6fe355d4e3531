"""A real Envoy in a mesh of 100, 1,000 and 10,000 services: its memory with 20 in use, how long first requests take.

The mesh is `heddle local up`: pods with a sidecar call services that one other pod, without one, stands behind. Names
are resolved before the clock starts; each request has a connection of its own. Envoy builds its route table anew for
each host that comes, so that first requests take longer with more in use: several pods, each of a workload of its own,
use 20 services and then call a part of the others for the first time; after them one of the pods calls as many again,
where the mesh has them. An eager sidecar in a mesh beside it is compared in turns.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import manifests
from bench.figures_table import Figure, figures_parser, report
from bench.machine import machine_figures
from model.on_demand import SidecarConfig
from tests.mesh.running_mesh import RunningMesh

SIZES = (100, 1000, 10_000)
USED = 20
FIRSTS = 200
"""Services that are then called for the first time; fewer where there are not so many."""
CALLERS = 4
"""Pods that share them out."""
TURNS = 5
LATER = 2
"""In so many turns of either mode each is called so often again."""
MANY_PORTS, MANY_PORTS_OF = 100, 1000
"""Of all sizes the services are on one port; of so many once more on so many."""
_NAMESPACE = "app"
_UP_SECONDS = 600.0
_WITHIN_MB = 5.0
_FIRST_P99_MS = 25.0
_NO_DIFFERENCE = 1.1
"""Of medians, which on a quiet machine differ by less from run to run."""

_SERVER = """
import socket
listener = socket.create_server(("", 8080), backlog=128)
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    connection.close()
"""
_CALLER = """
import http.client, json, socket, sys, time

def call(host):
    connection = http.client.HTTPConnection(host, 80, timeout=30)
    began = time.perf_counter()
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    took = 1000 * (time.perf_counter() - began)
    connection.close()
    assert answer.status == 200, (host, answer.status)
    return took

hosts, later = sys.argv[2:], int(sys.argv[1])
for host in hosts:
    socket.getaddrinfo(host, 80)
first = [call(host) for host in hosts]
print(json.dumps({"first": first, "later": [call(host) for _ in range(later) for host in hosts]}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """Of one mesh: MB that Envoy has allocated, and MB resident; milliseconds of requests, later ones as they come.

    `crowded`: of the first requests of a sidecar that uses more and more of all those services.
    """

    services: int
    allocated_mb: float
    resident_mb: float
    first: tuple[float, ...]
    crowded: tuple[float, ...]
    later: list[float]


def measure(sizes: Sequence[int]) -> list[Figure]:
    on_demand, eager = zip(*map(_measure, sizes), strict=True)
    figures = [
        Figure(
            what=f"memory of Envoy that uses {USED} of {one.services:,} services",
            measured=f"{one.allocated_mb:,.1f} MB; eager {other.allocated_mb:,.1f} MB",
            values={
                "allocated_mb": one.allocated_mb,
                "resident_mb": one.resident_mb,
                "eager_mb": other.allocated_mb,
                "eager_resident_mb": other.resident_mb,
            },
        )
        for one, other in zip(on_demand, eager, strict=True)
    ]
    allocated = [one.allocated_mb for one in on_demand]
    apart = max(allocated) - min(allocated)
    figures.append(
        Figure(
            what="  between the smallest and the largest",
            measured=f"{apart:.1f} MB",
            target=f"within {_WITHIN_MB:.0f} MB",
            met=apart <= _WITHIN_MB,
            values={"apart_mb": apart},
        )
    )
    figures.append(_with_ports(MANY_PORTS_OF))
    for one, other in zip(on_demand, eager, strict=True):
        figures += _requests(one, other)
    return [*figures, *machine_figures()]


def _with_ports(services: int) -> Figure:
    """Each port on which somebody has HTTP is a filter chain and a route table of every sidecar."""
    with _mesh(services, SidecarConfig.ON_DEMAND, callers=1, ports=MANY_PORTS) as mesh:
        _called(mesh, range(USED), later=2)
        allocated, resident = _memory(mesh)
    return Figure(
        what=f"memory of Envoy that uses {USED} of {services:,} services, on {MANY_PORTS} ports",
        measured=f"{allocated:,.1f} MB",
        values={"allocated_mb": allocated, "resident_mb": resident},
    )


def _requests(one: Sidecar, other: Sidecar) -> Iterator[Figure]:
    p99 = statistics.quantiles(one.first, n=100)[98]
    yield Figure(
        what=f"first request to one of {one.services:,} services, {len(one.first)} times",
        measured=f"p50 {statistics.median(one.first):.1f} ms, p99 {p99:.1f} ms",
        target=f"p99 under {_FIRST_P99_MS:.0f} ms",
        met=p99 < _FIRST_P99_MS,
        values={"first_p50_ms": statistics.median(one.first), "first_p99_ms": p99},
    )
    if one.crowded:
        last = statistics.median(one.crowded[-len(one.crowded) // CALLERS :])
        p99 = statistics.quantiles(one.crowded, n=100)[98]
        yield Figure(
            what="  of one sidecar that uses ever more of them",
            measured=f"the last quarter p50 {last:.1f} ms; all p99 {p99:.1f} ms",
            values={"crowded_p50_ms": last, "crowded_p99_ms": p99},
        )
    ours, eager = statistics.median(one.later), statistics.median(other.later)
    p99, eager_p99 = (statistics.quantiles(each.later, n=100)[98] for each in (one, other))
    yield Figure(
        what="  later requests",
        measured=f"p50 {ours:.2f} ms, p99 {p99:.2f} ms; eager {eager:.2f} and {eager_p99:.2f} ms",
        target="as in eager mode",
        met=ours <= _NO_DIFFERENCE * eager,
        values={"later_p50_ms": ours, "later_p99_ms": p99, "eager_p50_ms": eager, "eager_p99_ms": eager_p99},
    )


def _measure(services: int) -> tuple[Sidecar, Sidecar]:
    """On demand and eager: each alone at first, then one mesh beside the other, for requests that are compared."""
    print(f"  {services} services ...", file=sys.stderr)
    numbers = range(USED, min(services, USED + FIRSTS))
    of_first = numbers[::CALLERS]
    meshes: list[_Mesh] = []
    found: list[Sidecar] = []
    with ExitStack() as stack:
        for mode in (SidecarConfig.ON_DEMAND, SidecarConfig.EAGER):
            is_eager = mode is SidecarConfig.EAGER
            meshes.append(mesh := stack.enter_context(_mesh(services, mode, callers=1 if is_eager else CALLERS)))
            _called(mesh, range(USED), later=2)
            allocated, resident = _memory(mesh)
            first: list[float] = []
            for caller in range(0 if is_eager else CALLERS):
                _called(mesh, range(USED), caller=caller)
                first += _called(mesh, numbers[caller::CALLERS], caller=caller)["first"]
            more = range(USED + FIRSTS, min(services, USED + 2 * FIRSTS))
            crowded = () if is_eager or not more else tuple(_called(mesh, more)["first"])
            found.append(
                Sidecar(
                    services=services,
                    allocated_mb=allocated,
                    resident_mb=resident,
                    first=tuple(first),
                    crowded=crowded,
                    later=[],
                )
            )
        for turn in range(TURNS):
            for mesh, sidecar in list(zip(meshes, found, strict=True))[:: 1 if turn % 2 else -1]:
                sidecar.later.extend(_called(mesh, of_first, later=LATER)["later"])
    return found[0], found[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mesh:
    running: RunningMesh
    state: Path

    def heddle(self, *arguments: str) -> str:
        """What a command (two words, and what it is given) says. Raises RuntimeError if it fails."""
        before = os.environ.get("HEDDLE_STATE")
        os.environ["HEDDLE_STATE"] = str(self.state)
        try:
            mesh = ("--mesh", self.running.name)
            done = self.running.heddle(*arguments[:2], *mesh, *arguments[2:], timeout=_UP_SECONDS)
        finally:
            if before is None:
                del os.environ["HEDDLE_STATE"]
            else:
                os.environ["HEDDLE_STATE"] = before
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout


@contextmanager
def _mesh(services: int, mode: SidecarConfig, *, callers: int, ports: int = 1) -> Iterator[_Mesh]:
    with tempfile.TemporaryDirectory(prefix="hb-") as directory:
        # Envoy runs as a user of its own, who has to get there.
        os.chmod(directory, 0o711)
        folder, state = Path(directory) / "manifests", Path(directory) / "state"
        _write(folder, services, callers, ports)
        mesh = _Mesh(running=RunningMesh("bench", folder), state=state)
        try:
            mesh.heddle("local", "up", str(folder), "--detach", "--wait", "--sidecar-config", mode)
            yield mesh
        finally:
            mesh.heddle("local", "down")


def _called(mesh: _Mesh, numbers: Sequence[int], *, later: int = 0, caller: int = 0) -> dict[str, list[float]]:
    hosts = [f"s{number}" for number in numbers]
    command = ("python3", "-c", _CALLER, str(later), *hosts)
    took: dict[str, list[float]] = json.loads(
        mesh.heddle("local", "exec", f"deploy/client{caller}", "-n", _NAMESPACE, "--", *command)
    )
    return took


def _memory(mesh: _Mesh) -> tuple[float, float]:
    """What the first caller's Envoy says of itself, on its socket in the mesh's own mount namespace."""
    pods = json.loads(mesh.heddle("local", "status", "-o", "json"))["pods"]
    (address,) = [pod["ip"] for pod in pods if pod["name"].startswith("client0-")]
    (process,) = [
        line.parent
        for line in Path("/proc").glob("[0-9]*/cmdline")
        if f"{address}/bootstrap.json".encode() in (words := line.read_bytes()) and str(mesh.state).encode() in words
    ]
    path = process / "root" / mesh.state.relative_to("/") / ".run" / "pods" / address / "admin.sock"
    told = json.loads(_ask(path, "/memory"))
    return int(told["allocated"]) / 1e6, int(told["total_physical_bytes"]) / 1e6


def _ask(path: Path, query: str) -> bytes:
    connection = http.client.HTTPConnection("envoy")
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.connect(str(path))
        connection.request("GET", query)
        return connection.getresponse().read()


def _write(folder: Path, services: int, callers: int, ports: int) -> None:
    folder.mkdir()
    written = (_service(number, 80 if number < USED else 80 + number % ports) for number in range(services))
    (folder / "services.yaml").write_text(manifests.together(*written))
    (folder / "pods.yaml").write_text(
        manifests.together(
            *(_workload(f"client{number}", ["sleep", "infinity"], "") for number in range(callers)),
            _workload("server", ["python3", "-c", _SERVER], "false"),
        )
    )


def _service(number: int, port: int) -> str:
    return f"""apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: {_NAMESPACE}}}
spec:
  selector: {{app: server}}
  ports: [{{name: http, port: {port}, targetPort: 8080}}]
"""


def _workload(name: str, command: Sequence[str], inject: str) -> str:
    annotations = {"sidecar.istio.io/inject": inject} if inject else {}
    pod = {
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "bench", "command": list(command)}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": pod}
    metadata = {"name": name, "namespace": _NAMESPACE}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("real_sidecar", __doc__)
    parser.add_argument("--services", type=int, nargs="+", default=list(SIZES))
    args = parser.parse_args(arguments)
    return report(measure(args.services), args.json)


if __name__ == "__main__":
    sys.exit(main())
