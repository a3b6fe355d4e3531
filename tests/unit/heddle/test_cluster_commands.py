"""`heddle install`, `check` and `uninstall` on a cluster in memory; tests/kubernetes has a real one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from heddle.check import check_all
from heddle.cluster import chart, removal
from heddle.cluster.apply import NoNamespace, NotOurs, apply_definitions, apply_objects
from heddle.cluster.check_results import Result, State, to_lines
from heddle.cluster.cluster_checks import check_api, check_other_webhooks, check_pod_security
from heddle.cluster.identity_checks import Authorities, check_authorities, check_identity
from heddle.cluster.installation_checks import check_control_plane, check_leader, check_roots
from heddle.cluster.names import MUTATING, RIGHTS
from heddle.cluster.other_revisions import find_lacks
from heddle.cluster.removal import CannotRemove, plan_removal, wait_for_pods
from heddle.cluster.requests import delete
from heddle.cluster.revision_settings import default_settings
from heddle.cluster.rollout import find_waits, pod_waits, rollout_waits
from heddle.main import main
from heddle.spans import wait_seconds
from tests.unit.heddle.cluster_fake import FakeCluster
from tests.unit.heddle.our_chart import our_chart, render_ours

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMESPACE = "heddle-system"
SETTINGS = (default_settings(NAMESPACE, "heddle"),)
HOOK = f"{MUTATING.path('v1')}/heddle-injector"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/heddle"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/heddle-leader"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualservices.networking.istio.io"


async def install(cluster: FakeCluster, namespace: str = NAMESPACE, **values: Any) -> list[str]:
    rendered = render_ours({"namespace": {"create": True}, **values}, namespace=namespace)
    said: list[str] = []
    await apply_objects(cluster, rendered.objects, namespace=namespace, revision=rendered.revision, tell=said.append)
    return said


def states(results: Any) -> dict[str, State]:
    return {result.check: result.state for result in results}


async def test_what_is_applied_first_is_needed_first_and_webhooks_are_last() -> None:
    cluster = FakeCluster()
    said = await install(cluster)
    assert all(line.endswith(" created") for line in said)
    paths = [path for _, path in cluster.written]
    assert paths[0] == f"/api/v1/namespaces/{NAMESPACE}"
    assert paths[-2] == HOOK
    assert all(line.endswith(" unchanged") for line in await install(cluster))


async def test_what_a_new_version_lacks_is_deleted() -> None:
    cluster = FakeCluster()
    await install(cluster)
    said = await install(cluster, replicas=1)
    assert [line for line in said if "deleted" in line] == [
        f"poddisruptionbudget.policy/heddle -n {NAMESPACE} deleted: the installation has it no longer"
    ]


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({}, "exists and is not Heddle's"),
        ({"app.kubernetes.io/part-of": "heddle", "app.kubernetes.io/managed-by": "Helm"}, "was installed by Helm"),
    ],
)
async def test_nothing_of_others_is_touched(labels: dict[str, str], why: str) -> None:
    cluster = FakeCluster()
    cluster.put(DEPLOYMENT, {"metadata": {"labels": labels}})
    with pytest.raises(NotOurs, match=why):
        await install(cluster)
    assert cluster.written == []


async def test_an_installation_in_another_namespace_is_neither_moved_nor_removed_by_mistake() -> None:
    cluster = FakeCluster()
    await install(cluster)
    before = dict(cluster.objects)
    with pytest.raises(NotOurs, match=f"heddle is installed in {NAMESPACE} already"):
        await install(cluster, namespace="elsewhere")
    with pytest.raises(CannotRemove, match=f"-n {NAMESPACE}"):
        await plan_removal(cluster, namespace="elsewhere", revision="heddle", purge=False)
    assert cluster.objects == before


async def test_a_revision_in_another_namespace_would_be_another_mesh_and_is_refused() -> None:
    cluster = FakeCluster()
    nobody: dict[str, Any] = {"namespace": NAMESPACE, "authorities": Authorities(found=(), unseen=())}
    await install(cluster)
    before = dict(cluster.objects)
    with pytest.raises(NotOurs, match=f"heddle is installed in {NAMESPACE}.* -n {NAMESPACE}"):
        await install(cluster, namespace="elsewhere", revision="canary")
    assert cluster.objects == before
    assert states(await check_authorities(cluster, **nobody)) == {"all revisions share one authority": State.OK}
    said = await install(cluster, revision="canary")
    assert f"deployment.apps/heddle-canary -n {NAMESPACE} created" in said
    assert states(await check_authorities(cluster, **nobody)) == {"all revisions share one authority": State.OK}
    # Helm does not ask.
    helms = {"app.kubernetes.io/part-of": "heddle", "heddle.io/revision": "heddle-two"}
    cluster.put("/apis/apps/v1/namespaces/elsewhere/deployments/heddle-two", {"metadata": {"labels": helms}})
    assert states(await check_authorities(cluster, **nobody)) == {"all revisions share one authority": State.FAILED}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"gatewaySecretNamespaces": ["edge", "shop"]}, "edge, which is named by the value gatewaySecretNamespaces"),
        (
            {"meshConfig": {"namespace": "istio-system"}},
            "istio-system, which is named by the value meshConfig.namespace",
        ),
    ],
)
async def test_a_namespace_that_is_missing_is_told_before_anything_is_written(values: dict[str, Any], why: str) -> None:
    cluster = FakeCluster()
    cluster.put("/api/v1/namespaces/shop", {})
    with pytest.raises(NoNamespace, match=why) as told:
        await install(cluster, **values)
    assert "kubectl create namespace" in str(told.value)
    assert cluster.written == []
    for name in ("edge", "istio-system"):
        cluster.put(f"/api/v1/namespaces/{name}", {})
    await install(cluster, **values)


async def test_its_own_namespace_is_not_made_unless_asked() -> None:
    rendered = render_ours({}, namespace=NAMESPACE)
    place: dict[str, Any] = {"namespace": NAMESPACE, "revision": "heddle", "tell": [].append}
    cluster = FakeCluster()
    with pytest.raises(NoNamespace, match="heddle-system, which is to be Heddle's own"):
        await apply_objects(cluster, rendered.objects, **place)
    assert cluster.written == []
    cluster.put(f"/api/v1/namespaces/{NAMESPACE}", {})
    await apply_objects(cluster, rendered.objects, **place)


async def test_a_namespace_of_secrets_that_has_gone_is_found() -> None:
    cluster = FakeCluster()
    cluster.put("/api/v1/namespaces/edge", {})
    await install(cluster, gatewaySecretNamespaces=["edge"])
    cluster.objects[DEPLOYMENT]["status"] = {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}
    place = {"namespace": NAMESPACE, "revision": "heddle", "version": "0.1.0"}
    check = "the namespaces of gateways' Secrets exist"
    assert states(await check_control_plane(cluster, **place))[check] is State.OK
    del cluster.objects["/api/v1/namespaces/edge"]
    (result,) = (result for result in await check_control_plane(cluster, **place) if result.check == check)
    assert (result.state, result.detail) == (State.FAILED, "there is no edge")
    assert "gatewaySecretNamespaces" in result.hint


async def test_a_namespace_that_was_there_is_left_as_it_is() -> None:
    cluster = FakeCluster()
    cluster.put(f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"labels": {"team": "mesh"}}})
    said = await install(cluster)
    assert said[0] == f"namespace/{NAMESPACE} left as it is: it was there already"


async def test_definitions_of_others_are_left_and_ours_are_updated() -> None:
    definition = {
        "kind": "CustomResourceDefinition",
        "metadata": {"name": DEFINITION.rpartition("/")[2], "labels": {"app.kubernetes.io/name": "heddle"}},
        "spec": {"group": "networking.istio.io"},
    }
    cluster = FakeCluster()
    said: list[str] = []
    await apply_definitions(cluster, [definition], said.append)
    await apply_definitions(cluster, [{**definition, "spec": {"group": "x"}}], said.append)
    cluster.put(DEFINITION, {"metadata": {"labels": {"release": "istio"}}})
    await apply_definitions(cluster, [definition], said.append)
    assert [line.rpartition("io ")[2].split(":")[0] for line in said] == ["created", "configured", "left as it is"]
    assert cluster.objects[DEFINITION]["metadata"]["labels"] == {"release": "istio"}


async def test_what_is_removed_and_what_is_kept() -> None:
    cluster = FakeCluster()
    await install(cluster)
    secret = f"/api/v1/namespaces/{NAMESPACE}/secrets/heddle-ca"
    cluster.put(secret, {})
    removal = await plan_removal(cluster, namespace=NAMESPACE, revision="heddle", purge=False)
    kinds = [item["kind"] for item in removal.objects]
    assert kinds[0] == "MutatingWebhookConfiguration"
    assert not {"Secret", "Namespace"} & set(kinds)
    assert any("kept: secret/heddle-ca" in line for line in removal.remarks)
    removal = await plan_removal(cluster, namespace=NAMESPACE, revision="heddle", purge=True)
    assert "Secret" in [item["kind"] for item in removal.objects]
    assert "Namespace" not in [item["kind"] for item in removal.objects]


async def test_the_lease_goes_with_the_last_revision_and_after_all_else() -> None:
    cluster = FakeCluster()
    await install(cluster)
    await install(cluster, revision="canary")
    cluster.put(LEASE, {"spec": {"holderIdentity": "heddle-0_ab"}})
    first = await plan_removal(cluster, namespace=NAMESPACE, revision="heddle", purge=False)
    # The other revision may lead, and its leader would lose its Lease.
    assert "Lease" not in [item["kind"] for item in first.objects]
    for item in first.objects:
        assert await delete(cluster, item)
    last = await plan_removal(cluster, namespace=NAMESPACE, revision="heddle-canary", purge=False)
    assert last.objects[-1]["kind"] == "Lease"
    for item in last.objects:
        assert await delete(cluster, item)
    assert LEASE not in cluster.objects
    assert (await plan_removal(cluster, namespace=NAMESPACE, revision="heddle", purge=False)).objects == ()


async def test_rights_go_when_the_pods_that_use_them_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "_POLL_SECONDS", 0.01)
    cluster = FakeCluster()
    await install(cluster)
    cluster.put(LEASE, {"spec": {"holderIdentity": "heddle-0_ab"}})
    planned = await plan_removal(cluster, namespace=NAMESPACE, revision="heddle", purge=False)
    kinds = [item["kind"] for item in planned.objects]
    first = min(kinds.index(kind) for kind in RIGHTS if kind in kinds)
    assert set(kinds[first:]) <= {*RIGHTS, "Lease"}
    assert kinds[-1] == "Lease"
    pod = f"/api/v1/namespaces/{NAMESPACE}/pods/heddle-0"
    cluster.put(pod, {"metadata": {"labels": {"heddle.io/revision": "heddle"}}})
    waiting = asyncio.create_task(wait_for_pods(cluster, namespace=NAMESPACE, revision="heddle"))
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    del cluster.objects[pod]
    async with asyncio.timeout(5):
        await waiting


async def test_a_revision_that_lacks_what_another_has_is_told() -> None:
    cluster = FakeCluster()
    cluster.put("/api/v1/namespaces/edge", {})
    await install(cluster, gatewaySecretNamespaces=["edge"])

    async def lacks(**values: Any) -> tuple[str, ...]:
        objects = render_ours({"revision": "canary", **values}, namespace=NAMESPACE).objects
        return await find_lacks(cluster, objects, namespace=NAMESPACE, revision="heddle-canary")

    (said,) = await lacks()
    assert said.startswith("heddle may read gateways' Secrets in edge, and heddle-canary may not")
    assert "gatewaySecretNamespaces" in said
    assert await lacks(gatewaySecretNamespaces=["edge", "more"]) == ()
    (said,) = await lacks(gatewaySecretNamespaces=["edge"], meshConfig={"namespace": "istio-system"})
    assert "ConfigMap heddle-system/istio" in said
    # An upgrade of itself decides anew.
    objects = render_ours({}, namespace=NAMESPACE).objects
    assert await find_lacks(cluster, objects, namespace=NAMESPACE, revision="heddle") == ()


@pytest.mark.parametrize(("namespace", "made"), [("kube-system", 0), ("default", 0), ("heddle-system", 1)])
def test_a_namespace_of_the_clusters_own_is_not_rendered(namespace: str, made: int) -> None:
    objects = render_ours({"namespace": {"create": True}}, namespace=namespace).objects
    assert sum(item["kind"] == "Namespace" for item in objects) == made


async def test_a_namespace_that_is_being_deleted_needs_no_roots() -> None:
    cluster = FakeCluster()
    place: dict[str, Any] = {"namespace": NAMESPACE, "revision": "heddle", "settings": SETTINGS, "authorities": ()}
    place["now"] = NOW
    labels = {"heddle.io/inject": "enabled"}
    cluster.put("/api/v1/namespaces/shop", {"metadata": {"labels": labels}})
    assert states(await check_identity(cluster, **place))["shop has the mesh's roots"] is State.FAILED
    going = {"labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    cluster.put("/api/v1/namespaces/shop", {"metadata": going})
    assert "shop has the mesh's roots" not in states(await check_identity(cluster, **place))


@pytest.mark.parametrize(
    ("text", "seconds"), [("20s", 20), ("20", 20), ("0.5", 0.5), ("1m30s", 90), ("0", 0), ("250ms", 0.25)]
)
def test_a_wait_is_a_span_or_a_number_of_seconds(text: str, seconds: float) -> None:
    assert wait_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-5s", "-1", "nan", "inf", "1e3", "20 s", "soon"])
@pytest.mark.parametrize("command", ["install", "uninstall", "status"])
def test_no_wait(command: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, f"--timeout={text}"])
    assert f"{text!r} is" in capsys.readouterr().err


async def test_a_removal_names_who_still_uses_the_revision() -> None:
    cluster = FakeCluster()
    await install(cluster)
    await install(cluster, revision="canary")
    for name, namespace, revision in (("a", "shop", "heddle"), ("b", "site", "heddle"), ("c", "shop", "heddle-canary")):
        annotations = {"heddle.io/injected": f'{{"revision":"{revision}"}}'}
        cluster.put(f"/api/v1/namespaces/{namespace}/pods/{name}", {"metadata": {"annotations": annotations}})
    remark = (await plan_removal(cluster, namespace=NAMESPACE, revision="heddle", purge=False)).remarks[0]
    assert remark.startswith("2 pods have sidecars of heddle (shop, site)")
    assert "istio.io/rev=heddle-canary" in remark
    remark = (await plan_removal(cluster, namespace=NAMESPACE, revision="heddle-canary", purge=False)).remarks[0]
    assert remark.startswith("1 pods have sidecars of heddle-canary (shop)")


@pytest.mark.parametrize(
    ("version", "time", "expected"),
    [
        ("v1.34.2", "2026-01-01T00:00:05Z", (State.OK, State.OK)),
        ("v1.30.0-gke.1", "2026-01-01T00:00:40Z", (State.OK, State.WARNING)),
        ("v1.29.9", "2025-12-31T23:50:00Z", (State.FAILED, State.FAILED)),
        ("garbled", "when", (State.FAILED, State.WARNING)),
    ],
)
async def test_version_and_clock(version: str, time: str, expected: tuple[State, State]) -> None:
    results = await check_api(FakeCluster(version=version, time=time), NOW)
    assert tuple(result.state for result in results[1:]) == expected
    assert all(result.hint for result in results if result.state is not State.OK)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"heddle.io/inject": "enabled"}, State.OK),
        ({"istio.io/rev": "heddle", "pod-security.kubernetes.io/enforce": "privileged"}, State.OK),
        ({"heddle.io/inject": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}, State.FAILED),
        ({"heddle.io/inject": "disabled", "pod-security.kubernetes.io/enforce": "restricted"}, None),
        ({"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "baseline"}, None),
    ],
)
async def test_pod_security_of_namespaces_with_sidecars(labels: dict[str, str], expected: State | None) -> None:
    cluster = FakeCluster()
    cluster.put("/api/v1/namespaces/shop", {"metadata": {"labels": labels}})
    found = states(await check_pod_security(cluster, namespace=NAMESPACE, settings=SETTINGS))
    assert found.get("shop lets its pods' traffic be captured") is expected


async def test_gateways_alone_run_under_restricted() -> None:
    cluster = FakeCluster()
    labels = {"heddle.io/inject": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
    cluster.put("/api/v1/namespaces/edge", {"metadata": {"labels": labels}})
    gateway = {"heddle.io/injected": "{}", "inject.istio.io/templates": "gateway"}
    for given, expected in ((gateway, State.OK), ({"heddle.io/injected": "{}"}, State.FAILED)):
        cluster.put(f"/api/v1/namespaces/edge/pods/{expected.name.lower()}", {"metadata": {"annotations": given}})
        found = states(await check_pod_security(cluster, namespace=NAMESPACE, settings=SETTINGS))
        assert found["edge lets its pods' traffic be captured"] is expected


async def test_an_istio_beside_is_fine_unless_its_labels_are_taken_over() -> None:
    cluster = FakeCluster()
    cluster.put(
        f"{MUTATING.path('v1')}/istio-sidecar-injector", {"webhooks": [{"name": "x.sidecar-injector.istio.io"}]}
    )
    await install(cluster)
    assert states(await check_other_webhooks(cluster))["no other mesh injects the same pods"] is State.OK
    await install(cluster, injection={"takeOverIstioInjection": True})
    assert states(await check_other_webhooks(cluster))["no other mesh injects the same pods"] is State.FAILED


async def test_what_may_not_be_looked_at_is_neither_good_nor_bad() -> None:
    cluster = FakeCluster()
    cluster.hidden.add("leases")
    results = await check_all(cluster, plan=None, namespace=NAMESPACE, revision="heddle")
    leader = [result for result in results if result.section == "leader"]
    assert [(one.state, one.check) for one in leader] == [(State.WARNING, "may be looked at")]


async def test_a_lease_without_a_holder_or_with_one_that_is_gone() -> None:
    cluster = FakeCluster()
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/heddle-leader"
    place = {"namespace": NAMESPACE, "revision": "heddle", "now": NOW}
    spec: dict[str, Any] = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2025-12-31T23:59:50.5Z"}
    for changed, state in (
        ({}, State.OK),
        ({"holderIdentity": ""}, State.FAILED),
        ({"renewTime": "2025-12-31T23:59:40Z"}, State.FAILED),
        ({"renewTime": None}, State.FAILED),
    ):
        cluster.put(path, {"spec": {**spec, **changed}})
        (result,) = await check_leader(cluster, **place)
        assert result.state is state, changed


def test_roots_that_are_none() -> None:
    assert check_roots("s", "c", b"", NOW, "hint").detail == "what is there are no certificates"
    assert check_roots("s", "c", b"-----BEGIN CERTIFICATE-----\n", NOW, "hint").state is State.FAILED


@pytest.mark.parametrize(
    ("status", "waits"),
    [
        ({"observedGeneration": 1}, ("waiting for Deployment heddle to be looked at",)),
        ({"updatedReplicas": 1}, ("waiting for Deployment heddle: 1 of 2 replicas are of the new version",)),
        ({"updatedReplicas": 2, "replicas": 3}, ("waiting for Deployment heddle: 1 old replicas have to end",)),
        (
            {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 1},
            ("waiting for Deployment heddle: 1 of 2 replicas are ready",),
        ),
        ({"updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}, ()),
        (
            {
                "conditions": [
                    {
                        "type": "ReplicaFailure",
                        "status": "True",
                        "reason": "FailedCreate",
                        "message": "violates PodSecurity",
                    }
                ]
            },
            (
                "waiting for Deployment heddle: 0 of 2 replicas are of the new version",
                "Deployment heddle: violates PodSecurity",
            ),
        ),
    ],
)
def test_what_a_rollout_waits_for(status: dict[str, Any], waits: tuple[str, ...]) -> None:
    deployment = {
        "metadata": {"name": "heddle", "generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, **status},
    }
    assert rollout_waits(deployment) == waits


def test_why_pods_do_not_start() -> None:
    pulling = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    creating = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    pods = [
        {"metadata": {"name": "a"}, "status": {"containerStatuses": [pulling, creating, {"state": {"running": {}}}]}},
        {
            "metadata": {"name": "b"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes fit"}]},
        },
    ]
    assert pod_waits(pods) == ("Pod a: ImagePullBackOff: no such image", "Pod b: 0/1 nodes fit")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (
            {"exitCode": 2, "reason": "Error", "message": "one\ntwo\n\nthree\nheddle: tokenLife is less than 10m\n"},
            "; it ended with status 2 and said: two | three | heddle: tokenLife is less than 10m",
        ),
        ({"exitCode": 137, "reason": "OOMKilled"}, "; it ended with status 137 (OOMKilled)"),
        (
            {"exitCode": 1, "reason": "Error", "message": "x" * 900},
            f"; it ended with status 1 and said: {'x' * 300}...",
        ),
        (None, ""),
    ],
)
def test_why_a_pod_starts_again_and_again(ended: dict[str, Any] | None, said: str) -> None:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    container = {"state": {"waiting": waiting}, "lastState": {} if ended is None else {"terminated": ended}}
    pod = {"metadata": {"name": "a"}, "status": {"containerStatuses": [container]}}
    assert pod_waits([pod]) == (f"Pod a: CrashLoopBackOff: back-off 10s{said}",)


def test_a_control_plane_that_ends_leaves_its_last_words_in_its_status() -> None:
    (deployment,) = (one for one in render_ours({}, namespace=NAMESPACE).objects if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


async def test_an_installation_waits_for_its_ca_bundles() -> None:
    cluster = FakeCluster()
    await install(cluster)
    assert "0 of 2" in (await find_waits(cluster, namespace=NAMESPACE, revision="heddle"))[0]
    ready = {"updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}
    cluster.objects[DEPLOYMENT]["status"] = ready
    cluster.put(LEASE, {"spec": {"holderIdentity": "heddle-0_ab"}})
    cluster.put(f"/api/v1/namespaces/{NAMESPACE}/pods/heddle-0", {})
    waits = await find_waits(cluster, namespace=NAMESPACE, revision="heddle")
    assert waits == tuple(
        f"waiting for the control plane to fill in the caBundle of heddle-{name}" for name in ("injector", "validator")
    )
    for item in cluster.objects.values():
        for hook in item.get("webhooks") or ():
            hook["clientConfig"]["caBundle"] = "eA=="
    assert await find_waits(cluster, namespace=NAMESPACE, revision="heddle") == ()
    # Whoever leads must be there now.
    pod = f"/api/v1/namespaces/{NAMESPACE}/pods/heddle-0"
    gone = "waiting for the Lease heddle-leader of heddle-0_ab, which is gone, to run out"
    cluster.put(pod, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    assert await find_waits(cluster, namespace=NAMESPACE, revision="heddle") == (gone,)
    del cluster.objects[pod]
    assert await find_waits(cluster, namespace=NAMESPACE, revision="heddle") == (gone,)
    for nobody in ({"spec": {"holderIdentity": ""}}, {"spec": {}}, {}):
        cluster.put(LEASE, nobody)
        waits = await find_waits(cluster, namespace=NAMESPACE, revision="heddle")
        assert waits == ("waiting for a replica to take the Lease heddle-leader",)


def test_lines_are_in_sections_with_hints_under_what_is_not_green() -> None:
    results = [
        Result(section="a", check="one", state=State.OK, detail="d"),
        Result(section="b", check="two", state=State.FAILED, detail="why", hint="do it"),
    ]
    lines = list(to_lines(results, coloured=False))
    assert lines == ["a", "-", "√ one: d", "", "b", "-", "× two: why", "    do it", "", "1 ok, 0 to look at, 1 failed"]
    assert "\x1b[31m×" in "\n".join(to_lines(results, coloured=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "replica=3"], "replica is no value of this chart; replicas is"),
        (["--set", "replicas"], "write NAME=VALUE"),
        (["-f", "/nowhere.yaml"], "/nowhere.yaml: no such file or directory; name a file of values"),
        (["-f", "/"], "/: is a directory; name a file of values"),
        (["-n", "Nowhere"], "no name of a namespace"),
        (["--wait"], "add --apply"),
    ],
)
def test_install_says_what_is_wrong_in_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chart, "load_chart", our_chart)
    assert main(["install", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"replicas: 3\na: [1\n", ":3 is no YAML: expected ',' or ']'"),
        (b"a: \xff\n", " is no text in UTF-8"),
        (b"[1]\n", " holds no values: write a mapping"),
        (b"replicas: 2\nimage:\n  tag: a\n  tag: b\n", ":4: the key 'tag' stands here a second time; the first is in"),
    ],
)
def test_install_names_the_file_that_it_cannot_use(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "values.yaml"
    file.write_bytes(content)
    assert main(["install", "-f", str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"heddle: {file}{said}"), printed.err
    assert len(printed.err.splitlines()) == 1
