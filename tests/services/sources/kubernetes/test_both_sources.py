"""One suite for both sources: the same objects, written and removed in the same order, make the same mesh."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from model.problem_codes import ProblemCode
from sources.directory import Directory
from sources.source import Source
from sources.store import Store
from tests.kubernetes_api import objects
from tests.kubernetes_api.following import TIMEOUT_SECONDS, following
from tests.kubernetes_api.objects import Json
from tests.kubernetes_api.server import FakeApiServer, running

POD = objects.pod("web-1", "10.0.0.1")
SLICE = objects.endpoint_slice("web", {"web-1": "10.0.0.1"})
WEB = objects.service("web")


def gateway(*hosts: str) -> Json:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [*hosts]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public", "namespace": "shop"},
        "spec": {"selector": {"istio": "edge"}, "servers": [server]},
    }


def routed_at_gateway() -> Json:
    found = objects.virtual_service("web")
    return {**found, "spec": {**found["spec"], "hosts": ["web.example"], "gateways": ["public"]}}


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is written and removed at once, and what must be so then. Errors are (code, object)."""

    put: Sequence[Json] = ()
    remove: Sequence[Json] = ()
    services: dict[str, list[int]] | None = None
    timeouts: dict[str, str] | None = None
    endpoints: dict[str, list[tuple[str, bool, bool]]] | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)


