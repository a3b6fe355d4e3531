"""`heddle check` against a real API server: green when it works, and a red line with a hint for what does not."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heddle.cluster.chart import load_chart
from heddle.main import main
from tests.cluster.control_plane import CONTROLLERS, ControlPlane
from tests.kubernetes.test_control_plane import eventually
from tests.kubernetes.test_installation import become_ready, fill_in, heddle, home, make_authority, pem_certificate

__all__ = ["home"]

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]


def states(cluster: ControlPlane, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status, printed, said = heddle(cluster, capsys, "check", *arguments, "-o", "json")
    assert status in (0, 1), said
    return status, {one["check"]: one for one in json.loads(printed)["checks"]}


def hold_lease(cluster: ControlPlane, home: str, renewed: datetime) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "heddle-leader", "namespace": home},
        "spec": {
            "holderIdentity": "heddle-0",
            "leaseDurationSeconds": 3600,
            "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }
    cluster.admin.apply(json.dumps(lease))


def give_roots(cluster: ControlPlane, namespace: str, root: bytes) -> None:
    made = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "heddle-root", "namespace": namespace},
        "data": {"root.pem": root.decode()},
    }
    cluster.admin.apply(json.dumps(made))


def test_before_an_installation_the_cluster_will_do(
    cluster: ControlPlane, home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = states(cluster, capsys, "--pre", "-n", home)
    assert status == 0, found
    assert found["its version will do"]["detail"].startswith("v1.")
    assert found["virtualservices.networking.istio.io is known"]["detail"] == "v1; not Heddle's, and left as it is"
    assert found["may write deployments.apps"]["state"] == "ok"


def test_who_may_not_install_is_told(cluster: ControlPlane, home: str, namespace: str, capsys: Any) -> None:
    account = cluster.service_account(namespace, "default")
    capsys.readouterr()
    assert main(["check", "--pre", "--kubeconfig", str(account.kubeconfig), "-n", home, "-o", "json"]) == 1
    found = {one["check"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    missing = f"may not get, create, patch, delete in {home}; list in all namespaces"
    assert found["may write deployments.apps"]["detail"] == missing
    assert found["may grant clusterrole.rbac.authorization.k8s.io/heddle"]["state"] == "failed"
    # What cannot be looked at is neither good nor bad.
    assert found["may be looked at"]["state"] == "warning"


WRITTEN = (
    ("", "namespaces configmaps services serviceaccounts"),
    ("apps", "deployments"),
    ("policy", "poddisruptionbudgets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("networking.k8s.io", "networkpolicies"),
    ("rbac.authorization.k8s.io", "roles rolebindings clusterroles clusterrolebindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
)


def test_green_is_who_may_install_and_red_who_may_not(
    cluster: ControlPlane, home: str, namespace: str, capsys: Any
) -> None:
    """By what an API server does, and not only by what it says."""
    objects = load_chart().render({}, namespace=home).objects
    granted = [rule for item in objects for rule in item.get("rules", ()) if item["kind"] in ("Role", "ClusterRole")]
    verbs = ["get", "list", "create", "patch", "delete"]
    writing = [{"apiGroups": [group], "resources": kinds.split(), "verbs": verbs} for group, kinds in WRITTEN]
    account = cluster.service_account(namespace, "default")
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": namespace}}
    subject = f"--serviceaccount={namespace}:default"
    cluster.kubectl("create", "clusterrole", namespace, "--verb=get", "--resource=pods")
    cluster.kubectl("create", "clusterrolebinding", namespace, f"--clusterrole={namespace}", subject)

    def ask(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*arguments, "--kubeconfig", str(account.kubeconfig), "-n", home])
        printed, said = capsys.readouterr()
        return status, printed, said

    try:
        less = [rule for rule in granted if rule.get("resources") != ["tokenreviews"]]
        cluster.kubectl("replace", "-f", "-", stdin=json.dumps({**role, "rules": [*writing, *less]}))
        # What the API server knows of rights is a little behind.
        eventually(lambda: ", 1 failed" in ask("check", "--pre")[1] or None)
        status, printed, _ = ask("check", "--pre")
        assert status == 1
        missing = "may not create tokenreviews.authentication.k8s.io"
        assert f"× may grant clusterrole.rbac.authorization.k8s.io/heddle: {missing}\n" in printed
        status, printed, said = ask("install", "--apply")
        assert (status, printed) == (2, "")
        assert "is attempting to grant RBAC permissions not currently held" in said
        assert "`heddle check --pre`" in said
        cluster.kubectl("replace", "-f", "-", stdin=json.dumps({**role, "rules": [*writing, *granted]}))
        eventually(lambda: ask("check", "--pre")[0] == 0 or None)
        status, printed, said = ask("install", "--apply")
        assert status == 0, said
        assert "clusterrole.rbac.authorization.k8s.io/heddle created" in printed
    finally:
        cluster.kubectl("delete", "clusterrole,clusterrolebinding", namespace)


def test_an_installation_turns_green_step_by_step_and_red_when_something_breaks(
    cluster: ControlPlane, home: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    heddle(cluster, capsys, "install", "-n", home, "--apply")
    cluster.kubectl("label", "namespace", namespace, "heddle.io/inject=enabled")
    status, found = states(cluster, capsys, "-n", home)
    assert status == 1
    red = {check for check, one in found.items() if one["state"] == "failed"}
    assert {"heddle runs", "heddle-injector is trusted", "one replica writes", "the authority's key is kept"} <= red
    assert f"{namespace} has the mesh's roots" in red
    assert all(found[check]["hint"] for check in red)

    # Who looks after Deployments would take back what the test says of this one.
    os.kill(cluster.pid(CONTROLLERS), signal.SIGSTOP)
    try:
        root = pem_certificate()
        become_ready(cluster, home)
        fill_in(cluster, home, root)
        make_authority(cluster, home)
        give_roots(cluster, namespace, root)
        hold_lease(cluster, home, datetime.now(UTC))
        status, found = states(cluster, capsys, "-n", home)
        # The kinds that the test's cluster lacks are those of the other definitions.
        red = {check for check, one in found.items() if one["state"] == "failed" and one["section"] != "kinds"}
        assert red == set(), found
        assert found["heddle runs"]["detail"] == "2 of 2 replicas are ready"
        assert found[f"{namespace} has the mesh's roots"]["detail"] == "364 days left"

        hold_lease(cluster, home, datetime.now(UTC) - timedelta(hours=2))
        ending = pem_certificate(timedelta(days=10))
        fill_in(cluster, home, ending)
        give_roots(cluster, namespace, ending)
        cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline")
        cluster.kubectl("label", "namespace", home, "pod-security.kubernetes.io/enforce=baseline", "--overwrite")
        status, found = states(cluster, capsys, "-n", home)
        # Roots of another authority than the revision's.
        fill_in(cluster, home, pem_certificate(timedelta(days=-1)))
        _, changed = states(cluster, capsys, "-n", home)
    finally:
        os.kill(cluster.pid(CONTROLLERS), signal.SIGCONT)
    assert status == 1
    assert changed["heddle-injector is trusted"]["detail"] == "the certificates are expired"
    assert changed[f"{namespace} has the mesh's roots"]["state"] == "failed"
    assert found["one replica writes"]["detail"].startswith("heddle-0 renewed the Lease 7")
    roots = found[f"{namespace} has the mesh's roots"]
    assert (roots["state"], roots["detail"]) == ("warning", "the certificates end in 9 days")
    assert found[f"{namespace} lets its pods' traffic be captured"]["state"] == "failed"
    assert found[f"{home} enforces restricted"]["state"] == "warning"


def test_two_default_revisions_are_found(cluster: ControlPlane, home: str, capsys: pytest.CaptureFixture[str]) -> None:
    heddle(cluster, capsys, "install", "-n", home, "--apply")
    both = ("--revision", "next", "--set", "isDefault=true")
    heddle(cluster, capsys, "install", "-n", home, "--apply", *both)
    _, found = states(cluster, capsys, "-n", home)
    check = found["one revision answers to heddle.io/inject"]
    assert (check["state"], check["detail"]) == ("failed", "heddle-injector, heddle-injector-heddle-next")


def test_a_cluster_that_does_not_answer_is_an_error(
    cluster: ControlPlane, capsys: pytest.CaptureFixture[str], namespace: str
) -> None:
    cluster.stop_api_server()
    try:
        status, printed, said = heddle(cluster, capsys, "check")
    finally:
        cluster.start_api_server()
    assert (status, printed, "the cluster cannot be checked" in said) == (2, "", True)
