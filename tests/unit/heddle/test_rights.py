"""The rights that an installation takes: which they are, and that those who lack one are told so beforehand."""

from __future__ import annotations

from typing import Any, Final

import pytest

from heddle.cluster.check_results import Result, State
from heddle.cluster.rights_checks import check_rights
from heddle.main import main
from tests.unit.heddle.cluster_fake import FakeCluster, Json
from tests.unit.heddle.our_chart import our_chart, render_ours

NAMESPACE: Final = "heddle-system"
ROLE: Final = "may grant clusterrole.rbac.authorization.k8s.io/heddle"
RBAC: Final = "rbac.authorization.k8s.io"
DEFINITION: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualservices.networking.istio.io"


def may(verbs: str, resources: str, group: str = "*", **more: Any) -> Json:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


WRITER: Final = may("get list create patch delete", "*")
READER: Final = [may("watch", "*"), {"verbs": ["get"], "nonResourceURLs": ["/.well-known/openid-configuration"]}]
HOLDER: Final = [
    *READER,
    {"verbs": ["get"], "nonResourceURLs": ["/openid/v1/jwks"]},
    may("update", "configmaps secrets leases"),
]


async def check(cluster: FakeCluster, **values: Any) -> dict[str, Result]:
    rendered = render_ours({"namespace": {"create": True}, **values}, namespace=NAMESPACE)
    found = await check_rights(cluster, rendered.objects, our_chart().definitions, namespace=NAMESPACE)
    assert len({result.check for result in found}) == len(found)
    assert all(result.hint for result in found if result.state is not State.OK)
    return {result.check: result for result in found}


def red(found: dict[str, Result]) -> dict[str, str]:
    return {name: result.detail for name, result in found.items() if result.state is not State.OK}


async def test_an_administrator_may_and_whoever_holds_all_that_is_granted() -> None:
    cluster = FakeCluster()
    assert red(await check(cluster, gatewaySecretNamespaces=["edge"])) == {}
    cluster.rules = [WRITER, *HOLDER]
    assert red(await check(cluster, gatewaySecretNamespaces=["edge"])) == {}


@pytest.mark.parametrize("verb", ["get", "list", "create", "patch", "delete"])
async def test_each_verb_that_lacks_is_named(verb: str) -> None:
    cluster = FakeCluster()
    cluster.rules = [may(" ".join(set(WRITER["verbs"]) - {verb}), "*"), *HOLDER, may("escalate bind", "*")]
    place = "all namespaces" if verb == "list" else NAMESPACE
    found = red(await check(cluster))
    assert found["may write deployments.apps"] == f"may not {verb} in {place}"
    assert found["may write clusterroles.rbac.authorization.k8s.io"] == f"may not {verb}"
    # No HorizontalPodAutoscaler is to be made; one that is there would be looked for, and deleted.
    if verb in ("list", "delete"):
        assert found["may look at horizontalpodautoscalers.autoscaling"] == f"may not {verb} in {place}"


async def test_what_is_waited_for_is_looked_at() -> None:
    cluster = FakeCluster()
    cluster.rules = [
        *(may("*", "*", one) for one in ("apps", "policy", "autoscaling", "networking.k8s.io", RBAC)),
        may("*", "*", "admissionregistration.k8s.io"),
        may("*", "customresourcedefinitions"),
        may("*", "services configmaps serviceaccounts secrets namespaces"),
    ]
    found = red(await check(cluster))
    assert {name: detail for name, detail in found.items() if "grant" not in name} == {
        "may look at pods": f"may not list, get in {NAMESPACE}",
        "may look at leases.coordination.k8s.io": f"may not get in {NAMESPACE}",
    }


async def test_rights_in_one_namespace_are_none_to_what_is_in_none() -> None:
    cluster = FakeCluster()
    cluster.rules = [may("*", "*", namespace=NAMESPACE)]
    found = red(await check(cluster, gatewaySecretNamespaces=["edge"]))
    assert found["may write clusterroles.rbac.authorization.k8s.io"] == "may not get, create, patch, delete, list"
    missing = "may not get, create, patch, delete in edge; list in all namespaces"
    assert found["may write roles.rbac.authorization.k8s.io"] == missing
    assert f"may grant role.{RBAC}/heddle -n {NAMESPACE}" not in found
    assert found[f"may grant role.{RBAC}/heddle-gateway-secrets -n edge"] == "may not get, list, watch secrets in edge"


async def test_nobody_grants_what_they_do_not_hold() -> None:
    cluster = FakeCluster()
    cluster.rules = [WRITER, *READER]
    found = await check(cluster)
    missing = "may not get /openid/v1/jwks; update configmaps heddle-root"
    assert red(found) == {
        ROLE: missing,
        f"may grant role.{RBAC}/heddle -n {NAMESPACE}": (
            f"may not update secrets heddle-ca, leases.coordination.k8s.io heddle-leader in {NAMESPACE}"
        ),
    }
    assert f"or escalate, bind clusterroles.{RBAC} heddle." in found[ROLE].hint
    # One of the two is not enough: the role would be made, and not bound.
    cluster.rules.append(may("escalate", "roles clusterroles", RBAC))
    found = await check(cluster)
    assert found[ROLE].detail == missing
    assert f"or bind clusterroles.{RBAC} heddle." in found[ROLE].hint
    cluster.rules.append(may("bind", "roles clusterroles", RBAC, resourceNames=["heddle"]))
    found = await check(cluster)
    assert red(found) == {}
    assert found[ROLE].detail == "by escalate and bind"


async def test_what_is_others_need_only_be_looked_at() -> None:
    cluster = FakeCluster()
    cluster.put(f"/api/v1/namespaces/{NAMESPACE}", {})
    for item in our_chart().definitions:
        cluster.put(f"{DEFINITION.rpartition('/')[0]}/{item['metadata']['name']}", {})
    written = ("apps", "autoscaling", "policy", "networking.k8s.io", RBAC, "admissionregistration.k8s.io")
    cluster.rules = [
        may("get list", "*"),
        *(may("*", "*", group) for group in written),
        may("*", "services configmaps serviceaccounts"),
    ]
    assert {name for name in red(await check(cluster)) if "grant" not in name} == set()
    cluster.objects.clear()
    assert red(await check(cluster))["may write namespaces"] == "may not create, patch"


def test_values_are_for_what_is_to_come(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--set", "replicas=3"]) == 2
    assert "add --pre" in capsys.readouterr().err
    assert main(["check", "--pre", "--set", "replica=3"]) == 2
    assert "replicas is" in capsys.readouterr().err
