"""Certificates, intermediates and roots that change while a real API server asks about pods without a pause."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from heddle import clock
from heddle.cluster.webhook_bundle import BundleKeeper, webhook_configurations
from heddle.cluster.webhook_certificate import WebhookCertificate, webhook_names
from injector.reviewers import InjectionReviewer
from injector.server import running_webhook
from injector.settings import InjectionSettings
from sds.authority import Authority, create_authority, issue_intermediate
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import Api, Refused, Unreachable, open_api
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.webhook_process import configure, unconfigure

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

WORKERS = 4
TIMEOUT_SECONDS = 240.0
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "web-"},
    "spec": {"containers": [{"name": "app", "image": "example/app"}]},
}


class Everywhere:
    """All namespaces ask for sidecars."""

    async def labels_of(self, namespace: str, *, newest: bool = False) -> Mapping[str, str] | None:
        return {"heddle.io/inject": "enabled"}


@dataclass
class Load:
    """Pods that are created for trial (dry run), as fast as the API server answers."""

    api: Api
    namespace: str
    injected: int = 0
    failures: list[str] = field(default_factory=list)

    async def create(self) -> bool:
        """Whether it was injected. Raises Refused, Unreachable."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        made = await self.api.write("POST", path, POD, query={"dryRun": "All"})
        return "istio-proxy" in str(made["spec"].get("initContainers"))

    async def run(self) -> None:
        while True:
            try:
                if await self.create():
                    self.injected += 1
                else:
                    self.failures.append("not injected")
            except (Refused, Unreachable) as error:
                self.failures.append(str(error))

    async def more(self, number: int) -> None:
        """Returns once so many more were injected."""
        wanted = self.injected + number
        while self.injected < wanted and not self.failures:  # noqa: ASYNC110 - counted in many tasks
            await asyncio.sleep(0.01)


@asynccontextmanager
async def loaded(load: Load) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(load.run()) for _ in range(WORKERS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def connections_ended() -> None:
    """TLS connections end a moment after their server, once the peer has said goodbye; the loop must not end before."""
    watched = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
    async with asyncio.timeout(40):
        while len(watched) > 1:  # noqa: ASYNC110 - the loop tells nobody; one is its own, by which it is woken
            await asyncio.sleep(0.01)


async def test_nothing_fails_while_everything_is_rotated(cluster: ControlPlane, namespace: str) -> None:
    made = create_authority(trust_domain="cluster.local", now=clock.now())
    signing: list[Authority] = [made.authority]
    roots: list[bytes] = [made.authority.trust_bundle]
    tls = WebhookCertificate(
        lambda: signing[0], dns_names=webhook_names("heddle-system", "heddle"), host="127.0.0.1", now=clock.now
    )
    reviewers = {"/inject": InjectionReviewer(InjectionSettings, Everywhere())}
    await asyncio.to_thread(cluster.kubectl, "label", "namespace", namespace, "heddle.io/inject=enabled")
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        open_api(ClusterAccess(kubeconfig=cluster.kubeconfig)) as api,
        running_webhook(reviewers, tls=tls.tls, host="127.0.0.1", port=0) as port,
    ):
        await asyncio.to_thread(configure, cluster, port)
        keeper = BundleKeeper(
            api,
            webhook_configurations("heddle", "heddle"),
            lambda: b"".join(roots),
            jitter=clock.jitter,
            monotonic=clock.monotonic,
        )
        keeping = asyncio.create_task(keeper.run())
        load = Load(api, namespace)

        async def published() -> None:
            """The configuration has the roots, and the API server has had the time of some pods to see it."""
            path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/heddle-injector"
            wanted = base64.b64encode(b"".join(roots)).decode()
            while wanted not in (await api.get(path, {})).decode():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
            await load.more(40)

        async def works() -> bool:
            try:
                return await load.create()
            except (Refused, Unreachable):
                return False

        try:
            while not await works():  # noqa: ASYNC110 - the API server's selectors tell nobody
                await asyncio.sleep(0.1)
            async with loaded(load):
                for _ in range(3):
                    await load.more(20)
                    signing[0] = issue_intermediate(
                        trust_domain="cluster.local",
                        root=made.authority.root,
                        root_key=made.root_key,
                        now=clock.now(),
                    )
                    assert tls.renew_if_due()
                following = create_authority(trust_domain="cluster.local", now=clock.now()).authority
                roots.append(following.trust_bundle)
                await published()
                signing[0] = following
                assert tls.renew_if_due()
                await load.more(20)
                roots.pop(0)
                await published()
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            await asyncio.to_thread(unconfigure, cluster)
    await connections_ended()
    assert load.failures == []
    assert load.injected >= 160
