"""Conditions in a real API server, with our own definitions and the rights of the writer alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from heddle import clock
from heddle.cluster.status_writer import StatusWriter
from model.asker import Asker
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from sources.kubernetes.resources import Scope
from sources.kubernetes.source import KubernetesSource
from sources.schemas.definitions import DEFINITIONS
from sources.store import Store
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.rest import Json
from tests.kubernetes.source_manifests import READER
from xds.state import StreamProgress

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

TIMEOUT_SECONDS = 90.0
CRDS = Path(__file__).parents[2] / "deploy" / "chart" / "crds"

RIGHTS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: heddle-status}
rules:
- apiGroups: [networking.istio.io]
  resources: [virtualservices/status, destinationrules/status, gateways/status, sidecars/status]
  verbs: [patch]
- apiGroups: [security.istio.io]
  resources: [peerauthentications/status, authorizationpolicies/status]
  verbs: [patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: heddle-status}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: heddle-status}
subjects: [{kind: ServiceAccount, name: default, namespace: NAMESPACE}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
"""

OBJECTS = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{route: [{destination: {host: web, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open}
spec: {rules: [{form: []}]}
"""


class Scene:
    def __init__(self, cluster: ControlPlane, namespace: str, store: Store, source: KubernetesSource) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.store = store
        self.source = source
        self.streams: list[StreamProgress] = []

    async def apply(self, text: str) -> None:
        manifests = text.replace("NAMESPACE", self.namespace)
        await asyncio.to_thread(self.cluster.kubectl, "apply", "-n", self.namespace, "-f", "-", stdin=manifests)

    async def get(self, name: str) -> Json:
        found = await asyncio.to_thread(
            self.cluster.kubectl, "get", name, "-n", self.namespace, "-o", "json", "--show-managed-fields"
        )
        decoded: Json = json.loads(found)
        return decoded

    def said(self, kind: str, name: str, condition: str) -> str:
        """As the source has read it."""
        for each in self.source.statuses:
            if (each.ref.kind, each.ref.namespace, each.ref.name) == (kind, self.namespace, name):
                found = each.condition(condition)
                return found.reason if found is not None else ""
        return ""

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions are of several things that tell nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def writing(cluster: ControlPlane, namespace: str) -> AsyncIterator[Scene]:
    kubectl = cluster.kubectl
    await asyncio.to_thread(kubectl, "apply", "--server-side", "-f", str(CRDS))
    rights = (READER + "---" + RIGHTS).replace("NAMESPACE", namespace)
    await asyncio.to_thread(kubectl, "apply", "-n", namespace, "-f", "-", stdin=rights)
    account = await asyncio.to_thread(cluster.service_account, namespace, "default")
    async with open_api(ClusterAccess(kubeconfig=account.kubeconfig)) as api:
        store = Store(managed_slices=True)
        source = KubernetesSource(api, store, Scope(), jitter=lambda: 0.0)
        found = Scene(cluster, namespace, store, source)
        writer = StatusWriter(
            api=api,
            store=store,
            statuses=source.statuses,
            progress=lambda: found.streams,
            now=clock.now,
            jitter=clock.jitter,
            look_seconds=0.1,
        )
        tasks = [asyncio.create_task(source.watch())]
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await source.synced()
            tasks.append(asyncio.create_task(writer.run()))
            yield found
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await asyncio.to_thread(kubectl, "delete", *(f"crd/{each.name}" for each in DEFINITIONS))


async def test_objects_are_told_what_became_of_them(cluster: ControlPlane, namespace: str) -> None:
    async with writing(cluster, namespace) as found:
        await found.apply(OBJECTS)
        await found.until(lambda: found.said("VirtualService", "web", "Accepted") == "Accepted")
        await found.until(lambda: found.said("PeerAuthentication", "default", "Accepted") == "Accepted")
        await found.until(lambda: found.said("AuthorizationPolicy", "open", "Accepted") == "UnknownField")
        await found.until(lambda: found.said("DestinationRule", "web", "Programmed") == "NoSidecars")
        generation = found.store.generation
        asker = Asker(namespace=namespace, pod="web-1", service_account="web")
        found.streams.append(StreamProgress(asker=asker, acknowledged_generation=generation, rejected=()))
        await found.until(lambda: found.said("VirtualService", "web", "Programmed") == "Acknowledged")
        await found.until(lambda: found.said("DestinationRule", "web", "Programmed") == "Acknowledged")
        assert found.store.generation == generation, "a status makes no new configuration"
        before = await found.get("vs/web")
        assert before["status"]["observedGeneration"] == before["metadata"]["generation"] == 1
        listed = await asyncio.to_thread(cluster.kubectl, "get", "vs", "-n", namespace, "-o", "wide")
        assert "True" in listed.splitlines()[1].split()
        found.streams.append(StreamProgress(asker=asker, acknowledged_generation=-1, rejected=()))
        await found.source.catch_up()
        await found.until(lambda: found.said("AuthorizationPolicy", "open", "Programmed") == "NotAccepted")
        after = await found.get("vs/web")
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], "nothing was written"
        (manager,) = [each for each in after["metadata"]["managedFields"] if each["manager"] == "heddle"]
        assert (manager["operation"], manager["subresource"]) == ("Apply", "status")


async def test_the_writer_may_write_nothing_but_a_status(cluster: ControlPlane, namespace: str) -> None:
    async with writing(cluster, namespace):
        account = await asyncio.to_thread(cluster.service_account, namespace, "default")
        for verb, resource in (("patch", "virtualservices"), ("update", "gateways"), ("delete", "destinationrules")):
            asked = ("auth", "can-i", verb, f"{resource}.networking.istio.io", "-n", namespace)
            answer = await asyncio.to_thread(account.try_kubectl, *asked)
            assert answer.stdout.strip() == "no"
