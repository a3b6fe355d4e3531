"""The source against a real API server, with a service account's rights: nothing but list and watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from model.problem_codes import ProblemCode
from model.services import Endpoint, Locality
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import FULL, FULL_PODS, Refused, open_api
from sources.kubernetes.events import parse_page, version_of
from sources.kubernetes.observed_pods import to_observed_pod
from sources.kubernetes.protobuf import MAGIC
from sources.kubernetes.resources import Scope
from sources.kubernetes.source import KubernetesSource
from sources.store import Store
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.source_manifests import EVERY_PART_OF_A_POD, READER, STATUS, WORKLOAD, definition, virtual_service

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

TIMEOUT_SECONDS = 90.0
ROUTES = "virtualservices.networking.istio.io"


class Followed:
    """`store` follows the cluster; commands are for a namespace of the test's own."""

    def __init__(self, cluster: ControlPlane, namespace: str, store: Store, source: KubernetesSource) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.store = store
        self.source = source

    async def apply(self, text: str) -> None:
        manifests = text.replace("NAMESPACE", self.namespace)
        await asyncio.to_thread(self.cluster.kubectl, "apply", "-n", self.namespace, "-f", "-", stdin=manifests)

    async def kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, "-n", self.namespace)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions are of several things that tell nobody
                await asyncio.sleep(0.01)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.store.mesh.endpoints.get(f"web.{self.namespace}.svc.cluster.local", ())

    @property
    def timeouts(self) -> list[str]:
        rules = (rule for each in self.store.mesh.virtual_services.values() for rule in each)
        return [str(rule.http[0].timeout) for rule in rules if rule.ref.namespace == self.namespace]

    @property
    def services(self) -> set[str]:
        return {
            service.ref.name for service in self.store.mesh.services.values() if service.ref.namespace == self.namespace
        }

    @property
    def errors(self) -> list[str]:
        return [problem.code for problem in self.store.problems if problem.severity == "error"]


@asynccontextmanager
async def followed(cluster: ControlPlane, namespace: str) -> AsyncIterator[Followed]:
    reader = await asyncio.to_thread(cluster.service_account, namespace, "default")
    async with open_api(ClusterAccess(kubeconfig=reader.kubeconfig)) as api:
        store = Store(managed_slices=True)
        source = KubernetesSource(api, store, Scope(), jitter=lambda: 0.0)
        found = Followed(cluster, namespace, store, source)
        task = asyncio.create_task(source.watch())
        try:
            await found.apply(READER)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await source.synced()
            yield found
        finally:
            if not task.done():
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(cluster.kubectl, "delete", "crd", ROUTES, "--ignore-not-found")


async def test_endpoints_are_what_the_controllers_made(cluster: ControlPlane, namespace: str) -> None:
    async with followed(cluster, namespace) as found:
        await found.apply(WORKLOAD)
        await found.until(lambda: (namespace, "web-1") in found.store.mesh.pods)
        assert found.endpoints == ()
        await found.kubectl("patch", "pod", "web-1", "--subresource=status", "--type=merge", "-p", STATUS)
        await found.until(lambda: found.endpoints and found.endpoints[0].ready)
        (endpoint,) = found.endpoints
        assert (endpoint.address, endpoint.ports, endpoint.meshed) == ("10.9.8.7", {80: 8080}, True)
        assert endpoint.locality == Locality(region="eu", zone="eu-1")
        assert str(endpoint.identity) == f"spiffe://cluster.local/ns/{namespace}/sa/default"
        await found.kubectl("delete", "pod", "web-1", "--force", "--grace-period=0")
        await found.until(lambda: found.endpoints == ())


async def test_a_pod_is_the_same_in_either_form(cluster: ControlPlane, namespace: str) -> None:
    await asyncio.to_thread(cluster.kubectl, "apply", "-n", namespace, "-f", "-", stdin=EVERY_PART_OF_A_POD)
    status = ("patch", "pod", "full", "--subresource=status", "--type=merge", "-p", STATUS)
    await asyncio.to_thread(cluster.kubectl, *status, "-n", namespace)
    async with open_api(ClusterAccess(kubeconfig=cluster.kubeconfig)) as api:
        path = f"/api/v1/namespaces/{namespace}/pods"
        plain, packed = await api.get(path, {}, FULL), await api.get(path, {}, FULL_PODS)
        with pytest.raises(Refused, match="not found") as refused:
            await api.get(f"{path}/nobody", {}, FULL_PODS)
    assert packed.startswith(MAGIC)
    assert refused.value.refusal.reason == "NotFound"
    one, other = parse_page(plain), parse_page(packed)
    assert (other.version, other.token, len(other.items)) == (one.version, one.token, 1)
    assert [version_of(item) for item in other.items] == [version_of(item) for item in one.items]
    read = to_observed_pod(other.items[0])
    assert read == to_observed_pod(one.items[0])
    assert read is not None
    # What both forms could have lost alike.
    assert (read.pod.meshed, read.pod.addresses, read.pod.ready) == (True, ("10.9.8.7",), True)
    assert {port.number for port in read.pod.ports} == {8080, 9000}
    assert (read.node, read.pod.workload, read.pod.subdomain) == ("far", "full-owner", "inner")