SCENARIOS: dict[str, tuple[Step, ...]] = {
    "a gateway comes, changes and goes": (
        Step(
            put=[WEB, routed_at_gateway()],
            problems=[(ProblemCode.UNKNOWN_GATEWAY, "VirtualService/shop/web")],
        ),
        Step(put=[gateway("other.example")], problems=[(ProblemCode.HOST_NOT_ADMITTED, "VirtualService/shop/web")]),
        Step(put=[gateway("*.example")]),
        Step(remove=[gateway()], problems=[(ProblemCode.UNKNOWN_GATEWAY, "VirtualService/shop/web")]),
    ),
    "objects come, change and go": (
        Step(put=[WEB], services={"web": [80]}),
        Step(put=[objects.service("web", 81)], services={"web": [81]}),
        Step(remove=[WEB], services={}),
    ),
    "an object that goes wrong stays as it was": (
        Step(put=[WEB, objects.virtual_service("web", "1s")], timeouts={"web": "0:00:01"}),
        Step(
            put=[objects.virtual_service("web", "soon")],
            timeouts={"web": "0:00:01"},
            problems=[(ProblemCode.INVALID_VALUE, "VirtualService/shop/web")],
        ),
        Step(put=[objects.virtual_service("web", "3s")], timeouts={"web": "0:00:03"}),
    ),
    "an object that is wrong from the start hides no other": (
        Step(
            put=[WEB, objects.virtual_service("bad", "soon"), objects.virtual_service("good")],
            timeouts={"good": "0:00:01"},
            problems=[(ProblemCode.INVALID_VALUE, "VirtualService/shop/bad")],
        ),
        Step(remove=[objects.virtual_service("bad")], timeouts={"good": "0:00:01"}),
    ),
    "an object that went wrong can be removed": (
        Step(put=[WEB, objects.virtual_service("web")], timeouts={"web": "0:00:01"}),
        Step(
            put=[objects.virtual_service("web", "soon")],
            timeouts={"web": "0:00:01"},
            problems=[(ProblemCode.INVALID_VALUE, "VirtualService/shop/web")],
        ),
        Step(remove=[objects.virtual_service("web")], timeouts={}),
    ),
    "of two that claim a host the older wins, and the other takes over": (
        Step(
            put=[
                WEB,
                objects.virtual_service("a", "1s", created="2026-02-02"),
                objects.virtual_service("b", "2s", created="2026-01-01"),
            ],
            timeouts={"b": "0:00:02", "a": "0:00:01"},
            problems=[(ProblemCode.CONFLICTING_HOSTS, "VirtualService/shop/a")],
        ),
        Step(remove=[objects.virtual_service("b")], timeouts={"a": "0:00:01"}),
    ),
    "endpoints follow slices and pods": (
        Step(put=[WEB, SLICE, POD], endpoints={"web": [("10.0.0.1", True, True)]}),
        Step(
            put=[
                objects.pod("web-2", "10.0.0.2", meshed=False),
                objects.endpoint_slice("web", {"web-1": "10.0.0.1", "web-2": "10.0.0.2"}),
            ],
            endpoints={"web": [("10.0.0.1", True, True), ("10.0.0.2", False, True)]},
        ),
        Step(remove=[POD], put=[objects.endpoint_slice("web", {"web-2": "10.0.0.2"})],
             endpoints={"web": [("10.0.0.2", False, True)]}),
        Step(remove=[SLICE, objects.pod("web-2", "")], endpoints={"web": []}),
    ),
    "settings come, go wrong and go": (
        Step(put=[objects.mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")]),
        Step(
            put=[objects.mesh_config("outboundTrafficPolicy: {mode: NONSENSE}")],
            problems=[(ProblemCode.INVALID_VALUE, "ConfigMap/istio-system/istio")],
        ),
        Step(remove=[objects.mesh_config("")]),
    ),
    "what refers to an object that is not there is told, and heals": (
        Step(
            put=[objects.virtual_service("web")],
            timeouts={"web": "0:00:01"},
            problems=[(ProblemCode.UNKNOWN_HOST, "VirtualService/shop/web")],
        ),
        Step(put=[WEB], timeouts={"web": "0:00:01"}),
        Step(put=[objects.destination_rule("web", "v1", "v2")], timeouts={"web": "0:00:01"}),
    ),
}  # fmt: skip


class Folder:
    """A directory with a file for each object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.store = Store()
        self.source: Source = Directory(path, self.store)

    def put(self, item: Json) -> None:
        self._file(item).write_text(json.dumps(item))

    def delete(self, item: Json) -> None:
        self._file(item).unlink()

    def _file(self, item: Json) -> Path:
        place = item["metadata"].get("namespace", "")
        return self._path / f"{item['kind']}-{place}-{item['metadata']['name']}.json"


Outcome: TypeAlias = dict[str, Any]


def outcome(store: Store) -> Outcome:
    """All of a mesh that may not depend on where it comes from, and what is wrong with it."""
    mesh = store.mesh
    return {
        "services": mesh.services,
        "endpoints": mesh.endpoints,
        "identities": mesh.identities,
        "inbound": mesh.inbound_ports,
        "routes": mesh.virtual_services,
        "rules": mesh.destination_rules,
        "settings": mesh.settings,
        "hosts": mesh.hosts_on_port,
        "pods": {name: (pod.uid, pod.labels, pod.service_account, pod.meshed) for name, pod in mesh.pods.items()},
        "problems": sorted(
            (problem.code, str(problem.object), problem.field, problem.message)
            for problem in store.problems
            # The pods of a cluster were checked by it.
            if problem.severity != "info" and problem.object is not None and problem.object.kind != "Pod"
        ),
    }


def check(step: Step, store: Store) -> None:
    mesh = store.mesh
    short = {host: host.partition(".")[0] for host in mesh.services}
    if step.services is not None:
        assert {
            short[host]: [port.number for port in each.ports] for host, each in mesh.services.items()
        } == step.services
    if step.timeouts is not None:
        rules = (rule for each in mesh.virtual_services.values() for rule in each)
        assert {rule.ref.name: str(rule.http[0].timeout) for rule in rules} == step.timeouts
    if step.endpoints is not None:
        assert {
            short[host]: [(each.address, each.meshed, each.ready) for each in listed]
            for host, listed in mesh.endpoints.items()
        } == step.endpoints
    found = [(each.code, str(each.object)) for each in store.problems if each.severity == "error"]
    assert found == step.problems


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_make_the_same_mesh(name: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with running(FakeApiServer()) as server, following(server) as cluster, asyncio.timeout(TIMEOUT_SECONDS):
        for world in (folder, server):
            # A directory of which nothing is left is an outage; that is its own business.
            world.put(objects.namespace("other"))
        for step in SCENARIOS[name]:
            for world in (folder, server):
                for item in step.put:
                    world.put(item)
                for item in step.remove:
                    world.delete(item)
            for source in (folder.source, cluster.source):
                await source.catch_up()
            check(step, folder.store)
            check(step, cluster.store)
            assert outcome(cluster.store) == outcome(folder.store)
