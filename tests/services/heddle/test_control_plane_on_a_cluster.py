"""A control plane whose source is a cluster: when it begins to serve, and what it says until then."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from heddle import clock
from heddle.admin import About, admin_api
from heddle.cluster.reading import reading
from heddle.control_plane import Cluster, ControlPlane, NotServing, PlaneSettings
from heddle.main import main
from sds.authority import create_authority
from sds.keyfiles import KeyFileError
from sds.tokens import Caller
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from sources.kubernetes.resources import Scope
from tests.kubelet.images import CHECKOUT
from tests.kubernetes_api import objects
from tests.kubernetes_api.authority import authority_secret
from tests.kubernetes_api.issuer import FakeIssuer, new_rsa_key
from tests.kubernetes_api.server import FakeApiServer, Refuse, running
from tests.kubernetes_api.small_sidecar import connected

TIMEOUT_SECONDS = 60.0


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as found:
        found.put(objects.mesh_config("trustDomain: a.b"))
        found.put(objects.service("web"))
        found.put(objects.pod("web-1", "10.0.0.1"))
        yield found


@asynccontextmanager
async def control_plane(server: FakeApiServer, folder: Path) -> AsyncIterator[ControlPlane]:
    access = ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))
    async with open_api(access) as api:
        yield ControlPlane(PlaneSettings(cluster=Cluster(api=api), keys=folder / "keys", host="127.0.0.1"))


async def ask(socket: Path, question: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        async with session.get(f"http://admin{question}") as answer:
            return answer.status, await answer.json()


async def test_nothing_is_served_before_all_was_read(server: FakeApiServer, tmp_path: Path) -> None:
    server.refuse["endpointslices.discovery.k8s.io"] = Refuse(403, "not you")
    socket = tmp_path / "admin.sock"
    async with (
        control_plane(server, tmp_path) as plane,
        admin_api(plane, About(mesh="m"), socket),
        asyncio.timeout(TIMEOUT_SECONDS),
        asyncio.TaskGroup() as tasks,
    ):
        began = asyncio.Event()
        end = asyncio.Event()

        async def run() -> None:
            async with plane.running():
                began.set()
                await end.wait()

        tasks.create_task(run())
        status: dict[str, Any] = {"pending": []}
        while not (len(status["pending"]) == 1 and "not you" in status["pending"][0]):
            _, status = await ask(socket, "/status")
        assert [line.partition(" of ")[0] for line in status["pending"]] == ["endpointslices.discovery.k8s.io"]
        assert (plane.xds_address, began.is_set()) == (("127.0.0.1", 0), False)
        with pytest.raises(NotServing):
            _ = plane.trust_bundle
        code, answer = await ask(socket, "/bootstrap/shop/web-1")
        assert code == 404
        _, waited = await ask(socket, "/wait?timeout=0.1")
        assert waited["outcome"] == "late"
        del server.refuse["endpointslices.discovery.k8s.io"]
        await began.wait()
        assert plane.xds_address[1] > 0
        assert plane.store.mesh.settings.trust_domain == "a.b"
        code, answer = await ask(socket, "/bootstrap/shop/web-1")
        assert (code, "kubectl create token web -n shop --audience heddle" in answer["error"]) == (409, True)
        server.put(objects.service("db"))
        _, waited = await ask(socket, "/wait?timeout=10")
        assert waited["outcome"] == "applied"
        assert len(plane.store.mesh.services) == 2
        end.set()


async def test_what_was_begun_to_be_read_is_served(server: FakeApiServer, tmp_path: Path) -> None:
    access = ClusterAccess(kubeconfig=server.write_kubeconfig(tmp_path / "config"))
    async with open_api(access) as api, reading(api, Scope()) as begun, asyncio.timeout(TIMEOUT_SECONDS):
        await begun.source.synced()
        cluster = Cluster(api=api, reading=begun)
        plane = ControlPlane(PlaneSettings(cluster=cluster, keys=tmp_path / "keys", host="127.0.0.1"))
        async with plane.running():
            assert plane.store is begun.store
            assert len(plane.store.mesh.services) == 1
            server.put(objects.service("db"))
            await plane.source.catch_up()
            assert len(plane.store.mesh.services) == 2


async def test_a_sidecar_is_told_of_changes_until_its_stream_is_shed(server: FakeApiServer, tmp_path: Path) -> None:
    issuer = FakeIssuer(new_rsa_key())
    issuer.publish(server)
    server.put(objects.pod("web-2", "10.0.0.2"))
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        control_plane(server, tmp_path) as plane,
        AsyncExitStack() as serving,
        AsyncExitStack() as sidecars,
    ):
        await serving.enter_async_context(plane.running())
        host, port = plane.xds_address
        found = []
        for pod in ("web-1", "web-2"):
            caller = Caller(namespace="shop", service_account="web", pod_name=pod, pod_uid=f"uid-{pod}")
            sidecar = connected(
                f"{host}:{port}",
                roots=plane.trust_bundle,
                server_name=plane.server_name,
                token=issuer.mint(caller, datetime.now(UTC)),
                pod=pod,
                namespace="shop",
            )
            found.append(await sidecars.enter_async_context(sidecar))
        plane.shed = timedelta(seconds=8)
        ending = asyncio.create_task(serving.aclose())
        # The one's turn is at once, the other's after half of the time.
        while len(plane.streams.state()) == 2:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
        answers = sum(sidecar.answers for sidecar in found)
        server.put(objects.service("db"))
        while sum(sidecar.answers for sidecar in found) == answers:
            assert not ending.done(), "nobody was told"
            await asyncio.sleep(0.01)
        await ending


_BEGINS = """
import sys
from heddle.cluster.reading import ClusterReading
from heddle.main import main