async def test_the_last_pod_is_draining_while_it_ends_and_serves(cluster: ControlPlane, namespace: str) -> None:
    async with followed(cluster, namespace) as found:
        await found.apply(WORKLOAD)
        await found.kubectl("patch", "pod", "web-1", "--subresource=status", "--type=merge", "-p", STATUS)
        await found.until(lambda: found.endpoints and found.endpoints[0].ready)
        # No kubelet: the pod stays as it is, with its time of deletion set, as one with a long grace.
        await found.kubectl("delete", "pod", "web-1", "--wait=false")
        await found.until(lambda: [(each.ready, each.draining) for each in found.endpoints] == [(False, True)])
        unready = STATUS.replace('"True"', '"False"')
        await found.kubectl("patch", "pod", "web-1", "--subresource=status", "--type=merge", "-p", unready)
        await found.until(lambda: [(each.ready, each.draining) for each in found.endpoints] == [(False, False)])
        await found.kubectl("delete", "pod", "web-1", "--force", "--grace-period=0")


async def test_kinds_come_and_go(cluster: ControlPlane, namespace: str) -> None:
    async with followed(cluster, namespace) as found:
        for timeout in ("1s", "2s"):
            await found.apply(definition("VirtualService", "virtualservices"))
            await asyncio.to_thread(cluster.kubectl, "wait", "--for=condition=Established", f"crd/{ROUTES}")
            await found.apply(WORKLOAD)
            await found.apply(virtual_service(timeout))
            await found.until(lambda timeout=timeout: found.timeouts == [f"0:00:0{timeout[0]}"])  # type: ignore[misc]
            await asyncio.to_thread(cluster.kubectl, "delete", "crd", ROUTES)
            await found.until(lambda: found.timeouts == [])
        await found.until(lambda: found.errors == [])


async def test_an_object_that_goes_wrong_stays_as_it_was(cluster: ControlPlane, namespace: str) -> None:
    async with followed(cluster, namespace) as found:
        await found.apply(definition("VirtualService", "virtualservices"))
        await asyncio.to_thread(cluster.kubectl, "wait", "--for=condition=Established", f"crd/{ROUTES}")
        await found.apply(WORKLOAD)
        await found.apply(virtual_service("1s"))
        await found.until(lambda: found.timeouts == ["0:00:01"])
        await found.apply(virtual_service("soon"))
        await found.until(lambda: found.errors == [ProblemCode.INVALID_VALUE])
        assert found.timeouts == ["0:00:01"]
        (problem,) = (each for each in found.store.problems if each.severity == "error")
        assert str(problem.position) == f"VirtualService.networking.istio.io/{namespace}/web"
        await found.apply(virtual_service("3s"))
        await found.until(lambda: (found.timeouts, found.errors) == (["0:00:03"], []))


async def test_an_api_server_that_is_killed_and_comes_back(cluster: ControlPlane, namespace: str) -> None:
    async with followed(cluster, namespace) as found:
        await found.apply(WORKLOAD)
        await found.until(lambda: found.services == {"web"})
        mesh = found.store.mesh
        await asyncio.to_thread(cluster.kill_api_server)
        await found.until(lambda: ProblemCode.SOURCE_UNREACHABLE in found.errors)
        assert found.store.mesh is mesh
        await asyncio.to_thread(cluster.start_api_server)
        await found.apply(WORKLOAD.replace("name: web}", "name: other}", 1))
        await found.kubectl("delete", "service", "web")
        await found.until(lambda: found.services == {"other"})
        await found.until(lambda: found.errors == [])


async def test_what_was_written_before_is_caught_up_with(cluster: ControlPlane, namespace: str) -> None:
    async with followed(cluster, namespace) as found:
        listed = "\n---\n".join(
            f"apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{ports: [{{port: 80}}]}}"
            for number in range(30)
        )
        await found.apply(listed)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await found.source.catch_up()
        assert len(found.services) == 30
