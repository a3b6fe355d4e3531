"""The webhooks, asked by a real API server: what kubectl does and says, and what the pods are then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.client import CommandFailed
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.source_manifests import definition
from tests.kubernetes.test_control_plane import eventually
from tests.kubernetes.webhook_process import WebhookProcess, configure, rights, unconfigure

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

ENFORCE = "pod-security.kubernetes.io/enforce"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {traffic.sidecar.istio.io/excludeInboundPorts: "9000"}}
spec:
  containers:
  - name: app
    image: example/app
    ports: [{containerPort: 8080, name: http}]
    readinessProbe: {httpGet: {path: /ready, port: http}}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example/web}]}
"""
GATEWAY = """
apiVersion: v1
kind: Pod
metadata:
  name: gateway
  annotations: {inject.istio.io/templates: gateway}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers: [{name: istio-proxy, image: auto}]
"""
ROUTE = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{route: [{destination: {host: web}, weight: WEIGHT}]}]}
"""
ROUTES = "virtualservices.networking.istio.io"
RULES = "destinationrules.networking.istio.io"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
"""
RULE = """
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
"""


@pytest.fixture(scope="module")
def heddle(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebhookProcess]:
    """Heddle with the rights of a service account, known to the API server."""
    cluster.admin.apply(rights())
    cluster.admin.apply(definition("VirtualService", "virtualservices"))
    cluster.admin.apply(definition("DestinationRule", "destinationrules"))
    for kind in (ROUTES, RULES):
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind}", "--timeout=60s")
    process = WebhookProcess(cluster.service_account("heddle-system", "heddle"), tmp_path_factory.mktemp("heddle"))
    try:
        process.start()
        configure(cluster, process.port)
        yield process
    finally:
        process.stop()
        unconfigure(cluster)
        cluster.kubectl("delete", "crd", ROUTES, RULES)


@pytest.fixture
def shop(cluster: ControlPlane, namespace: str, heddle: WebhookProcess) -> str:
    """A namespace whose pods get sidecars; Heddle is ready and known."""
    if heddle.ready() != 200:
        heddle.start()
    configure(cluster, heddle.port)
    eventually(lambda: all(bundles(cluster)) or None)
    cluster.kubectl("label", "namespace", namespace, "heddle.io/inject=enabled")
    return namespace


def bundles(cluster: ControlPlane) -> list[str]:
    items = [
        cluster.admin.get("mutatingwebhookconfiguration", "heddle-injector"),
        cluster.admin.get("validatingwebhookconfiguration", "heddle-validator"),
    ]
    return [webhook["clientConfig"].get("caBundle", "") for item in items for webhook in item["webhooks"]]


def pod_text(name: str, *, labels: str = "", annotations: str = "", spec: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{{labels}}}, annotations: {{{annotations}}}}}
spec: {{{spec}containers: [{{name: app, image: example/app}}]}}
"""


def create(cluster: ControlPlane, namespace: str, text: str) -> tuple[int, str]:
    """The status of `kubectl create` and what it said to the user."""
    done = cluster.admin.try_kubectl("create", "-n", namespace, "-f", "-", stdin=text)
    return done.returncode, done.stderr


def created(cluster: ControlPlane, namespace: str, text: str) -> dict[str, Any]:
    """A pod as the API server keeps it. A namespace's label reaches the API server's own selectors a moment later."""
    return dict(json.loads(cluster.kubectl("create", "-n", namespace, "-o", "json", "-f", "-", stdin=text)))


def sidecars(pod: dict[str, Any]) -> list[str]:
    return [container["name"] for container in pod["spec"].get("initContainers", ())]


def until_injected(cluster: ControlPlane, namespace: str) -> None:
    """The API server's selectors know the namespace's label."""

    def look() -> bool | None:
        options = ("create", "-n", namespace, "--dry-run=server", "-o", "json", "-f", "-")
        return bool(sidecars(json.loads(cluster.kubectl(*options, stdin=pod_text("probe"))))) or None

    eventually(look)


def statically(text: str, namespace: str, folder: Path) -> str:
    environment = {**os.environ, "HEDDLE_STATE": str(folder)}
    command = [sys.executable, "-m", "heddle.main", "inject", "-n", namespace, "-f", "-"]
    return subprocess.run(
        command, input=text, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout


def without_token(pod: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A pod's spec and annotations without its token's volume, whose name is drawn by lot; and which of our containers
    have the token.

    And without the record of what it was, which in one case has the API server's defaults.
    """
    annotations = {name: text for name, text in pod["metadata"]["annotations"].items() if name != "heddle.io/injected"}
    text = json.dumps({"spec": pod["spec"], "annotations": annotations}, sort_keys=True)
    for volume in pod["spec"]["volumes"]:
        if volume["name"].startswith("kube-api-access-"):
            text = text.replace(volume["name"], "kube-api-access")
    found: dict[str, Any] = json.loads(text)
    # Whoever adds one adds it at the end.
    found["spec"]["volumes"].sort(key=lambda volume: str(volume["name"]))
    holders = []
    for container in found["spec"]["initContainers"]:
        mounts = container.pop("volumeMounts", [])
        container["volumeMounts"] = [mount for mount in mounts if mount["name"] != "kube-api-access"]
        if mounts != container["volumeMounts"]:
            holders.append(container["name"])
    return found, holders