def begin(self):
    print("heddle.control_plane" in sys.modules, "envoy_data_plane" in sys.modules)
    raise OSError("that is all")

ClusterReading.begin = begin
sys.exit(main(["serve", "--kubernetes", "--kubeconfig", sys.argv[1], "--mesh", "begins"]))
"""


async def test_a_cluster_is_being_read_before_the_program_is_loaded(server: FakeApiServer, tmp_path: Path) -> None:
    kubeconfig = server.write_kubeconfig(tmp_path / "config")
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _BEGINS, str(kubeconfig),
        cwd=CHECKOUT, env={**os.environ, "HEDDLE_STATE": str(tmp_path)}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    said, complained = await run.communicate()
    assert (said, run.returncode) == (b"False False\n", 2)
    assert b"that is all" in complained


async def test_reading_ends_with_its_block(server: FakeApiServer, tmp_path: Path) -> None:
    access = ClusterAccess(kubeconfig=server.write_kubeconfig(tmp_path / "config"))
    async with open_api(access) as api, asyncio.timeout(TIMEOUT_SECONDS):
        async with reading(api, Scope()) as begun:
            await begun.source.synced()
        server.put(objects.service("db"))
        await asyncio.sleep(0.1)
        assert len(begun.store.mesh.services) == 1


async def test_waiting_says_that_the_api_server_is_away(server: FakeApiServer, tmp_path: Path) -> None:
    socket = tmp_path / "admin.sock"
    async with control_plane(server, tmp_path) as plane, admin_api(plane, About(mesh="m"), socket), plane.running():
        await server.stop()
        _, waited = await ask(socket, "/wait?timeout=0.3")
        assert waited["outcome"] == "late"
        assert plane.source.name in waited["late"][0]
        assert plane.streams.state() == ()
        await server.start()


async def test_an_authority_of_another_trust_domain_ends_it(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(authority_secret(create_authority(trust_domain="c.d", now=clock.now())))
    async with control_plane(server, tmp_path) as plane:
        with pytest.raises(ExceptionGroup) as raised:
            async with plane.running():
                pass
        assert raised.group_contains(KeyFileError, match=r"'c\.d', not of 'a\.b'")


async def test_the_command_waits_says_what_for_and_ends(server: FakeApiServer, tmp_path: Path) -> None:
    server.refuse["pods"] = Refuse(403, "not you")
    kubeconfig = server.write_kubeconfig(tmp_path / "config")
    command = (sys.executable, "-m", "heddle.main")
    environment = {**os.environ, "HEDDLE_STATE": str(tmp_path / "state")}

    async def run(*arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(*command, *arguments, env=environment, stdout=PIPE, stderr=PIPE)

    for allowed in (False, True):
        if allowed:
            del server.refuse["pods"]
        serving = await run("serve", "--kubernetes", "--kubeconfig", str(kubeconfig), "--xds", "127.0.0.1:0")
        assert serving.stderr is not None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                said = b""
                while (b"heddle serves http" if allowed else b"pods cannot be read: not you") not in said:
                    said = (
                        await serving.stderr.readline() if allowed else (await (await run("status")).communicate())[0]
                    )
                serving.send_signal(signal.SIGINT)
                await serving.communicate()
        finally:
            if serving.returncode is None:
                serving.kill()
                await serving.communicate()
        assert serving.returncode == 0


def test_one_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one source"):
        PlaneSettings(keys=tmp_path, host="127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kubernetes", "--kubeconfig", "nowhere"], "nowhere leads to no cluster"),
        (["--config", ".", "--context", "x"], "--context: only with --kubernetes"),
        (["--config", ".", "--webhook", "[::]:1", "--settings", "x"], "--webhook, --settings: only with --kubernetes"),
    ],
)
def test_arguments_that_cannot_be(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HEDDLE_STATE", str(tmp_path))
    assert main(["serve", *arguments]) == 2
    assert said in capsys.readouterr().err
