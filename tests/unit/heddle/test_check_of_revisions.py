"""`heddle check` of an installation with settings of its own, of several revisions, and of more than one authority."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from heddle.check import check_all
from heddle.cluster.apply import apply_objects
from heddle.cluster.check_results import Result, State
from heddle.cluster.revision_settings import find_revisions
from sds.authority import create_authority
from sds.authority_material import build_material
from tests.unit.heddle.cluster_fake import FakeCluster, Json
from tests.unit.heddle.our_chart import our_chart, render_ours

NAMESPACE = "heddle-system"
NOW = datetime.now(UTC)
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/heddle-ca"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SHARED = "all revisions share one authority"


def root() -> bytes:
    return build_material(create_authority(trust_domain="cluster.local", now=NOW))["root.pem"]


OLD, NEW = root(), root()


async def install(cluster: FakeCluster, **values: Any) -> None:
    rendered = render_ours({"namespace": {"create": True}, **values}, namespace=NAMESPACE)
    await apply_objects(cluster, rendered.objects, namespace=NAMESPACE, revision=rendered.revision, tell=[].append)


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def fill_in(cluster: FakeCluster, roots: bytes, *, revision: str = "heddle", kinds: str = "injector validator") -> None:
    names = [f"heddle-{kind}" + ("" if revision == "heddle" else f"-{revision}") for kind in kinds.split()]
    for path, item in cluster.objects.items():
        if path.rpartition("/")[2] in names:
            for hook in item["webhooks"]:
                hook["clientConfig"]["caBundle"] = encoded(roots)


def fill_in_all(cluster: FakeCluster, roots: bytes) -> None:
    for revision in ("heddle", "heddle-canary"):
        fill_in(cluster, roots, revision=revision)


def put_namespace(cluster: FakeCluster, name: str, labels: Json, roots: bytes = b"") -> None:
    cluster.put(f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})
    if roots:
        data = {"data": {"root.pem": roots.decode()}}
        cluster.put(f"/api/v1/namespaces/{name}/configmaps/heddle-root", data)


def put_secret(cluster: FakeCluster, roots: bytes) -> None:
    cluster.put(SECRET, {"data": {"root.pem": encoded(roots)}})


async def check(cluster: FakeCluster, *, revision: str = "heddle", before: bool = False) -> Sequence[Result]:
    plan = (our_chart(), render_ours({"namespace": {"create": True}}, namespace=NAMESPACE)) if before else None
    return await check_all(cluster, plan=plan, namespace=NAMESPACE, revision=revision)


def of(results: Sequence[Result], name: str) -> Result:
    (found,) = (each for each in results if each.check == name)
    return found


# The settings


@pytest.mark.parametrize(
    ("labels", "values", "revision"),
    [
        ({"istio-injection": "enabled"}, {"injection": {"takeOverIstioInjection": True}}, "heddle"),
        ({"heddle.io/inject": "enabled"}, {"revision": "canary", "isDefault": True}, "heddle-canary"),
        # Whichever revision is asked about.
        ({"heddle.io/inject": "enabled"}, {"revision": "canary", "isDefault": True}, "heddle"),
        ({"istio.io/rev": "heddle-canary"}, {"revision": "canary"}, "heddle"),
    ],
)
async def test_namespaces_are_those_that_the_installed_settings_inject(
    labels: Json, values: Json, revision: str
) -> None:
    cluster = FakeCluster()
    await install(cluster, **values)
    put_namespace(cluster, "shop", labels | RESTRICTED)
    results = await check(cluster, revision=revision)
    assert of(results, "shop lets its pods' traffic be captured").state is State.FAILED
    assert of(results, "shop has the mesh's roots").state is State.FAILED


async def test_namespaces_that_the_installed_settings_leave_out_need_nothing() -> None:
    cluster = FakeCluster()
    await install(cluster, injection={"excludedNamespaces": ["legacy"]})
    await install(cluster, revision="canary", injection={"excludedNamespaces": ["legacy"]})
    put_namespace(cluster, "legacy", {"heddle.io/inject": "enabled"} | RESTRICTED)
    results = await check(cluster)
    assert not [each for each in results if each.check.startswith("legacy ")]
    for name in ("heddle", "heddle-canary"):
        assert of(results, f"the settings of {name} are known").state is State.OK


def _hide(cluster: FakeCluster, path: str) -> None:
    cluster.hidden.add("configmaps/heddle")


def _delete(cluster: FakeCluster, path: str) -> None:
    del cluster.objects[path]


def _garble(cluster: FakeCluster, path: str) -> None:
    cluster.objects[path]["data"] = {"settings.yaml": "injection:\n  newField: 1\n"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_hide, "ConfigMap heddle in heddle-system: "),
        (_delete, "there is no ConfigMap heddle in heddle-system with settings.yaml"),
        (_garble, "ConfigMap heddle in heddle-system:2: injection.newField"),
    ],
)
async def test_settings_that_cannot_be_read_are_told_and_taken_for_the_defaults(spoil: Any, said: str) -> None:
    cluster = FakeCluster()
    await install(cluster)
    spoil(cluster, f"/api/v1/namespaces/{NAMESPACE}/configmaps/heddle")
    put_namespace(cluster, "shop", {"heddle.io/inject": "enabled"} | RESTRICTED)
    results = await check(cluster)
    told = of(results, "the settings of heddle are known")
    assert (told.state, told.detail.startswith(said), bool(told.hint)) == (State.WARNING, True, True), told
    assert of(results, "shop lets its pods' traffic be captured").state is State.FAILED


async def test_deployments_that_may_not_be_seen_leave_the_settings_of_the_one_asked_for() -> None:
    cluster = FakeCluster()
    await install(cluster, injection={"takeOverIstioInjection": True})
    cluster.hidden.add("deployments")
    (found,) = await find_revisions(cluster, namespace=NAMESPACE, revision="heddle")
    assert found.injection.take_over_istio_injection
    assert "the Deployments in heddle-system cannot be read" in found.trouble


async def test_before_an_installation_there_are_no_settings_to_be_read() -> None:
    cluster = FakeCluster()
    put_namespace(cluster, "shop", {"heddle.io/inject": "enabled"} | RESTRICTED)
    results = await check(cluster, before=True)
    assert not [each for each in results if each.section == "settings"]
    assert of(results, "shop lets its pods' traffic be captured").state is State.FAILED


# The authority


async def two_revisions() -> FakeCluster:
    cluster = FakeCluster()
    await install(cluster)
    await install(cluster, revision="canary")
    fill_in(cluster, OLD)
    fill_in(cluster, OLD, revision="heddle-canary")
    put_secret(cluster, OLD)
    put_namespace(cluster, "shop", {"heddle.io/inject": "enabled"}, OLD)
    put_namespace(cluster, "site", {"istio.io/rev": "heddle-canary"}, OLD)
    return cluster


def identity(results: Sequence[Result]) -> dict[str, State]:
    return {each.check: each.state for each in results if each.section == "identity"}


async def test_one_authority_everywhere_is_green() -> None:
    found = identity(await check(await two_revisions()))
    assert set(found.values()) == {State.OK}, found
    assert {"shop has the mesh's roots", "site has the mesh's roots", SHARED} <= set(found)


async def test_a_revision_that_started_without_the_secret_has_an_authority_of_its_own() -> None:
    cluster = await two_revisions()
    # kubectl delete secret heddle-ca; kubectl rollout restart deploy/heddle: canary leads, and writes the roots.
    put_secret(cluster, NEW)
    fill_in(cluster, NEW)
    for hidden in ((), ("secrets",)):
        cluster.hidden.update(hidden)
        results = await check(cluster)
        shared, shop = of(results, SHARED), of(results, "shop has the mesh's roots")
        assert shared.state is State.FAILED
        assert "heddle (heddle-injector)" in shared.detail
        assert "has other roots than heddle-canary (heddle-injector-heddle-canary)" in shared.detail
        assert shop.state is State.FAILED
        assert "its ConfigMap heddle-root has other roots than heddle (heddle-injector)" in shop.detail
        for each in (shared, shop):
            assert "kubectl rollout restart -n heddle-system deploy/heddle deploy/heddle-canary" in each.hint
            assert "Secret heddle-ca" in each.hint
    fill_in_all(cluster, NEW)
    assert identity(await check(cluster))[SHARED] is State.OK


async def test_a_secret_that_is_another_than_what_runs_is_found() -> None:
    cluster = await two_revisions()
    put_secret(cluster, NEW)
    shared = of(await check(cluster), SHARED)
    assert shared.state is State.FAILED
    assert shared.detail.endswith("has other roots than Secret heddle-ca")


async def test_a_key_that_may_not_be_seen_hides_no_roots() -> None:
    cluster = await two_revisions()
    cluster.hidden.add("secrets")
    put_namespace(cluster, "shop", {"heddle.io/inject": "enabled"}, NEW)
    found = identity(await check(cluster))
    assert found["may be looked at"] is State.WARNING
    assert (found["shop has the mesh's roots"], found["site has the mesh's roots"]) == (State.FAILED, State.OK)


async def test_a_webhook_that_may_not_be_seen_leaves_it_open_whether_the_authority_is_one() -> None:
    cluster = await two_revisions()
    cluster.hidden.add("validatingwebhookconfigurations")
    found = identity(await check(cluster))
    assert SHARED not in found
    assert found["heddle's authority can be seen"] is State.WARNING
    assert found["shop has the mesh's roots"] is State.OK


async def test_a_bundle_may_have_several_roots() -> None:
    cluster = await two_revisions()
    fill_in_all(cluster, OLD + NEW)
    found = identity(await check(cluster))
    # A sidecar that meets a certificate of the other one does not trust it.
    assert (found[SHARED], found["shop has the mesh's roots"]) == (State.OK, State.WARNING)
    put_namespace(cluster, "shop", {"heddle.io/inject": "enabled"}, NEW + OLD)
    assert identity(await check(cluster))["shop has the mesh's roots"] is State.OK


async def test_the_webhooks_of_one_revision_may_differ() -> None:
    cluster = await two_revisions()
    fill_in(cluster, NEW, kinds="injector")
    shared = of(await check(cluster), SHARED)
    assert shared.state is State.FAILED
    assert "heddle (heddle-injector) has other roots than heddle (heddle-validator)" in shared.detail
