"""An installation whose settings ask for another trust domain than its authority is of: no replica would start."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from heddle.cluster import chart
from heddle.cluster.authority_secret import AuthoritySecret
from heddle.cluster.chart import BadValues
from heddle.cluster.check_results import State
from heddle.cluster.trust_domain import OtherTrustDomain, check_trust_domain, refuse_other_trust_domain
from heddle.main import main
from model.problems import ObjectRef
from sds.authority import create_authority
from sds.authority_material import build_material
from sds.keyfiles import KeyFileError
from tests.unit.heddle.cluster_fake import FakeCluster, Json
from tests.unit.heddle.our_chart import our_chart, render_ours

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMESPACE = "heddle-system"
PLACE = {"namespace": NAMESPACE, "revision": "heddle"}
CONFIG = f"/api/v1/namespaces/{NAMESPACE}/configmaps/istio"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/heddle-ca"
MATERIAL = build_material(create_authority(trust_domain="cluster.local", now=NOW))


def rendered(*, namespace: str = NAMESPACE, **values: Any) -> tuple[Json, ...]:
    return render_ours(values, namespace=namespace).objects


def asking(domain: str) -> Json:
    return {"meshConfig": {"mesh": {"trustDomain": domain}}}


def installed(*, secret: bool = True, **values: Any) -> FakeCluster:
    cluster = FakeCluster()
    for item in rendered(**values):
        if item["kind"] in ("Deployment", "ConfigMap"):
            kind = "apis/apps/v1" if item["kind"] == "Deployment" else "api/v1"
            path = f"/{kind}/namespaces/{NAMESPACE}/{item['kind'].lower()}s/{item['metadata']['name']}"
            cluster.put(path, item)
    if secret:
        cluster.put(SECRET, {"data": {name: base64.b64encode(text).decode() for name, text in MATERIAL.items()}})
        roots = {"root.pem": MATERIAL["root.pem"].decode()}
        cluster.put(f"/api/v1/namespaces/{NAMESPACE}/configmaps/heddle-root", {"data": roots})
    return cluster


async def test_another_trust_domain_is_refused_by_the_secret() -> None:
    cluster = installed()
    with pytest.raises(OtherTrustDomain) as told:
        await refuse_other_trust_domain(cluster, rendered(**asking("foo.bar")), **PLACE)
    said = str(told.value)
    assert "'foo.bar' (value meshConfig.mesh.trustDomain, ConfigMap istio in heddle-system)" in said
    assert "Secret heddle-ca in heddle-system holds the authority of 'cluster.local'" in said
    assert "kubectl delete secret heddle-ca -n heddle-system" in said
    assert cluster.written == []
    await refuse_other_trust_domain(cluster, rendered(**asking("cluster.local")), **PLACE)
    await refuse_other_trust_domain(cluster, rendered(), **PLACE)
    # Another mesh, as somebody has decided.
    del cluster.objects[SECRET]
    await refuse_other_trust_domain(cluster, rendered(**asking("foo.bar")), **PLACE)


async def test_a_secret_that_may_not_be_read_leaves_the_running_settings() -> None:
    cluster = installed()
    cluster.hidden.add("secrets")
    with pytest.raises(OtherTrustDomain, match=r"what runs is of 'cluster\.local'"):
        await refuse_other_trust_domain(cluster, rendered(**asking("foo.bar")), **PLACE)
    await refuse_other_trust_domain(cluster, rendered(), **PLACE)


async def test_settings_that_the_values_do_not_have_any_more_are_the_default() -> None:
    cluster = installed(**asking("foo.bar"))
    cluster.hidden.add("secrets")
    with pytest.raises(
        OtherTrustDomain, match=r"ask for the trust domain 'cluster\.local'.*what runs is of 'foo\.bar'"
    ):
        await refuse_other_trust_domain(cluster, rendered(), **PLACE)


async def test_the_settings_of_an_istio_beside_count() -> None:
    cluster = installed()
    cluster.put("/api/v1/namespaces/istio-system/configmaps/istio", {"data": {"mesh": "trustDomain: its.own\n"}})
    with pytest.raises(OtherTrustDomain, match=r"'its\.own'.*ConfigMap istio in istio-system"):
        await refuse_other_trust_domain(cluster, rendered(meshConfig={"namespace": "istio-system"}), **PLACE)


@pytest.mark.parametrize("hidden", [True, False])
async def test_settings_that_cannot_be_read_are_no_reason_to_refuse(hidden: bool) -> None:
    cluster = installed()
    cluster.put("/api/v1/namespaces/istio-system/configmaps/istio", {"data": {"mesh": "[1]"}})
    if hidden:
        cluster.hidden.add("configmaps")
    await refuse_other_trust_domain(cluster, rendered(meshConfig={"namespace": "istio-system"}), **PLACE)


async def test_check_is_red_before_the_next_replica_starts() -> None:
    cluster = installed()
    (result,) = await check_trust_domain(cluster, **PLACE)
    assert (result.state, result.detail) == (State.OK, "cluster.local")
    cluster.put(CONFIG, {"data": {"mesh": "trustDomain: foo.bar\n"}})
    (result,) = await check_trust_domain(cluster, **PLACE)
    assert result.state is State.FAILED
    assert "ConfigMap istio in heddle-system asks for 'foo.bar', the authority is of 'cluster.local'" in result.detail
    assert "trustDomain: cluster.local" in result.hint
    cluster.put(CONFIG, {"data": {"mesh": "trustDomian: foo.bar\n"}})
    (result,) = await check_trust_domain(cluster, **PLACE)
    assert result.state is State.WARNING


async def test_a_replica_that_will_not_start_names_the_installations_own_config_map() -> None:
    cluster: Any = installed()
    place = ObjectRef(kind="ConfigMap", namespace=NAMESPACE, name="istio")
    secret = AuthoritySecret(cluster, namespace=NAMESPACE, mesh_config=place, now=lambda: NOW, jitter=lambda: 0.0)
    cluster.get = reads_in_full(cluster)
    with pytest.raises(KeyFileError) as told:
        await secret.load_or_create("foo.bar")
    assert "the ConfigMap istio in the namespace heddle-system, key mesh" in str(told.value)
    assert "istio-system" not in str(told.value)


def reads_in_full(cluster: FakeCluster) -> Any:
    get = cluster.get

    async def read(path: str, query: Any) -> bytes:
        return await get(path, query, "application/json")

    return read


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        (
            {"trustDomian": "a.b"},
            "meshConfig.mesh.trustDomian: there is no field 'trustDomian' in meshConfig.mesh. Did",
        ),
        ({"outboundTrafficPolicy": {"mod": "ALLOW_ANY"}}, "meshConfig.mesh.outboundTrafficPolicy.mod: there is no"),
        ({"accessLogEncoding": "XML"}, "meshConfig.mesh.accessLogEncoding: accessLogEncoding is 'XML'"),
        ({"trustDomain": "a.B/"}, "meshConfig.mesh.trustDomain: "),
    ],
)
def test_a_mistake_in_the_mesh_config_is_an_error_with_the_values_path(mesh: Json, said: str) -> None:
    with pytest.raises(BadValues) as told:
        rendered(meshConfig={"mesh": mesh})
    assert str(told.value).startswith(said)


def test_what_has_no_effect_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(chart, "load_chart", our_chart)
    assert main(["install", "--set", "meshConfig.mesh.enableTracing=true"]) == 0
    assert "meshConfig.mesh.enableTracing: enableTracing is not implemented yet" in capsys.readouterr().err
