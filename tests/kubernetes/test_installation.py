"""The chart in a real cluster: by Helm and by `heddle install`, upgraded, taken away, and what its account may do."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from heddle.cluster.chart import CHART
from heddle.main import main
from tests.cluster.client import CommandFailed
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.test_control_plane import eventually

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

INJECTOR = "mutatingwebhookconfiguration/heddle-injector"
RELEASED = ("clusterrole", "clusterrolebinding", "mutatingwebhookconfiguration", "validatingwebhookconfiguration")
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"

# As an Istio would have it: another's definition, which must be left as it is.
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: virtualservices.networking.istio.io, labels: {app: istio-pilot, release: istio}}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: VirtualService, plural: virtualservices, singular: virtualservice}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users}
spec: {hosts: [users]}
"""


@pytest.fixture
def home(cluster: ControlPlane) -> Iterator[str]:
    """A namespace for an installation. Afterwards nothing of one is left anywhere."""
    name = f"heddle-{secrets.token_hex(4)}"
    cluster.admin.apply(DEFINITION)
    yield name
    cluster.admin.try_helm("uninstall", "heddle", "-n", name)
    for kind in RELEASED:
        cluster.kubectl("delete", kind, "-l", "app.kubernetes.io/part-of=heddle")
    cluster.kubectl("delete", "deployment,role,rolebinding", "-A", "-l", "app.kubernetes.io/part-of=heddle")
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")
    _remove_definitions(cluster)
    cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=DEFINITION)


def _remove_definitions(cluster: ControlPlane) -> None:
    """Returns once they are gone. An API server that could not clean one up tries again after more and more seconds, up
    to minutes; it does so at once if somebody changes the definition meanwhile."""
    ours = ("crd", "-l", "app.kubernetes.io/name=heddle")
    cluster.admin.kubectl("delete", *ours, "--wait=false")
    deadline = time.monotonic() + 180
    while left := cluster.admin.kubectl("get", *ours, "-o", "name"):
        assert time.monotonic() < deadline, f"not removed within 180 s: {left}"
        time.sleep(2)
        cluster.admin.try_kubectl("annotate", "--overwrite", *ours, f"heddle.test/looked={time.monotonic()}")


def heddle(cluster: ControlPlane, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """One command against the cluster: its status, and what it printed."""
    capsys.readouterr()
    status = main([arguments[0], "--kubeconfig", str(cluster.kubeconfig), *arguments[1:]])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def helm_install(cluster: ControlPlane, home: str, *arguments: str) -> str:
    cluster.kubectl("create", "namespace", home)
    cluster.kubectl("label", "namespace", home, RESTRICTED)
    return cluster.helm("install", "heddle", str(CHART), "-n", home, *arguments)


def pem_certificate(life: timedelta = timedelta(days=365)) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
    builder = builder.serial_number(7).not_valid_before(now - timedelta(days=2)).not_valid_after(now + life)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def fill_in(cluster: ControlPlane, home: str, bundle: bytes) -> None:
    """As the control plane does: its own fields, with its own rights, by server-side apply."""
    account = cluster.service_account(home, "heddle")
    for kind, name in (
        ("MutatingWebhookConfiguration", "heddle-injector"),
        ("ValidatingWebhookConfiguration", "heddle-validator"),
    ):
        hooks = cluster.admin.get(kind.lower(), name)["webhooks"]
        mine = [
            {"name": hook["name"], "clientConfig": {"caBundle": base64.b64encode(bundle).decode()}} for hook in hooks
        ]
        # What an applier names of a list's entry, the API server asks to be whole enough to be valid.
        for own, hook in zip(mine, hooks, strict=True):
            own |= {"admissionReviewVersions": hook["admissionReviewVersions"], "sideEffects": hook["sideEffects"]}
        patch = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "webhooks": mine,
        }
        text = json.dumps(patch)
        account.kubectl("apply", "--server-side", "--field-manager=heddle", "-f", "-", stdin=text)


def bundles(cluster: ControlPlane) -> set[bytes]:
    hooks = cluster.admin.get("mutatingwebhookconfiguration", "heddle-injector")["webhooks"]
    return {base64.b64decode(hook["clientConfig"].get("caBundle", "")) for hook in hooks}


