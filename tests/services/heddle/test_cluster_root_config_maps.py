"""The roots in every namespace: written, restored, and no more than that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from heddle.cluster import root_config_maps as module
from heddle.cluster.root_config_maps import RootConfigMaps
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from tests.kubernetes_api import objects
from tests.kubernetes_api.objects import Json
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

TIMEOUT_SECONDS = 20.0


class Trial:
    def __init__(self, server: FakeApiServer) -> None:
        self.server = server
        self.bundle = "roots"

    def held(self, namespace: str) -> str | None:
        _, found = self.server.snapshot()
        item = found.get("configmaps", {}).get(f"{namespace}/heddle-root")
        return item["data"].get("root.pem") if item else None

    @property
    def writes(self) -> int:
        return sum("fieldManager=heddle" in request for request in self.server.requests)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as found:
        for name in ("shop", "kube-system"):
            found.put(objects.namespace(name))
        yield found


@asynccontextmanager
async def duty(server: FakeApiServer, folder: Path, count: int = 1) -> AsyncIterator[tuple[Trial, RootConfigMaps]]:
    found = Trial(server)
    async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))) as api:
        made = [RootConfigMaps(api, bundle=lambda: found.bundle.encode(), jitter=lambda: -1.0) for _ in range(count)]
        tasks = [asyncio.create_task(each.run()) for each in made]
        try:
            yield found, made[0]
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


def config_map(namespace: str, text: str) -> Json:
    metadata = objects.metadata("heddle-root", namespace)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"root.pem": text}}


async def test_every_namespace_but_the_system_s_has_them(server: FakeApiServer, tmp_path: Path) -> None:
    async with duty(server, tmp_path) as (found, _):
        await found.until(lambda: found.held("shop") == "roots")
        server.put(objects.namespace("later"))
        await found.until(lambda: found.held("later") == "roots")
        assert found.held("kube-system") is None
        assert found.writes == 2


async def test_they_come_back_when_somebody_edits_or_deletes_them(server: FakeApiServer, tmp_path: Path) -> None:
    async with duty(server, tmp_path) as (found, _):
        await found.until(lambda: found.held("shop") == "roots")
        server.put(config_map("shop", "mine"))
        await found.until(lambda: found.held("shop") == "roots")
        server.delete(config_map("shop", ""))
        await found.until(lambda: found.held("shop") == "roots")


async def test_new_roots_reach_every_namespace(server: FakeApiServer, tmp_path: Path) -> None:
    async with duty(server, tmp_path) as (found, duties):
        await found.until(lambda: found.held("shop") == "roots")
        found.bundle = "others"
        duties.bundle_changed()
        await found.until(lambda: found.held("shop") == "others")


async def test_what_is_right_already_is_not_written(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(config_map("shop", "roots"))
    server.put(objects.namespace("other"))
    async with duty(server, tmp_path) as (found, _):
        await found.until(lambda: found.held("other") == "roots")
        assert found.writes == 1


async def test_two_that_write_come_to_rest(server: FakeApiServer, tmp_path: Path) -> None:
    async with duty(server, tmp_path, count=2) as (found, _):
        await found.until(lambda: found.held("shop") == "roots")
        server.put(objects.namespace("last"))
        await found.until(lambda: found.held("last") == "roots")
        assert 2 <= found.writes <= 4


async def test_a_namespace_that_is_going_is_left_alone(server: FakeApiServer, tmp_path: Path) -> None:
    going = objects.namespace("going")
    going["metadata"]["deletionTimestamp"] = "2027-01-01T00:00:00Z"
    server.put(going)
    async with duty(server, tmp_path) as (found, _):
        await found.until(lambda: found.held("shop") == "roots")
        assert found.held("going") is None


async def test_a_write_that_failed_is_done_again(
    server: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.001)
    async with duty(server, tmp_path) as (found, _):
        await found.until(lambda: found.held("shop") == "roots")
        server.refuse["configmaps"] = Refuse(500, "broken")
        server.put(objects.namespace("later"))
        await found.until(lambda: found.writes >= 3)
        del server.refuse["configmaps"]
        await found.until(lambda: found.held("later") == "roots")


async def test_it_can_be_run_again(server: FakeApiServer, tmp_path: Path) -> None:
    async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(tmp_path / "config"))) as api:
        found = Trial(server)
        again = RootConfigMaps(api, bundle=lambda: found.bundle.encode(), jitter=lambda: -1.0)
        for text in ("first", "second"):
            found.bundle = text
            task = asyncio.create_task(again.run())
            await found.until(lambda text=text: found.held("shop") == text)  # type: ignore[misc]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
