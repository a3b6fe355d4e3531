"""What is found out about an installation before anything of it is written, and replicas that an autoscaler takes."""

from __future__ import annotations

from typing import Any

import pytest

from heddle.cluster.apply import apply_objects
from heddle.cluster.chart import BadValues
from heddle.cluster.check_results import State
from heddle.cluster.installation_checks import check_control_plane
from heddle.cluster.trial import WouldBeRefused, try_objects
from heddle.main import main
from tests.unit.heddle.cluster_fake import FakeCluster, Json
from tests.unit.heddle.our_chart import render_ours

NAMESPACE = "heddle-system"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/heddle"
CLASS = "/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical"
MIGRATION = {"autoscaling": {"enabled": True}}


def rendered(**values: Any) -> tuple[Json, ...]:
    return render_ours({"namespace": {"create": True}, **values}, namespace=NAMESPACE).objects


async def install(cluster: FakeCluster, **values: Any) -> None:
    objects = rendered(**values)
    await apply_objects(cluster, objects, namespace=NAMESPACE, revision="heddle", tell=[].append)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"autoscaling": {"enabled": True, "minReplicas": 6}}, "autoscaling.minReplicas is 6, which is more than"),
        ({"resources": {"requests": {"cpu": "lots"}}}, "resources.requests.cpu is 'lots', which is no quantity"),
        ({"resources": {"limits": {"memory": True}}}, "resources.limits.memory is True, which is no quantity"),
        ({"resources": {"requests": {"memory": "2Gi"}}}, "resources.requests.memory is more than resources.limits"),
        (
            {"injection": {"resources": {"cpu": "3"}}},
            "injection.resources.cpu is more than injection.resources.cpuLimit",
        ),
        ({"networkPolicy": {"apiServerCIDRs": ["10.0.0.0/8", "10.0.0.300/8"]}}, "networkPolicy.apiServerCIDRs[1] is"),
        ({"networkPolicy": {"apiServerCIDRs": ["10.0.0.0/33"]}}, "networkPolicy.apiServerCIDRs[0] is '10.0.0.0/33'"),
        ({"priorityClassName": "Very High"}, "priorityClassName is 'Very High', which is no name"),
        ({"certificateLife": "9s"}, "certificateLife must be a span from 10s to 2160h (90 days), not 9s"),
        ({"certificateLife": "2161h"}, "certificateLife must be a span from 10s to 2160h (90 days), not 2161h"),
        # What the control plane reads at its start, and would refuse.
        ({"injection": {"tokenLife": "1m"}}, "injection.tokenLife is less than 10m. Write a span from 10m"),
        ({"injection": {"tokenLife": "48h"}}, "injection.tokenLife is more than 24h. Write a span from 10m to 24h"),
        ({"injection": {"drain": "2h"}}, "injection.drain is more than 1h. Write a span from 0s to 1h"),
        ({"injection": {"concurrency": 1000}}, "injection.concurrency must be from 0 to 256, not 1000"),
        ({"injection": {"proxyImage": "e" * 600}}, "injection.proxyImage is 'eee"),
        ({"injection": {"initImage": "e" * 600}}, "injection.initImage is 'eee"),
        ({"image": {"repository": "e" * 600}}, "image is 'eee"),
        ({"sidecarConfig": {"unusedAfter": "9999999h"}}, "sidecarConfig.unusedAfter: '9999999h' is no span of time"),
        ({"meshConfig": {"name": "a..b"}}, "meshConfig: 'heddle-system/a..b' names no ConfigMap"),
        ({"meshConfig": {"name": "heddle", "mesh": {"trustDomain": "a.b"}}}, "configmap/heddle -n heddle-system is"),
        ({"bindAddress": "300.0.0.1"}, "bindAddress is '300.0.0.1', which is no address"),
        ({"bindAddress": "[10.0.0.1]"}, "bindAddress is '[10.0.0.1]', which is no address"),
        ({"certificateLife": None}, "certificateLife: '' is no span of time"),
        # What excludes each other.
        ({"terminationGracePeriodSeconds": 20}, "terminationGracePeriodSeconds is 20, and 5 s of preStopSeconds and"),
        ({"preStopSeconds": 45}, "terminationGracePeriodSeconds is 60, and 45 s of preStopSeconds and 15 s in which"),
        ({"podDisruptionBudget": {"minAvailable": 2}}, "podDisruptionBudget.minAvailable is 2, and replicas is 2"),
        (
            {"replicas": 1, "autoscaling": {"enabled": True, "minReplicas": 1}},
            "podDisruptionBudget.minAvailable is 1, and autoscaling.minReplicas is 1: no node",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(values: Json, said: str) -> None:
    with pytest.raises(BadValues) as told:
        rendered(**values)
    assert str(told.value).startswith(said)


@pytest.mark.parametrize(
    "values",
    [
        {"autoscaling": {"enabled": True, "minReplicas": 5}},
        {"resources": {"requests": {"cpu": 1, "memory": "1Gi", "ephemeral-storage": "1e9"}}},
        {"networkPolicy": {"apiServerCIDRs": ["10.0.0.0/8", "fd00::/8"]}},
        {"priorityClassName": ""},
        {"certificateLife": "10s"},
        {"certificateLife": "2160h"},
        {"resources": None, "meshConfig": {"mesh": None}},
        {"injection": {"tokenLife": "10m", "drain": "1h", "concurrency": 256}},
        {"sidecarConfig": {"unusedAfter": "0s"}, "bindAddress": "[::]"},
        {"terminationGracePeriodSeconds": 21},
        {"preStopSeconds": 44},
        {"replicas": 3, "podDisruptionBudget": {"minAvailable": 2}},
        # None is made.
        {"replicas": 1, "podDisruptionBudget": {"minAvailable": 1}},
        {"podDisruptionBudget": {"enabled": False, "minAvailable": 2}},
    ],
)
def test_values_that_make_sense(values: Json) -> None:
    assert rendered(**values)


def test_what_the_control_plane_would_refuse_is_neither_printed_nor_applied(capsys: pytest.CaptureFixture[str]) -> None:
    for apply in ((), ("--apply", "--kubeconfig", "/nowhere")):
        assert main(["install", "--set", "injection.tokenLife=1m", *apply]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "injection.tokenLife is less than 10m" in said.err


async def test_every_object_is_tried_before_the_first_is_written() -> None:
    cluster = FakeCluster()
    cluster.put(f"/api/v1/namespaces/{NAMESPACE}", {})
    cluster.put(CLASS, {})
    await try_objects(cluster, rendered())
    assert DEPLOYMENT in cluster.tried
    # The namespace is somebody else's, and left as it is.
    assert len(cluster.tried) == sum("Binding" not in item["kind"] for item in rendered()) - 1
    cluster.invalid["heddle-injector"] = "webhooks[0].name: Invalid value"
    with pytest.raises(WouldBeRefused) as told:
        await try_objects(cluster, rendered())
    said = str(told.value)
    assert said.startswith("mutatingwebhookconfiguration.admissionregistration.k8s.io/heddle-injector is refused")
    assert "webhooks[0].name: Invalid value" in said
    assert cluster.written == []


async def test_what_is_for_a_namespace_that_is_yet_to_be_made_cannot_be_tried() -> None:
    cluster = FakeCluster()
    cluster.put(CLASS, {})
    await try_objects(cluster, rendered())
    assert f"/api/v1/namespaces/{NAMESPACE}" in cluster.tried
    assert not any(path.startswith(f"/apis/apps/v1/namespaces/{NAMESPACE}/") for path in cluster.tried)


async def test_a_webhook_of_others_that_nothing_may_be_tried_with_stops_nothing() -> None:
    cluster = FakeCluster()
    cluster.put(CLASS, {})
    cluster.invalid["heddle-injector"] = 'admission webhook "a.b" does not support dry run'
    await try_objects(cluster, rendered())


async def test_a_priority_class_that_is_not_there_is_named() -> None:
    cluster = FakeCluster()
    with pytest.raises(WouldBeRefused, match="no PriorityClass high, which is the value priorityClassName"):
        await try_objects(cluster, rendered(priorityClassName="high"))
    cluster.hidden.add("priorityclasses")
    await try_objects(cluster, rendered(priorityClassName="high"))


async def test_an_autoscaler_takes_over_the_number_that_there_is() -> None:
    cluster = FakeCluster()
    await install(cluster, replicas=4)
    held = cluster.objects[DEPLOYMENT]
    held["metadata"]["managedFields"] = [
        {"manager": "heddle-install", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    ]
    del cluster.written[:], cluster.appliers[:]
    await install(cluster, **MIGRATION)
    applied = [(who, body["spec"].get("replicas")) for who, body in cluster.appliers if body["kind"] == "Deployment"]
    assert applied == [("heddle-install-replicas", 4), ("heddle-install", None)]
    # From then on it is not the installer's.
    held["metadata"]["managedFields"][0]["manager"] = "kube-controller-manager"
    cluster.objects[DEPLOYMENT] = held
    del cluster.appliers[:]
    await install(cluster, **MIGRATION)
    assert [who for who, body in cluster.appliers if body["kind"] == "Deployment"] == ["heddle-install"]


async def test_check_is_red_without_a_replica() -> None:
    cluster = FakeCluster()
    await install(cluster)
    cluster.objects[DEPLOYMENT]["spec"]["replicas"] = 0
    place = {"namespace": NAMESPACE, "revision": "heddle", "version": "0.1.0"}
    (result,) = await check_control_plane(cluster, **place)
    assert (result.state, result.detail) == (State.FAILED, "no replica runs: it is scaled to 0")
    assert "kubectl scale -n heddle-system deploy/heddle --replicas=2" in result.hint