def test_a_pod_is_what_heddle_inject_makes_of_it(cluster: ControlPlane, shop: str, tmp_path: Path) -> None:
    until_injected(cluster, shop)
    by_webhook = created(cluster, shop, POD)
    assert sidecars(by_webhook) == ["istio-init", "istio-proxy"]
    # Nobody asks the webhook about pods of a namespace that says nothing.
    cluster.kubectl("label", "namespace", shop, "heddle.io/inject=disabled", "--overwrite")
    cluster.kubectl("delete", "pod", "web", "-n", shop, "--force", "--grace-period=0")

    def look() -> bool | None:
        options = ("create", "-n", shop, "--dry-run=server", "-o", "json", "-f", "-")
        return not sidecars(json.loads(cluster.kubectl(*options, stdin=pod_text("probe")))) or None

    eventually(look)
    by_hand = created(cluster, shop, statically(POD, shop, tmp_path))
    webhook_made, token_holders = without_token(by_webhook)
    hand_made, _ = without_token(by_hand)
    assert webhook_made["annotations"] == hand_made["annotations"]
    assert webhook_made["spec"] == hand_made["spec"]
    # The API server gives its token to every container; asked again after that, the webhook takes it from ours.
    assert token_holders == []


def test_who_is_asked_for_gets_one(cluster: ControlPlane, shop: str) -> None:
    until_injected(cluster, shop)
    declines = 'sidecar.istio.io/inject: "false"'
    for number, (labels, said, wanted) in enumerate(
        (
            ("", "", True),
            (declines, "", False),
            ("", declines, False),
            ("heddle.io/inject: disabled", "", False),
            ("istio.io/rev: other", "", True),
        )
    ):
        pod = created(cluster, shop, pod_text(f"pod-{number}", labels=labels, annotations=said))
        assert bool(sidecars(pod)) is wanted, (labels, said)
    cluster.kubectl("label", "namespace", shop, "heddle.io/inject-")

    def asks_itself() -> bool | None:
        options = ("create", "-n", shop, "--dry-run=server", "-o", "json", "-f", "-")
        plain = json.loads(cluster.kubectl(*options, stdin=pod_text("probe")))
        asking = json.loads(cluster.kubectl(*options, stdin=pod_text("probe", labels="istio.io/rev: heddle")))
        return (not sidecars(plain) and bool(sidecars(asking))) or None

    eventually(asks_itself)


def test_pods_of_a_deployment(cluster: ControlPlane, shop: str) -> None:
    until_injected(cluster, shop)
    cluster.kubectl("apply", "-n", shop, "-f", "-", stdin=DEPLOYMENT)

    def pods() -> list[dict[str, Any]] | None:
        found = cluster.admin.get("pods", "-n", shop, "-l", "app=web")["items"]
        return found if len(found) == 2 else None

    for pod in eventually(pods):
        assert sidecars(pod) == ["istio-init", "istio-proxy"]
        (sidecar,) = [each for each in pod["spec"]["initContainers"] if each["name"] == "istio-proxy"]
        assert {"name": "WORKLOAD_NAME", "value": "web"} in sidecar["env"]