def make_authority(cluster: ControlPlane, home: str) -> None:
    account = cluster.service_account(home, "heddle")
    account.kubectl("create", "secret", "generic", "heddle-ca", "-n", home, "--from-literal=ca.key=k")


def become_ready(cluster: ControlPlane, home: str) -> None:
    """As kubelets would have it."""
    generation = cluster.admin.get("deployment", "heddle", "-n", home)["metadata"]["generation"]
    status = {
        "observedGeneration": generation,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
    }
    patch = json.dumps({"status": status})
    cluster.kubectl("patch", "deployment", "heddle", "-n", home, "--subresource=status", "--type=merge", "-p", patch)


def test_an_upgrade_by_helm_keeps_what_the_control_plane_wrote(cluster: ControlPlane, home: str) -> None:
    notes = helm_install(cluster, home)
    assert "heddle check -n" in notes
    assert "enforce=restricted" in notes
    root = pem_certificate()
    fill_in(cluster, home, root)
    make_authority(cluster, home)
    cluster.helm("upgrade", "heddle", str(CHART), "-n", home, "--set", "replicas=3,injection.timeoutSeconds=7")
    assert bundles(cluster) == {root}
    hooks = cluster.admin.get("mutatingwebhookconfiguration", "heddle-injector")["webhooks"]
    assert {hook["timeoutSeconds"] for hook in hooks} == {7}
    assert cluster.admin.get("deployment", "heddle", "-n", home)["spec"]["replicas"] == 3
    assert "ca.key" in cluster.admin.get("secret", "heddle-ca", "-n", home)["data"]


def test_helm_takes_away_what_it_brought_and_nothing_of_the_users(
    cluster: ControlPlane, home: str, namespace: str
) -> None:
    helm_install(cluster, home)
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=VIRTUAL_SERVICE)
    make_authority(cluster, home)
    cluster.helm("uninstall", "heddle", "-n", home, "--wait")
    for kind in (*RELEASED, "deployment", "service", "role"):
        left = cluster.admin.get(kind, "-A", "-l", "app.kubernetes.io/part-of=heddle")["items"]
        assert left == [], kind
    assert cluster.admin.get("virtualservice", "users", "-n", namespace)["spec"] == {"hosts": ["users"]}
    definition = cluster.admin.get("crd", "virtualservices.networking.istio.io")
    assert definition["metadata"]["labels"] == {"app": "istio-pilot", "release": "istio"}
    assert cluster.admin.get("secret", "heddle-ca", "-n", home)["data"]


