"""The caBundle of the webhook configurations, against a small API server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from heddle.cluster import webhook_bundle
from heddle.cluster.webhook_bundle import BundleKeeper, Pace, webhook_configurations
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

MUTATING = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
VALIDATING = "validatingwebhookconfigurations.admissionregistration.k8s.io"


def configuration(kind: str, name: str, bundle: str = "") -> dict[str, Any]:
    client = {"service": {"name": "heddle"}, **({"caBundle": bundle} if bundle else {})}
    webhooks = [{"name": each, "failurePolicy": "Fail", "clientConfig": client} for each in ("a.b.c", "d.e.f")]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": webhooks,
    }


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as found:
        yield found


@asynccontextmanager
async def keeping(
    server: FakeApiServer, folder: Path, bundle: Callable[[], bytes], replicas: int = 1
) -> AsyncIterator[None]:
    access = ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))
    async with open_api(access) as api:
        loop = asyncio.get_running_loop()
        keepers = [
            BundleKeeper(
                api,
                webhook_configurations("heddle", "heddle"),
                bundle,
                jitter=lambda: 0.0,
                monotonic=loop.time,
            )
            for _ in range(replicas)
        ]
        tasks = [asyncio.create_task(keeper.run()) for keeper in keepers]
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def held(server: FakeApiServer, resource: str) -> list[dict[str, Any]]:
    (item,) = server.snapshot()[1][resource].values()
    return [dict(webhook) for webhook in item["webhooks"]]


def held_version(server: FakeApiServer) -> str:
    (item,) = server.snapshot()[1][MUTATING].values()
    return str(item["metadata"]["resourceVersion"])


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - the small API server tells nobody
        await asyncio.sleep(0.01)


def encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def bundles(server: FakeApiServer, resource: str) -> set[str]:
    return {webhook["clientConfig"].get("caBundle", "") for webhook in held(server, resource)}


def patches(server: FakeApiServer) -> int:
    return sum("fieldManager=heddle-webhooks" in request for request in server.requests)


async def test_both_configurations_get_the_roots_and_nothing_else(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(configuration("MutatingWebhookConfiguration", "heddle-injector"))
    server.put(configuration("ValidatingWebhookConfiguration", "heddle-validator"))
    async with keeping(server, tmp_path, lambda: b"roots"):
        await until(lambda: bundles(server, MUTATING) == bundles(server, VALIDATING) == {encoded(b"roots")})
    wanted = configuration("MutatingWebhookConfiguration", "heddle-injector", encoded(b"roots"))["webhooks"]
    assert held(server, MUTATING) == wanted
    assert patches(server) == 2


async def test_another_bundle_is_overwritten_whoever_wrote_it(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(configuration("MutatingWebhookConfiguration", "heddle-injector", "b2xk"))
    async with keeping(server, tmp_path, lambda: b"roots"):
        for other in ("", "bmV3"):
            await until(lambda: bundles(server, MUTATING) == {encoded(b"roots")})
            server.put(configuration("MutatingWebhookConfiguration", "heddle-injector", other))
        await until(lambda: bundles(server, MUTATING) == {encoded(b"roots")})


async def test_one_that_comes_later_and_other_names(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(configuration("ValidatingWebhookConfiguration", "another"))
    async with keeping(server, tmp_path, lambda: b"roots"):
        await until(lambda: server.watchers(MUTATING) == server.watchers(VALIDATING) == 1)
        server.put(configuration("MutatingWebhookConfiguration", "heddle-injector"))
        await until(lambda: bundles(server, MUTATING) == {encoded(b"roots")})
    assert bundles(server, VALIDATING) == {""}


async def test_two_replicas_write_once_or_twice_and_are_quiet_then(server: FakeApiServer, tmp_path: Path) -> None:
    server.put(configuration("MutatingWebhookConfiguration", "heddle-injector"))
    async with keeping(server, tmp_path, lambda: b"roots", replicas=2):
        await until(lambda: bundles(server, MUTATING) == {encoded(b"roots")})
        await until(lambda: server.watchers(MUTATING) == 2)
        version = held_version(server)
        for _ in range(10):
            server.bookmark()
            await asyncio.sleep(0.02)
        # The slower one may have asked, and was refused: it had read another version.
        assert patches(server) <= 2
        assert held_version(server) == version


async def test_who_may_not_write_asks_no_storm(
    server: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_bundle, "CHECK_SECONDS", 0.02)
    server.put(configuration("MutatingWebhookConfiguration", "heddle-injector"))
    roots = [b"roots"]
    async with keeping(server, tmp_path, lambda: roots[0]):
        await until(lambda: bundles(server, MUTATING) == {encoded(b"roots")})
        server.refuse[MUTATING] = Refuse(403, "not you")
        roots[0] = b"others"
        await until(lambda: patches(server) >= 3)
        asked = patches(server)
        await asyncio.sleep(0.3)
        assert patches(server) <= asked + 1
        del server.refuse[MUTATING]
        await until(lambda: bundles(server, MUTATING) == {encoded(b"others")})


def test_the_pace_slows_down_and_recovers() -> None:
    now = [1000.0]
    pace = Pace(lambda: now[0])
    waits = []
    for _ in range(10):
        assert pace.wait == 0
        pace.count()
        waits.append(pace.wait)
        now[0] += pace.wait
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == 30.0
    now[0] += 301
    pace.count()
    assert pace.wait == 0.25


def test_names_by_revision() -> None:
    names = [str(each) for each in webhook_configurations("heddle-canary", "heddle")]
    assert names == [f"{MUTATING} in heddle-injector-heddle-canary", f"{VALIDATING} in heddle-validator-heddle-canary"]