def test_kubectl_says_why_there_is_no_sidecar(cluster: ControlPlane, shop: str) -> None:
    until_injected(cluster, shop)
    status, said = create(cluster, shop, pod_text("host", spec="hostNetwork: true, "))
    assert status == 0
    assert "Warning: no sidecar: the pod is on the host's network" in said
    status, said = create(cluster, shop, pod_text("odd", annotations="sidecar.istio.io/logLevel: loud"))
    assert status == 1
    assert "sidecar.istio.io/logLevel" in said
    assert "Write one of trace" in said


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_pod_security_refuses_and_heddle_says_it_first(cluster: ControlPlane, shop: str, level: str) -> None:
    until_injected(cluster, shop)
    cluster.kubectl("label", "namespace", shop, f"{ENFORCE}={level}")

    def refused() -> str | None:
        status, said = create(cluster, shop, pod_text("web"))
        if status == 0:
            cluster.kubectl("delete", "pod", "web", "-n", shop, "--force", "--grace-period=0")
            return None
        return said if "Warning: Pod Security" in said else None

    said = eventually(refused)
    assert f"Pod Security '{level}' of the namespace will refuse the sidecar's istio-init" in said
    assert f"{ENFORCE}=privileged" in said
    assert "violates PodSecurity" in said
    assert "istio-init" in said.partition("violates PodSecurity")[2]
    # A gateway captures nothing.
    status, said = create(cluster, shop, GATEWAY)
    assert (status, "Pod Security" in said) == (0, False)
    pod = cluster.admin.get("pod", "gateway", "-n", shop)
    assert (sidecars(pod), pod["spec"]["containers"][0]["image"] != "auto") == ([], True)


def test_a_wrong_route_is_refused_and_a_right_one_is_not(cluster: ControlPlane, shop: str) -> None:
    status, said = create(cluster, shop, ROUTE.replace("WEIGHT", "many"))
    assert status == 1
    assert "validator.heddle.io" in said
    assert "spec.http[0].route[0].weight: " in said
    assert "a whole number" in said
    assert create(cluster, shop, SERVICE)[0] == 0
    said_of(cluster, shop, ROUTE.replace("WEIGHT", "1"), "")
    status, said = create(cluster, shop, ROUTE.replace("WEIGHT", "1"))
    assert (status, said) == (0, "")
    patch = '{"spec": {"http": [{"route": [{"destination": {"host": "web"}, "weight": "x"}]}]}}'
    changed = cluster.admin.try_kubectl("patch", ROUTES, "web", "-n", shop, "--type=merge", "-p", patch)
    assert "spec.http[0].route[0].weight" in changed.stderr


def said_of(cluster: ControlPlane, namespace: str, text: str, expected: str) -> str:
    """What kubectl says of an object that could be written, once that is so. What others wrote is seen a moment later,
    and on a busy machine there may be no time for warnings."""

    def look() -> str | None:
        options = ("create", "-n", namespace, "--dry-run=server", "-f", "-")
        done = cluster.admin.try_kubectl(*options, stdin=text)
        assert done.returncode == 0, done.stderr
        return f"said: {done.stderr}" if expected in done.stderr and bool(expected) == bool(done.stderr) else None

    return eventually(look).removeprefix("said: ")


def test_what_does_not_fit_the_others_is_a_warning_until_it_does(cluster: ControlPlane, shop: str) -> None:
    route = ROUTE.replace("WEIGHT", "1").replace("{host: web}", "{host: web, subset: v1}")
    said = said_of(cluster, shop, route, "no Service has the host")
    assert said.startswith("Warning: spec.http[0].route[0].destination.host: no Service has the host web.")
    assert create(cluster, shop, SERVICE)[0] == 0
    said = said_of(cluster, shop, route, "no DestinationRule defines")
    assert f"Add a DestinationRule for web.{shop}.svc.cluster.local with the subset v1." in said
    assert create(cluster, shop, RULE)[0] == 0
    said_of(cluster, shop, route, "")
    assert create(cluster, shop, route) == (0, "")
    # It takes the place of what it was, and is not compared with itself.
    moved = route.replace("subset: v1", "subset: v2")

    def applied() -> str | None:
        done = cluster.admin.try_kubectl("apply", "-n", shop, "--dry-run=server", "-f", "-", stdin=moved)
        return done.stderr if "subset v2" in done.stderr else None

    said = eventually(applied)
    assert "Use one of v1, or add v2 to the DestinationRule." in said
    assert "routes" not in said
    said = said_of(cluster, shop, route.replace("name: web}", "name: later}"), f"VirtualService/{shop}/web routes")
    assert "is older, so it is in force and this object is not" in said


def test_what_is_not_done_is_a_warning(cluster: ControlPlane, shop: str) -> None:
    text = ROUTE.replace("WEIGHT", "1").replace("spec: {", "spec: {tcp: [{route: [{destination: {host: web}}]}], ")
    status, said = create(cluster, shop, text)
    assert status == 0
    assert said.startswith("Warning: ")
    assert "spec.tcp" in said