def test_pod_security_restricted_admits_the_control_plane(cluster: ControlPlane, home: str) -> None:
    helm_install(cluster, home, "--set", "image.pullPolicy=Always")
    deployment = cluster.admin.get("deployment", "heddle", "-n", home)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "by-hand", "labels": deployment["spec"]["template"]["metadata"]["labels"]},
        "spec": deployment["spec"]["template"]["spec"],
    }
    done = cluster.admin.try_kubectl("apply", "-n", home, "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert (done.returncode, done.stderr) == (0, "")
    # The same, as an administrator would rather not have it: the admission is not asleep.
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        cluster.kubectl("apply", "-n", home, "--dry-run=server", "-f", "-", stdin=json.dumps(pod))

    def pods() -> list[Any] | None:
        found: list[Any] = cluster.admin.get("pods", "-n", home)["items"]
        return found if len(found) == 2 else None

    made = eventually(pods)
    assert {one["spec"]["priorityClassName"] for one in made} == {"system-cluster-critical"}


MAY = (
    "list pods -A",
    "watch namespaces",
    "list nodes",
    "watch endpointslices.discovery.k8s.io -A",
    "get customresourcedefinitions.apiextensions.k8s.io",
    "watch virtualservices.networking.istio.io -A",
    "watch gateways.networking.istio.io -A",
    "watch sidecars.networking.istio.io -A",
    "list authorizationpolicies.security.istio.io -A",
    "patch virtualservices.networking.istio.io --subresource=status -n shop",
    "create tokenreviews.authentication.k8s.io",
    "create configmaps -n shop",
    "patch configmaps/heddle-root -n shop",
    "watch configmaps/heddle-root",
    "get configmaps/istio -n {home}",
    "get secrets/heddle-ca -n {home}",
    "update secrets/heddle-ca -n {home}",
    "create secrets -n {home}",
    "update leases.coordination.k8s.io/heddle-leader -n {home}",
    "create leases.coordination.k8s.io -n {home}",
    "patch mutatingwebhookconfigurations.admissionregistration.k8s.io/heddle-injector",
    "patch validatingwebhookconfigurations.admissionregistration.k8s.io/heddle-validator",
    "watch secrets -n {edge}",
)
MAY_NOT = (
    "get secrets -n shop",
    "list secrets -A",
    "list secrets -n {home}",
    "get secrets/another -n {home}",
    "update secrets/heddle-ca -n {edge}",
    "create secrets -n {edge}",
    "delete secrets/heddle-ca -n {home}",
    "create pods -n shop",
    "patch pods -n shop",
    "delete pods -n {home}",
    "get pods --subresource=log -n shop",
    "create pods --subresource=exec -n shop",
    "patch virtualservices.networking.istio.io -n shop",
    "delete virtualservices.networking.istio.io -n shop",
    "list configmaps -A",
    "get configmaps/another -n shop",
    "delete configmaps/heddle-root -n shop",
    "patch namespaces",
    "patch mutatingwebhookconfigurations.admissionregistration.k8s.io/another",
    "create mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "list mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "patch customresourcedefinitions.apiextensions.k8s.io",
    "create serviceaccounts --subresource=token -n shop",
    "create serviceaccounts --subresource=token -n {home}",
    "get pods --subresource=proxy -n {home}",
    "update leases.coordination.k8s.io/another -n {home}",
    "escalate clusterroles.rbac.authorization.k8s.io",
    "impersonate users",
)


def access_review(asked: str) -> dict[str, Any]:
    """What `kubectl auth can-i` asks, also of kinds that are not there."""
    verb, what, *options = asked.split()
    resource, _, name = what.partition("/")
    plural, _, group = resource.partition(".")
    attributes = {"verb": verb, "resource": plural, "group": group, "name": name}
    for option in options:
        if option.startswith("--subresource="):
            attributes["subresource"] = option.partition("=")[2]
    if "-n" in options:
        attributes["namespace"] = options[options.index("-n") + 1]
    spec = {"resourceAttributes": attributes}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}


def test_the_account_may_do_what_it_must_and_no_more(cluster: ControlPlane, home: str, namespace: str) -> None:
    helm_install(cluster, home, "--set", f"gatewaySecretNamespaces={{{namespace}}}")
    cluster.kubectl("create", "secret", "generic", "tls", "-n", namespace, "--from-literal=a=b")
    cluster.kubectl("create", "secret", "generic", "other", "-n", home, "--from-literal=a=b")
    account = cluster.service_account(home, "heddle")
    asked = (*MAY, *MAY_NOT)
    reviews = [access_review(one.format(home=home, edge=namespace)) for one in asked]
    # One command for all: it prints one object after the other.
    printed = account.kubectl("create", "-o", "json", "-f", "-", stdin="\n---\n".join(map(json.dumps, reviews)))
    said = [json.loads(one)["status"]["allowed"] for one in re.findall(r"^\{.*?^\}", printed, re.MULTILINE | re.DOTALL)]
    answers = dict(zip(asked, said, strict=True))
    assert [asked for asked in MAY if not answers[asked]] == []
    assert [asked for asked in MAY_NOT if answers[asked]] == []
    # Not only said, but so.
    assert account.get("secrets", "-n", namespace)["items"]
    with pytest.raises(CommandFailed, match="forbidden"):
        account.get("secret", "other", "-n", home)
    # A list that is narrowed to a name is allowed by that name.
    assert "istio" not in account.kubectl("get", "configmaps", "-n", home, "--field-selector=metadata.name=istio")


