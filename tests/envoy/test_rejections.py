"""What Envoy refuses although Heddle took it for good, in a running control plane on a cluster with a real Envoy.

Heddle refuses what Envoy would before it is sent, so that for each object here the one check that would find it wrong
is switched off.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

import heddle.control_plane
import sources.istio_load_balancer
import sources.string_match
from heddle import clock
from heddle.admin import About, admin_api
from heddle.cluster.status_writer import StatusWriter
from heddle.control_plane import Cluster, ControlPlane, PlaneSettings
from heddle.meshes import MeshRecord, claim
from model.on_demand import SidecarConfig
from model.problems import Problem
from sds.tokens import Caller
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from sources.regex import Compiled, compile_regex
from tests.envoy.on_demand_proxy import outbound_names, told_where, until_listening, with_listeners
from tests.envoy.outbound_proxy import ANYWHERE, Proxy, Server, serving
from tests.envoy.plane_sidecar import start_sidecar
from tests.envoy.xds_toy import free_port
from tests.kubernetes_api import objects
from tests.kubernetes_api.issuer import FakeIssuer, new_rsa_key
from tests.kubernetes_api.objects import Json
from tests.kubernetes_api.server import FakeApiServer, running

pytestmark = pytest.mark.envoy
IN_BOTH_MODES = True

SIDECAR = "127.0.0.88"
"""Nobody else's tests use it."""
CALLER = Caller(namespace="shop", service_account="web", pod_name="web-1", pod_uid="uid-web-1")
CHECKOUT = Path(__file__).resolve().parents[2]
GOOD = 20
LIVE_WITHIN_SECONDS = 2.0
LOOKAHEAD = "/a(?=b)"
NO_PRIME = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`good` and `bad` are the spec of one object; `words` are Envoy's about the resource that is made of it.

    `without` is what a sidecar on demand answers that has no such resource.
    """

    kind: str
    good: Json
    bad: Json
    resource: str
    type: str
    words: str
    without: int


def matching(uri: dict[str, str]) -> Json:
    route = {"route": [{"destination": {"host": "users"}}]}
    return {"hosts": ["users"], "http": [{"match": [{"uri": uri}], **route}, route]}


def hashing(table_size: int) -> Json:
    key = {"httpHeaderName": "x-user"}
    hashed = {"consistentHash": {**key, "maglev": {"tableSize": table_size}}}
    return {"host": "users", "trafficPolicy": {"loadBalancer": hashed}}


CASES = (
    Case(
        kind="VirtualService",
        good=matching({"prefix": "/a"}),
        bad=matching({"regex": LOOKAHEAD}),
        resource="80/users.shop.svc.cluster.local:80",
        type="route",
        words="invalid perl operator: (?=",
        without=404,
    ),
    Case(
        kind="DestinationRule",
        good=hashing(65537),
        bad=hashing(NO_PRIME),
        resource="outbound|80||users.shop.svc.cluster.local",
        type="cluster",
        words="The table size of maglev must be prime number",
        without=503,
    ),
)


@pytest.fixture(params=CASES, ids=lambda case: case.kind)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Heddle takes what is bad in it for good, and nothing else."""
    found: Case = request.param
    is_prime = sources.istio_load_balancer._is_prime

    def take(pattern: str) -> Compiled:
        return Compiled(pattern=pattern, groups=0, size=10) if pattern == LOOKAHEAD else compile_regex(pattern)

    monkeypatch.setattr(sources.string_match, "compile_regex", take)
    monkeypatch.setattr(sources.istio_load_balancer, "_is_prime", lambda size: size == NO_PRIME or is_prime(size))
    return found


def an_object(kind: str, name: str, spec: Json) -> Json:
    created = "2026-01-01T00:00:00Z"
    metadata = objects.metadata(name, creationTimestamp=created)
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def answering(number: int, body: str) -> Json:
    answer = {"status": 200, "body": {"string": body}}
    spec = {"hosts": [f"good-{number}.example"], "http": [{"directResponse": answer}]}
    return an_object("VirtualService", f"good-{number}", spec)


