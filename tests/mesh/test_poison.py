"""Bad objects among 300 good ones and a sidecar that learns on demand; tests/envoy/test_poison.py is the eager one."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.envoy.test_poison import ANALYZE, FEW, GOOD, LIVE_WITHIN, POISON, good
from tests.mesh.raw_requests import RawRequests, get, requests
from tests.mesh.running_mesh import MANIFESTS, RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]

OTHERS = {"Sidecar", "Pod", "Deployment", "ConfigMap", "Secret"}
"""What a Sidecar leaves out of scope is meant to be, and the others are not what routes are made of."""
CALLER = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}, annotations: {{time: "{number}"}}}}
    spec:
      serviceAccountName: web
      containers: [{{name: main, image: web, command: [sleep, infinity]}}]
"""
CALLED = "users:80"
HOSTS = re.compile(r"hosts?: *(.*)|^ *- (\S+)$", re.MULTILINE)
NAME = re.compile(r"[-*.a-z0-9]+")
RIGHT = {number: f"good-{number}" for number in range(1, GOOD)}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    directory = tmp_path_factory.mktemp("poison") / "mesh"
    shutil.copytree(MANIFESTS / "app", directory / "app", ignore=shutil.ignore_patterns("__pycache__"))
    objects = [one for one in yaml.safe_load_all((ANALYZE / "mesh.yaml").read_text()) if one["kind"] != "Deployment"]
    (directory / "mesh.yaml").write_text(yaml.safe_dump_all(objects))
    (directory / "web.yaml").write_text(CALLER.format(number=0))
    (directory / "good.yaml").write_text("---\n".join(good(number, body) for number, body in RIGHT.items()))
    (directory / "changing.yaml").write_text(good(0, "v0"))
    running = RunningMesh(f"poison-{os.getpid()}", directory, namespace="shop")
    running.up("--sidecar-config", "on-demand")
    yield running
    running.down()


def kinds(poison: Path) -> set[str]:
    # Some of them are no YAML.
    return {line.removeprefix("kind:").strip() for line in poison.read_text().splitlines() if line.startswith("kind:")}


def answers(raw: RawRequests, *numbers: int) -> dict[int, str]:
    found = raw.send(*[{**get(f"good-{number}.example", to=CALLED), "whole": True} for number in numbers])
    return {
        number: answer["heard"].partition("\r\n\r\n")[2] if answer["status"] == 200 else str(answer["status"])
        for number, answer in zip(numbers, found, strict=True)
    }


def ask_for_what_is_bad(mesh: RunningMesh, raw: RawRequests, poison: Path) -> None:
    """What nobody asks for is not sent, and could harm nobody."""
    hosts = {host for found in HOSTS.findall(poison.read_text()) for host in NAME.findall("".join(found))}
    # Not waited for: some of them wait for what they cannot have.
    raw.send(
        *[leaving(get(host, to=CALLED)) for host in sorted(hosts)], leaving({"to": "db:5432", "pieces": [[0, "x"]]})
    )
    (users,) = raw.send(get("users", to=CALLED))
    assert users["status"] in (200, 404, 503), "nobody is left waiting"
    assert users["seconds"] < LIVE_WITHIN
    printed = mesh.must("config", "route", "deploy/web", "-n", "shop", "--mesh", mesh.name, "-o", "json")
    assert "80/users.shop.svc.cluster.local" in printed


def leaving(item: dict[str, Any]) -> dict[str, Any]:
    """The same by a client that leaves once the sidecar has read it."""
    return {**item, "pieces": [*item["pieces"], [0.05, ""]], "reset": True}


def until_live(raw: RawRequests, body: str, within: float) -> None:
    end = time.monotonic() + within
    while (seen := answers(raw, 0)[0]) != body:
        assert time.monotonic() < end, f"{seen} in place of {body} after {within} s"
        time.sleep(0.01)


def restart(mesh: RunningMesh, number: int) -> None:
    """Another pod takes the caller's place, with an Envoy that knows nothing; one that comes back again and again would
    be kept waiting."""
    (before,) = mesh.pods("web")
    mesh.write(CALLER.format(number=number), "web.yaml")
    deadline = time.monotonic() + 60
    while [(pod["name"] != before["name"], pod["ready"]) for pod in mesh.pods("web")] != [(True, True)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def rejections(mesh: RunningMesh) -> list[object]:
    status: dict[str, list[object]] = json.loads(mesh.heddle("status", "--mesh", mesh.name, "-o", "json").stdout)
    return status["rejections"]


def settle(mesh: RunningMesh) -> None:
    """As its own, but that the mesh has errors is meant to be."""
    done = mesh.heddle("status", "--wait", "--timeout", "45", "--mesh", mesh.name)
    assert done.returncode in (0, 1), f"{done.stdout}{done.stderr}"


def harms_nobody(mesh: RunningMesh, poison: Path, number: int) -> None:
    with requests(mesh, "web") as raw:
        mesh.write(poison.read_text(), "poison.yaml")
        settle(mesh)
        ask_for_what_is_bad(mesh, raw, poison)
        assert answers(raw, *RIGHT) == RIGHT, poison.stem
        mesh.write(good(0, poison.stem), "changing.yaml")
        until_live(raw, poison.stem, LIVE_WITHIN)
    restart(mesh, number)
    with requests(mesh, "web") as raw:
        until_live(raw, poison.stem, 15)
        ask_for_what_is_bad(mesh, raw, poison)
        settle(mesh)
        assert answers(raw, *RIGHT) == RIGHT, f"{poison.stem}, after a restart"
    assert not rejections(mesh), "it is refused before it is sent, not by Envoy"


def try_all(mesh: RunningMesh, poisons: list[Path]) -> None:
    with requests(mesh, "web") as raw:
        assert answers(raw, *RIGHT) == RIGHT
    for number, poison in enumerate(poisons, 1):
        harms_nobody(mesh, poison, number)


def test_r47_a_few_bad_objects_harm_nobody_on_demand(mesh: RunningMesh) -> None:
    try_all(mesh, [path for path in POISON if path.stem in FEW])


@pytest.mark.soak
def test_r47_no_bad_object_harms_anybody_on_demand(mesh: RunningMesh) -> None:
    poisons = [path for path in POISON if not kinds(path) & OTHERS]
    assert len(poisons) >= 200
    try_all(mesh, poisons)