def test_two_revisions_stand_side_by_side(cluster: ControlPlane, home: str, capsys: pytest.CaptureFixture[str]) -> None:
    for revision in ("", "canary"):
        status, printed, said = heddle(cluster, capsys, "install", "-n", home, "--revision", revision, "--apply")
        assert status == 0, said
    assert "deployment.apps/heddle-canary" in printed
    hooks = cluster.admin.get("mutatingwebhookconfigurations", "-l", "app.kubernetes.io/part-of=heddle")["items"]
    assert {hook["metadata"]["name"] for hook in hooks} == {"heddle-injector", "heddle-injector-heddle-canary"}
    status, _, said = heddle(cluster, capsys, "uninstall", "-n", home, "--purge", "--apply")
    assert (status, "heddle-canary" in said) == (2, True)
    status, _, said = heddle(cluster, capsys, "uninstall", "-n", home, "--apply")
    assert status == 0, said
    left = cluster.admin.get("deployments", "-n", home)["items"]
    assert [one["metadata"]["name"] for one in left] == ["heddle-canary"]


def test_install_applies_twice_and_prunes_and_keeps_what_is_not_its_own(
    cluster: ControlPlane, home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, said = heddle(cluster, capsys, "install", "-n", home, "--apply")
    assert status == 0, said
    assert f"namespace/{home} created" in printed
    assert "customresourcedefinition.apiextensions.k8s.io/virtualservices" not in printed or "left as it is" in printed
    labels = cluster.admin.get("namespace", home)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    root = pem_certificate()
    fill_in(cluster, home, root)
    make_authority(cluster, home)
    status, printed, said = heddle(cluster, capsys, "install", "-n", home, "--apply")
    lines = [line for line in printed.splitlines() if line.startswith(("service/", "mutatingwebhook", "clusterrole"))]
    assert lines
    assert all(line.endswith(" unchanged") for line in lines), printed
    status, printed, said = heddle(cluster, capsys, "install", "-n", home, "--apply", "--set", "replicas=1")
    assert status == 0, said
    assert f"poddisruptionbudget.policy/heddle -n {home} deleted" in printed
    assert f"deployment.apps/heddle -n {home} configured" in printed
    assert bundles(cluster) == {root}
    assert cluster.admin.get("secret", "heddle-ca", "-n", home)["data"]
    # Before its pods are there it does not work, and says what is missing.
    status, printed, said = heddle(cluster, capsys, "install", "-n", home, "--apply", "--wait", "--timeout", "1s")
    assert (status, "replicas are ready" in said) == (1, True), (printed, said)


def test_install_takes_nothing_from_others(
    cluster: ControlPlane, home: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.kubectl("create", "configmap", "istio", "-n", namespace, "--from-literal=mesh=ours")
    values = f"meshConfig.namespace={namespace},meshConfig.mesh.trustDomain=a.b"
    status, _, said = heddle(cluster, capsys, "install", "-n", home, "--apply", "--set", values)
    assert (status, "exists and is not Heddle's" in said) == (2, True), said
    assert cluster.admin.try_kubectl("get", "namespace", home).returncode != 0
    assert cluster.admin.get("configmap", "istio", "-n", namespace)["data"] == {"mesh": "ours"}
    helm_install(cluster, home)
    for command in (("install", "-n", home, "--apply"), ("uninstall", "-n", home, "--apply")):
        status, _, said = heddle(cluster, capsys, *command)
        assert (status, "installed by Helm" in said) == (2, True), said
    assert cluster.admin.get("deployment", "heddle", "-n", home)["metadata"]["labels"]["heddle.io/revision"] == "heddle"


def test_a_value_that_names_no_namespace_changes_nothing(
    cluster: ControlPlane, home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ("-n", home, "--apply", "--set", "gatewaySecretNamespaces={nowhere}")
    status, printed, said = heddle(cluster, capsys, "install", *values)
    assert (status, printed) == (2, ""), printed
    assert "nowhere, which is named by the value gatewaySecretNamespaces, does not exist" in said
    assert cluster.admin.try_kubectl("get", "namespace", home).returncode != 0


def test_uninstall_prints_then_deletes_then_purges(
    cluster: ControlPlane, home: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    heddle(cluster, capsys, "install", "-n", home, "--apply")
    make_authority(cluster, home)
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "heddle-leader", "namespace": home},
        "spec": {"holderIdentity": "heddle-0_ab", "leaseDurationSeconds": 3600},
    }
    cluster.admin.apply(json.dumps(lease))
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=VIRTUAL_SERVICE)
    status, printed, said = heddle(cluster, capsys, "uninstall", "-n", home)
    assert status == 0
    named = [(item["kind"], item["metadata"]["name"]) for item in yaml.safe_load_all(printed)]
    assert named[0] == ("MutatingWebhookConfiguration", "heddle-injector")
    assert ("Deployment", "heddle") in named
    assert named[-1] == ("Lease", "heddle-leader")
    assert not {"Secret", "Namespace", "CustomResourceDefinition", "VirtualService"} & {kind for kind, _ in named}
    assert cluster.admin.get("deployment", "heddle", "-n", home)
    # What is printed is what kubectl takes.
    cluster.kubectl("delete", "--dry-run=server", "-f", "-", stdin=printed)
    status, printed, said = heddle(cluster, capsys, "uninstall", "-n", home, "--apply")
    assert (status, "kept: secret/heddle-ca" in said) == (0, True), said
    assert len(printed.splitlines()) == len(named)
    assert heddle(cluster, capsys, "uninstall", "-n", home)[0] == 1
    assert cluster.admin.get("secret", "heddle-ca", "-n", home)["data"]
    assert cluster.admin.try_kubectl("get", "lease", "heddle-leader", "-n", home).returncode != 0
    assert cluster.admin.get("virtualservice", "users", "-n", namespace)
    status, _, _ = heddle(cluster, capsys, "uninstall", "-n", home, "--purge", "--apply")
    assert status == 0
    assert cluster.admin.try_kubectl("get", "secret", "heddle-ca", "-n", home).returncode != 0
    assert cluster.admin.get("virtualservice", "users", "-n", namespace)
    assert cluster.admin.get("namespace", home)


def test_what_install_prints_kubectl_applies(
    cluster: ControlPlane, home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("replicas: 4\nmeshConfig:\n  mesh: {accessLogFile: /dev/stdout}\n")
    assert main(["install", "-n", home, "-f", str(values), "--set", "logging.json=false"]) == 0
    cluster.kubectl("apply", "-f", "-", stdin=capsys.readouterr().out)
    assert cluster.admin.get("deployment", "heddle", "-n", home)["spec"]["replicas"] == 4
    text = cluster.admin.get("configmap", "istio", "-n", home)["data"]["mesh"]
    assert yaml.safe_load(text) == {"accessLogFile": "/dev/stdout"}


def test_turning_autoscaling_on_keeps_the_replicas(
    cluster: ControlPlane, home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(*assignments: str) -> str:
        values = [part for one in assignments for part in ("--set", one)]
        status, _, said = heddle(cluster, capsys, "install", "-n", home, "--apply", *values)
        assert status == 0, said
        return cluster.kubectl("get", "deploy", "heddle", "-n", home, "-o", "jsonpath={.spec.replicas}")

    assert install("replicas=4") == "4"
    assert install("autoscaling.enabled=true") == "4"
    # As an autoscaler does.
    cluster.kubectl("scale", "deploy", "heddle", "-n", home, "--replicas=3")
    assert install("autoscaling.enabled=true") == "3"
    assert install("replicas=2") == "2"
    assert install("autoscaling.enabled=true") == "2"


def test_what_the_api_server_refuses_is_named_before_anything_is_written(
    cluster: ControlPlane, home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, said = heddle(cluster, capsys, "install", "-n", home, "--apply")
    assert status == 0, said
    before = cluster.kubectl("get", "deploy,cm", "-n", home, "-o", "jsonpath={.items[*].metadata.resourceVersion}")
    status, _, said = heddle(
        cluster,
        capsys,
        "install",
        "-n",
        home,
        "--apply",
        "--set",
        "podLabels.a=no label",
        "--set",
        "logging.verbose=true",
    )
    assert status == 2
    assert f"deployment.apps/heddle -n {home} is refused by the API server" in said
    assert (
        cluster.kubectl("get", "deploy,cm", "-n", home, "-o", "jsonpath={.items[*].metadata.resourceVersion}") == before
    )