def test_a_wrong_object_from_before_can_be_labelled_and_deleted(cluster: ControlPlane, shop: str) -> None:
    cluster.kubectl("delete", "validatingwebhookconfiguration", "heddle-validator")
    eventually(lambda: create(cluster, shop, ROUTE.replace("WEIGHT", "many"))[0] == 0 or None)
    configure(cluster, port_of(cluster))

    def validated() -> bool | None:
        return (
            create(cluster, shop, ROUTE.replace("WEIGHT", "many").replace("name: web", "name: other"))[0] == 1 or None
        )

    eventually(lambda: all(bundles(cluster)) or None)
    eventually(validated)
    cluster.kubectl("label", ROUTES, "web", "-n", shop, "a=b")
    finalizers = '{"metadata": {"finalizers": ["heddle.io/test"]}}'
    cluster.kubectl("patch", ROUTES, "web", "-n", shop, "--type=merge", "-p", finalizers)
    cluster.kubectl("delete", ROUTES, "web", "-n", shop, "--wait=false")
    cluster.kubectl("patch", ROUTES, "web", "-n", shop, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    eventually(lambda: cluster.admin.try_kubectl("get", ROUTES, "web", "-n", shop).returncode != 0 or None)


def port_of(cluster: ControlPlane) -> int:
    injector = cluster.admin.get("mutatingwebhookconfiguration", "heddle-injector")
    url = injector["webhooks"][0]["clientConfig"]["url"]
    return int(url.rpartition(":")[2].partition("/")[0])


def test_a_bundle_that_somebody_overwrites_is_restored(cluster: ControlPlane, shop: str) -> None:
    before = bundles(cluster)
    assert len(set(before)) == 1
    for path in ("/webhooks/0/clientConfig/caBundle", "/webhooks/1/clientConfig/caBundle"):
        patch = json.dumps([{"op": "remove", "path": path}])
        cluster.kubectl("patch", "mutatingwebhookconfiguration", "heddle-injector", "--type=json", "-p", patch)
    eventually(lambda: bundles(cluster) == before or None)
    until_injected(cluster, shop)
    owned = cluster.kubectl(
        "get", "mutatingwebhookconfiguration", "heddle-injector", "--show-managed-fields", "-o", "json"
    )
    (ours,) = [each for each in json.loads(owned)["metadata"]["managedFields"] if each["manager"] == "heddle-webhooks"]
    fields = json.dumps(ours["fieldsV1"])
    assert "f:caBundle" in fields
    assert "f:rules" not in fields
    assert "f:url" not in fields


def test_heddle_is_down(cluster: ControlPlane, shop: str, heddle: WebhookProcess) -> None:
    until_injected(cluster, shop)
    heddle.kill()
    # Fail: a pod that is to have a sidecar waits, and nothing else does.
    status, said = create(cluster, shop, pod_text("web"))
    assert status == 1
    assert "namespace.injector.heddle.io" in said
    assert create(cluster, shop, pod_text("other", labels='sidecar.istio.io/inject: "false"'))[0] == 0
    assert create(cluster, shop, "{apiVersion: v1, kind: Secret, metadata: {name: s}}")[0] == 0
    assert create(cluster, "kube-system", pod_text(f"other-{shop}"))[0] == 0
    cluster.kubectl("delete", "pod", f"other-{shop}", "-n", "kube-system", "--force", "--grace-period=0")
    # The validator is told to be ignored.
    assert create(cluster, shop, ROUTE.replace("WEIGHT", "many"))[0] == 0
    ignore = json.dumps([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}])
    cluster.kubectl("patch", "mutatingwebhookconfiguration", "heddle-injector", "--type=json", "-p", ignore)
    eventually(lambda: create(cluster, shop, pod_text("web"))[0] == 0 or None)
    assert sidecars(cluster.admin.get("pod", "web", "-n", shop)) == []
    heddle.start()
    until_injected(cluster, shop)


def test_it_stays_ready_without_the_api_server(cluster: ControlPlane, shop: str, heddle: WebhookProcess) -> None:
    cluster.kill_api_server()
    with pytest.raises(CommandFailed):
        cluster.kubectl("get", "namespaces")
    assert heddle.ready() == 200
    cluster.start_api_server()
    assert heddle.ready() == 200
    until_injected(cluster, shop)
