"""Contenders of one small API server: duties run with exactly one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heddle.cluster.election import Times
from heddle.cluster.leadership import Leadership
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import Api, open_api
from tests.kubernetes_api.objects import Json
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

TIMES = Times(duration=1.0, renew_within=0.6, retry=0.05)
TIMEOUT_SECONDS = 20.0
LEASES = "leases.coordination.k8s.io"


class Work:
    """A duty that notes when it runs."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0

    async def run(self) -> None:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1

    @property
    def running(self) -> bool:
        return self.begun > self.ended


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as server:
        yield server


@asynccontextmanager
async def opened(server: FakeApiServer, folder: Path) -> AsyncIterator[Api]:
    async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))) as api:
        yield api


def contender(api: Api, name: str, work: Work) -> Leadership:
    return Leadership(
        api=api,
        namespace="heddle-system",
        identity=name,
        duties=[work],
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        jitter=lambda: 0.0,
        times=TIMES,
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():  # noqa: ASYNC110 - conditions are of several things that tell nobody
            await asyncio.sleep(0.002)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def held(server: FakeApiServer) -> Json:
    (lease,) = server.snapshot()[1][LEASES].values()
    spec: Json = lease["spec"]
    return spec


async def test_one_of_two_leads_and_the_other_follows_when_it_ends(server: FakeApiServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as api:
        works = Work(), Work()
        first, second = contender(api, "a", works[0]), contender(api, "b", works[1])
        tasks = [asyncio.create_task(first.run())]
        await until(lambda: works[0].running)
        tasks.append(asyncio.create_task(second.run()))
        await until(lambda: second.holder == "a")
        assert (first.leading, second.leading, works[1].begun) == (True, False, 0)
        assert held(server)["leaseDurationSeconds"] == 1
        assert held(server)["acquireTime"] == "2026-01-01T00:00:00.000000Z"
        await ended(tasks[0])
        assert not works[0].running
        assert held(server)["holderIdentity"] in ("", "b"), "released, not left to run out"
        await until(lambda: works[1].running)
        assert held(server)["leaseTransitions"] == 1
        await ended(tasks[1])
        assert held(server)["holderIdentity"] == ""


async def test_a_leader_that_cannot_renew_stops_before_another_can_begin(server: FakeApiServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as api:
        work = Work()
        leadership = contender(api, "a", work)
        task = asyncio.create_task(leadership.run())
        await until(lambda: work.running)
        server.refuse[LEASES] = Refuse(500)
        await until(lambda: not work.running)
        assert not leadership.leading
        assert held(server)["holderIdentity"] == "a"
        del server.refuse[LEASES]
        await until(lambda: work.running)
        assert work.begun == 2
        await ended(task)


async def test_an_api_server_that_goes_away_ends_the_duties(server: FakeApiServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as api:
        work = Work()
        task = asyncio.create_task(contender(api, "a", work).run())
        await until(lambda: work.running)
        await server.stop()
        await until(lambda: not work.running)
        await server.start()
        await until(lambda: work.running)
        await ended(task)


async def test_somebody_who_changes_the_lease_meanwhile_does_not_depose(server: FakeApiServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as api:
        work = Work()
        task = asyncio.create_task(contender(api, "a", work).run())
        await until(lambda: work.running)
        for _ in range(5):
            (lease,) = server.snapshot()[1][LEASES].values()
            server.put({**lease, "metadata": {**lease["metadata"], "labels": {"by": "hand"}}})
            before = server.version
            await until(lambda before=before: server.version > before)  # type: ignore[misc]
        assert (work.begun, work.ended) == (1, 0)
        await ended(task)


async def test_a_leader_whose_lease_another_took_steps_down(server: FakeApiServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as api:
        work = Work()
        task = asyncio.create_task(contender(api, "a", work).run())
        await until(lambda: work.running)
        (lease,) = server.snapshot()[1][LEASES].values()
        server.put({**lease, "spec": {**lease["spec"], "holderIdentity": "b", "leaseDurationSeconds": 3600}})
        await until(lambda: not work.running)
        assert held(server)["holderIdentity"] == "b"
        await ended(task)
        assert held(server)["holderIdentity"] == "b", "what is another's is not released"


async def test_what_a_duty_raises_ends_the_leader_and_frees_the_lease(server: FakeApiServer, tmp_path: Path) -> None:
    class Broken:
        async def run(self) -> None:
            raise RuntimeError("ours")

    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(opened(server, tmp_path))
        leadership = Leadership(
            api=api,
            namespace="heddle-system",
            identity="a",
            duties=[Broken()],
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            jitter=lambda: 0.0,
            times=TIMES,
        )
        with pytest.raises(ExceptionGroup):
            await leadership.run()
    assert held(server)["holderIdentity"] == ""


async def test_a_deleted_lease_is_made_again(server: FakeApiServer, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as api:
        work = Work()
        task = asyncio.create_task(contender(api, "a", work).run())
        await until(lambda: work.running)
        (lease,) = server.snapshot()[1][LEASES].values()
        server.delete(lease)
        await until(lambda: server.snapshot()[1][LEASES])
        assert (work.begun, work.ended) == (1, 0)
        await ended(task)
