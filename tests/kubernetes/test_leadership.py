"""Leader election by a real API server, with exactly the rights that it needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from heddle import clock
from heddle.cluster.election import Times
from heddle.cluster.leadership import Leadership
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import Api, open_api
from tests.cluster.control_plane import ControlPlane

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

TIMEOUT_SECONDS = 90.0
TIMES = Times(duration=3.0, renew_within=2.0, retry=0.3)

RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: leader}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [heddle-leader], verbs: [get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: leader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: leader}
subjects: [{kind: ServiceAccount, name: default}]
"""


class Work:
    """A duty that notes when it runs, by the clock of the event loop."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended: float | None = None

    async def run(self) -> None:
        time = asyncio.get_running_loop().time
        self.began, self.ended = time(), None
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = time()

    @property
    def running(self) -> bool:
        return self.began is not None and self.ended is None


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():  # noqa: ASYNC110 - conditions are of several things that tell nobody
            await asyncio.sleep(0.01)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Contest:
    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.tasks: list[asyncio.Task[None]] = []

    def enter(self, name: str, api: Api | None = None) -> tuple[Leadership, Work, asyncio.Task[None]]:
        work = Work()
        leadership = Leadership(
            api=api or self.api,
            namespace=self.namespace,
            identity=name,
            duties=[work],
            now=clock.now,
            jitter=clock.jitter,
            times=TIMES,
        )
        task = asyncio.create_task(leadership.run())
        self.tasks.append(task)
        return leadership, work, task


@asynccontextmanager
async def contest(cluster: ControlPlane, namespace: str) -> AsyncIterator[Contest]:
    await asyncio.to_thread(cluster.kubectl, "apply", "-n", namespace, "-f", "-", stdin=RIGHTS)
    account = await asyncio.to_thread(cluster.service_account, namespace, "default")
    async with open_api(ClusterAccess(kubeconfig=account.kubeconfig)) as api:
        found = Contest(api, namespace)
        try:
            yield found
        finally:
            for task in found.tasks:
                await end(task)


async def test_one_leads_and_release_is_immediate(cluster: ControlPlane, namespace: str) -> None:
    async with contest(cluster, namespace) as found:
        first, work, task = found.enter("a")
        await until(lambda: work.running)
        second, other, _ = found.enter("b")
        await until(lambda: second.holder == "a")
        assert first.leading
        assert not other.running
        await end(task)
        ended = asyncio.get_running_loop().time()
        await until(lambda: other.running)
        assert other.began is not None
        assert work.ended is not None
        assert work.ended < other.began < ended + TIMES.duration, "the other did not wait for the lease to run out"
        lease = await asyncio.to_thread(
            cluster.kubectl, "get", "lease", "heddle-leader", "-n", namespace, "-o", "jsonpath={.spec.holderIdentity}"
        )
        assert lease == "b"


class CutApi:
    """An API server that cannot be reached any more from here, at the test's word."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.cut = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)

    async def get(self, *arguments: object, **options: object) -> bytes:
        await self._pass()
        return await self._api.get(*arguments, **options)  # type: ignore[arg-type]

    async def write(self, *arguments: object, **options: object) -> object:
        await self._pass()
        return await self._api.write(*arguments, **options)  # type: ignore[arg-type]

    async def _pass(self) -> None:
        if self.cut:
            await asyncio.Event().wait()


async def test_who_is_cut_off_stops_before_the_other_begins(cluster: ControlPlane, namespace: str) -> None:
    async with contest(cluster, namespace) as found:
        line = CutApi(found.api)
        first, work, _ = found.enter("a", line)  # type: ignore[arg-type]
        await until(lambda: work.running)
        _, other, _ = found.enter("b")
        line.cut = True
        await until(lambda: other.running)
        assert work.ended is not None
        assert other.began is not None
        assert work.ended < other.began
        assert not first.leading
        line.cut = False
        await until(lambda: first.holder == "b")


async def test_an_api_server_that_is_killed_and_comes_back(cluster: ControlPlane, namespace: str) -> None:
    async with contest(cluster, namespace) as found:
        leadership, work, _ = found.enter("a")
        await until(lambda: work.running)
        await asyncio.to_thread(cluster.kill_api_server)
        await until(lambda: not work.running)
        await asyncio.to_thread(cluster.start_api_server)
        await until(lambda: work.running)
        assert leadership.leading
        assert replace(TIMES, duration=15.0, renew_within=10.0, retry=2.0) == Times()