class Mesh:
    """A control plane on a small API server, and the Envoy of one pod of it."""

    def __init__(self, server: FakeApiServer, plane: ControlPlane, issuer: FakeIssuer, folder: Path, port: int) -> None:
        self._server = server
        self.plane = plane
        self._issuer = issuer
        self._folder = folder
        self._proxy = Proxy(port=port, address=SIDECAR, where=ANYWHERE)
        self._process: asyncio.subprocess.Process | None = None

    async def apply(self, item: Json) -> None:
        self._server.put(item)
        await self.plane.source.catch_up()

    def programmed(self, item: Json) -> tuple[str, str, str]:
        return self.condition(item, "Programmed")

    def condition(self, item: Json, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of the object's condition, as the API server has it."""
        resource = f"{item['kind'].lower()}s.networking.istio.io"
        held = self._server.snapshot()[1][resource][f"shop/{item['metadata']['name']}"]
        conditions = {each["type"]: each for each in held.get("status", {}).get("conditions", ())}
        found = conditions.get(kind, {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    async def start_envoy(self) -> None:
        token = self._issuer.mint(CALLER, datetime.now(UTC))
        self._process = await start_sidecar(self.plane, self._folder, token=token, address=SIDECAR)
        await until_listening(self._proxy.port, SIDECAR)

    async def stop_envoy(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await until(lambda: not self.plane.streams.state())

    async def answer(self, host: str, path: str = "/") -> tuple[int, str]:
        found = await asyncio.to_thread(self._proxy.get, host, path)
        return found.status, found.body

    async def answers(self) -> dict[int, tuple[int, str]]:
        """Of everything good that is not changed."""
        return {number: await self.answer(f"good-{number}.example") for number in range(1, GOOD)}

    async def until_live(self, body: str) -> None:
        """Changes `good-0`, which is to be seen in time."""
        self._server.put(answering(0, body))
        end = time.monotonic() + LIVE_WITHIN_SECONDS
        while (seen := await self.answer("good-0.example")) != (200, body):
            assert time.monotonic() < end, f"{seen} in place of {body}"

    async def settle(self) -> None:
        generation = self.plane.store.generation
        streams = self.plane.streams
        await until(lambda: streams.state() and streams.acknowledged(generation))


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)


async def status(*arguments: str) -> tuple[int, str]:
    """The exit status of `heddle status`, and what it prints."""
    command = [sys.executable, "-m", "heddle.main", "status", "--mesh", "it", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@asynccontextmanager
async def meshed(
    folder: Path, config: SidecarConfig, monkeypatch: pytest.MonkeyPatch, users: Server
) -> AsyncIterator[Mesh]:
    port = free_port(SIDECAR)
    monkeypatch.setenv("HEDDLE_STATE", str(folder / "state"))
    monkeypatch.setattr(
        heddle.control_plane, "derive", with_listeners(lambda listener: told_where(listener, port, SIDECAR))
    )
    monkeypatch.setattr(heddle.control_plane, "names_in_scope", outbound_names)
    issuer = FakeIssuer(new_rsa_key())
    at = objects.endpoint_slice("users", {"": users.address})
    at["ports"][0]["port"] = users.port
    del at["endpoints"][0]["targetRef"]
    given = [answering(number, f"good-{number}") for number in range(GOOD)]
    for_good = (objects.namespace("shop"), objects.service("users"), at, objects.pod("web-1", SIDECAR), *given)
    async with running(FakeApiServer()) as server:
        issuer.publish(server)
        for item in for_good:
            server.put(item)
        home, lock = claim("it")
        try:
            access = ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "kubeconfig"))
            async with open_api(access) as api:
                settings = PlaneSettings(
                    cluster=Cluster(api=api), keys=folder / "keys", host="127.0.0.1", sidecar_config=config
                )
                plane = ControlPlane(settings)
                async with plane.running(), admin_api(plane, About(mesh="it"), home.admin_socket):
                    home.write_record(MeshRecord(name="it", directory="", started=0.0, kind="serve"))
                    writer = StatusWriter(
                        api=api,
                        store=plane.store,
                        statuses=plane.statuses,
                        progress=plane.streams.progress,
                        now=clock.now,
                        jitter=clock.jitter,
                        look_seconds=0.05,
                    )
                    writing = asyncio.create_task(writer.run())
                    mesh = Mesh(server, plane, issuer, folder, port)
                    try:
                        await mesh.start_envoy()
                        await mesh.settle()
                        yield mesh
                    finally:
                        await mesh.stop_envoy()
                        writing.cancel()
        finally:
            os.close(lock)


def of_the_object(problems: tuple[Problem, ...], name: str) -> list[Problem]:
    return [problem for problem in problems if problem.object is not None and problem.object.name == name]


async def test_r47_what_heddle_took_for_good_is_told_on_its_object_in_envoys_words(
    case: Case, config: SidecarConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {number: (200, f"good-{number}") for number in range(1, GOOD)}
    culprit = an_object(case.kind, "culprit", case.good)
    with serving("users", "127.0.0.4") as users:
        async with meshed(tmp_path, config, monkeypatch, users) as mesh:
            (state,) = mesh.plane.streams.state()
            assert state.asker.on_demand is (config is SidecarConfig.ON_DEMAND)
            await mesh.apply(culprit)
            await mesh.settle()
            assert await mesh.answers() == right
            assert await mesh.answer("users", "/ab") == (200, "users")
            await until(lambda: mesh.programmed(culprit)[:2] == ("True", "Acknowledged"))

            bad = {**culprit, "spec": case.bad}
            await mesh.apply(bad)
            assert not of_the_object(mesh.plane.store.problems_read, "culprit"), "Heddle takes it for good"
            await until(lambda: mesh.programmed(bad)[:2] == ("False", "Rejected"))
            told = mesh.programmed(bad)[2]
            assert told.startswith("1 of 1 sidecars rejected it: shop/web-1: " + case.resource), told
            assert case.words in told
            await is_reported(case)
            (problem,) = of_the_object(mesh.plane.store.problems, "culprit")
            assert (problem.severity, problem.code) == ("error", "RejectedBySidecar")
            assert problem.message.startswith(f"sidecar web-1.shop refuses the {case.type} {case.resource} ")
            assert case.words in problem.message
            assert mesh.condition(bad, "Accepted")[0] == "True", "what Heddle says of it is another matter"
            assert await mesh.answers() == right
            assert await mesh.answer("users", "/ab") == (200, "users"), "what was there before goes on"
            await mesh.until_live("after the change")

            # A sidecar that never had the good one does without it, and has all else.
            await mesh.stop_envoy()
            await mesh.start_envoy()
            await mesh.until_live("after the start")
            assert await mesh.answers() == right
            if config is SidecarConfig.ON_DEMAND:
                async with asyncio.timeout(LIVE_WITHIN_SECONDS):
                    assert (await mesh.answer("users", "/ab"))[0] == case.without, "nobody is left waiting"
            await mesh.settle()
            await is_reported(case)

            await mesh.apply(culprit)
            await until(lambda: mesh.programmed(culprit)[:2] == ("True", "Acknowledged"))
            code, printed = await status("-o", "json")
            assert (code, json.loads(printed)["rejections"]) == (0, []), printed
            assert not of_the_object(mesh.plane.store.problems, "culprit")
            assert await mesh.answers() == right
            assert await mesh.answer("users", "/ab") == (200, "users")


async def is_reported(case: Case) -> None:
    """By the command, printed for people and for programs, on what was made of the culprit and nothing else."""
    culprit = f"{case.kind}/shop/culprit"
    code, printed = await status()
    lines = printed.splitlines()
    rejected = next(number for number, line in enumerate(lines) if line.startswith("REJECTED"))
    assert (code, lines[rejected].startswith(f"REJECTED by web-1.shop: {case.type}: ")) == (1, True), printed
    assert case.words in lines[rejected]
    assert lines[rejected + 1 : rejected + 3] == [f"  in {case.resource}", f"  of {culprit}"]
    code, printed = await status("-o", "json")
    (rejection,) = json.loads(printed)["rejections"]
    assert case.words in rejection["reason"]
    told = [rejection[key] for key in ("namespace", "pod", "type", "resources")]
    assert (code, told) == (1, ["shop", "web-1", case.type, [case.resource]])
    assert [each["resource"] for each in rejection["objects"]] == [culprit]
    (finding,) = (each for each in json.loads(printed)["findings"] if each["resource"] == culprit)
    assert (finding["severity"], finding["code"]) == ("error", "RejectedBySidecar")
