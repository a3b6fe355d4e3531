"""Two replicas on a real API server: what the leader says of both's sidecars, and who may ask them what."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from heddle.main import main
from sources.schemas.definitions import DEFINITIONS
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.replica_process import ReplicaProcess
from tests.kubernetes.webhook_process import NAMESPACE, rights
from tests.kubernetes_api.small_sidecar import SmallSidecar, connected

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

TIMEOUT_SECONDS = 90.0
CRDS = Path(__file__).parents[2] / "deploy" / "chart" / "crds"
REFUSED = "the token was not accepted"

MESH = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, annotations: {heddle.io/injected: "{}"}}
spec: {containers: [{name: istio-proxy, image: example/envoy}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, annotations: {heddle.io/injected: "{}"}}
spec: {containers: [{name: istio-proxy, image: example/envoy}]}
"""

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
"""

STRANGER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: stranger}
"""

# All that the documentation asks for.
MAY_ASK = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: heddle-asking, namespace: heddle-system}
rules:
- {apiGroups: [""], resources: [pods], verbs: [list]}
- {apiGroups: [""], resources: [pods/proxy], verbs: [get]}
- {apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [heddle-reader], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: heddle-asking, namespace: heddle-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: heddle-asking}
subjects: [{kind: ServiceAccount, name: default, namespace: SOMEWHERE}]
"""


class Scene:
    def __init__(self, cluster: ControlPlane, namespace: str, both: tuple[ReplicaProcess, ReplicaProcess]) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.leader, self.other = both
        secret = cluster.admin.get("secret", "heddle-ca", "-n", NAMESPACE)
        self.roots = base64.b64decode(secret["data"]["root.pem"])

    def sidecar(self, pod: str, at: ReplicaProcess) -> AbstractAsyncContextManager[SmallSidecar]:
        return connected(
            at.xds,
            roots=self.roots,
            server_name=f"heddle.{NAMESPACE}.svc",
            token=self.cluster.token(self.namespace, "default", audience="heddle", pod=pod),
            pod=pod,
            namespace=self.namespace,
        )

    def apply_rule(self, name: str) -> None:
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=RULE.replace("NAME", name))

    def programmed(self, name: str) -> tuple[str, str, str]:
        """Status, reason and message of a rule's condition."""
        status = self.cluster.admin.get("destinationrule", name, "-n", self.namespace).get("status") or {}
        for each in status.get("conditions") or ():
            if each["type"] == "Programmed":
                return each["status"], each["reason"], each["message"]
        return "", "", ""

    async def until(self, look: Callable[[], Any], holds: Callable[[Any], object] = bool) -> Any:
        found: Any = None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not holds(found := await asyncio.to_thread(look)):  # noqa: ASYNC110 - of several things
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"still {found}\n{self.leader.log()[-3000:]}\n{self.other.log()[-3000:]}") from None
        return found

    def get(self, path: str, token: str | None, at: ReplicaProcess) -> tuple[int, dict[str, Any]]:
        """A question straight to a replica, whose certificate must be good."""
        trust = ssl.create_default_context(cadata=self.roots.decode())
        # The certificate has the address that it listens on too.
        request = urllib.request.Request(f"https://{at.admin}{path}")
        if token is not None:
            request.add_header("X-Heddle-Token", token)
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())


@pytest.fixture(scope="module")
def replicas(
    cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ReplicaProcess, ReplicaProcess]]:
    """Two in Heddle's own namespace, with the chart's rights, and the kinds; the first leads. Nothing of it is left."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
    cluster.admin.apply(rights())
    folder, account = tmp_path_factory.mktemp("replicas"), cluster.service_account(NAMESPACE, "heddle")
    first, second = (ReplicaProcess(cluster, account, folder, name) for name in ("heddle-a", "heddle-b"))
    try:
        first.start()
        end = time.monotonic() + TIMEOUT_SECONDS
        while not first.events("leadership.won"):
            assert time.monotonic() < end, first.log()
            time.sleep(0.05)
        second.start()
        yield first, second
    finally:
        for each in (first, second):
            each.end()
        cluster.kubectl("delete", "pod", "--all", "-n", NAMESPACE, "--force", "--grace-period=0")
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", "--timeout=60s", stdin=rights())
        cluster.kubectl("delete", *(f"crd/{each.name}" for each in DEFINITIONS))


@pytest.fixture
def scene(cluster: ControlPlane, namespace: str, replicas: tuple[ReplicaProcess, ReplicaProcess]) -> Iterator[Scene]:
    """The two, and pods of the test's own."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=MESH)
    yield Scene(cluster, namespace, replicas)
    replicas[1].start_again()


def heddle(
    scene: Scene, capsys: pytest.CaptureFixture[str], *arguments: str, kubeconfig: Path | None = None
) -> tuple[int, str, str]:
    """One command against the cluster: its status, and what it printed. Not in a loop: it runs one of its own."""
    capsys.readouterr()
    status = main([*arguments, "--kubernetes", "--kubeconfig", str(kubeconfig or scene.cluster.kubeconfig)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


async def test_what_is_refused_at_another_replica_is_told(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    async with scene.sidecar("web-1", scene.leader), scene.sidecar("web-2", scene.other) as second:
        await asyncio.to_thread(scene.apply_rule, "web")
        found = await scene.until(lambda: scene.programmed("web"), lambda said: said[0] == "True")
        assert found[1:] == ("Acknowledged", "All 2 connected sidecars have acknowledged it.")
        second.refused = f"web.{scene.namespace}"
        patch = '{"spec": {"trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 8}}}}}'
        place = ("-n", scene.namespace, "--type=merge", "-p", patch)
        await asyncio.to_thread(scene.cluster.kubectl, "patch", "dr", "web", *place)
        status, _, message = await scene.until(lambda: scene.programmed("web"), lambda said: said[1] == "Rejected")
        assert status == "False"
        begin = f"1 of 2 sidecars rejected it: {scene.namespace}/web-2 (at heddle-b): outbound"
        assert message.startswith(begin), message
        assert message.endswith(f"no web.{scene.namespace} here")

        code, out, err = await asyncio.to_thread(heddle, scene, capsys, "status", "-o", "json")
        assert code == 1, err
        told = json.loads(out)
        planes = {each["name"]: each for each in told["control_planes"]}
        assert {name: each["leading"] for name, each in planes.items()} == {"heddle-a": True, "heddle-b": False}
        assert {(each["version"], each["revision"], each["sidecars"]) for each in planes.values()} == {
            ("0.1.0", "heddle", 1)
        }
        at = {each["pod"]: each["control_plane"] for each in told["sidecars"]}
        assert at == {"web-1": "heddle-a", "web-2": "heddle-b"}
        (rejection,) = told["rejections"]
        assert (rejection["pod"], rejection["control_plane"]) == ("web-2", "heddle-b")
        code, out, err = await asyncio.to_thread(heddle, scene, capsys, "status", "--wait", "--timeout", "30")
        assert code == 1, err
        assert f"REJECTED by web-2.{scene.namespace} at heddle-b: cluster: no web" in out
        code, out, err = await asyncio.to_thread(heddle, scene, capsys, "config", "cluster", f"web-2.{scene.namespace}")
        assert (code, err) == (1, "")
        assert "from the control plane heddle-b" in out
        assert f"web.{scene.namespace}.svc.cluster.local" in out


async def test_a_replica_that_stands_still_is_counted(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    async with scene.sidecar("web-1", scene.leader), scene.sidecar("web-2", scene.other):
        scene.other.pause()
        try:
            await asyncio.to_thread(scene.apply_rule, "web")
            found = await scene.until(lambda: scene.programmed("web"), lambda said: said[1] == "ReplicasNotAsked")
            words = (
                "1 of 1 connected sidecars have acknowledged it; 1 of 2 control planes could not be asked (heddle-b)."
            )
            assert found[::2] == ("Unknown", words)
        finally:
            scene.other.go_on()
        found = await scene.until(lambda: scene.programmed("web"), lambda said: said[0] == "True")
        assert found[2] == "All 2 connected sidecars have acknowledged it."
    await asyncio.to_thread(scene.other.end)
    code, out, err = await asyncio.to_thread(heddle, scene, capsys, "status")
    assert code == 1
    assert "heddle: control plane heddle-b cannot be asked:" in err
    assert "cannot be asked" in out
    assert "leads" in out
    code, out, err = await asyncio.to_thread(heddle, scene, capsys, "status", "--wait", "--timeout", "2")
    assert code == 2
    assert "late: heddle-b" in err


async def test_who_may_ask(scene: Scene, namespace: str) -> None:
    scene.cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=STRANGER)
    at, token = scene.other, scene.cluster.token
    good = {
        "a reader": token(NAMESPACE, "heddle-reader", audience="heddle-admin"),
        "a replica": token(NAMESPACE, "heddle", audience="heddle-admin", pod="heddle-a"),
    }
    bad: dict[str, str | None] = {
        "nobody": None,
        "nothing": "",
        "garbage": "garbage",
        "a stranger of Heddle's namespace": token(NAMESPACE, "stranger", audience="heddle-admin"),
        "another namespace": token(namespace, "default", audience="heddle-admin"),
        "a pod's own": token(namespace, "default", audience="heddle", pod="web-1"),
        "a pod's, for this": token(namespace, "default", audience="heddle-admin", pod="web-1"),
        "a reader's for the API server": token(NAMESPACE, "heddle-reader"),
        "a reader's for sidecars": token(NAMESPACE, "heddle-reader", audience="heddle"),
        "a replica's account without its pod": token(NAMESPACE, "heddle", audience="heddle-admin"),
        "a reader's that lives too long": token(NAMESPACE, "heddle-reader", audience="heddle-admin", life_seconds=7200),
    }
    for path in ("/status", "/pods", "/progress", "/wait?timeout=0", f"/config/{namespace}/web-1/all", "/bootstrap"):
        for name, shown in bad.items():
            code, said = await asyncio.to_thread(scene.get, path, shown, at)
            assert (code, said["message"]) == (403, REFUSED), f"{name} {path}"
    for name, shown in good.items():
        code, said = await asyncio.to_thread(scene.get, "/status", shown, at)
        assert (code, said["control_planes"][0]["name"]) == (200, "heddle-b"), name
    reader = good["a reader"]
    code, said = await asyncio.to_thread(scene.get, f"/bootstrap/{namespace}/web-1", reader, at)
    assert code == 404, "it has a token in it on one machine"
    reasons = {entry["reason"] for entry in at.events("admin.refused")}
    assert {"an account that may not ask", "an account of another namespace", "it lives for longer than an hour"} <= (
        reasons
    )
    assert not any(shown and shown in at.log() for shown in (*good.values(), *bad.values()) if shown != "garbage")


async def test_a_person_needs_three_rights_and_is_told_which_is_missing(
    scene: Scene, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    person = await asyncio.to_thread(scene.cluster.service_account, namespace, "default")

    def ask() -> tuple[int, str, str]:
        return heddle(scene, capsys, "status", kubeconfig=person.kubeconfig)

    role, binding = MAY_ASK.replace("SOMEWHERE", namespace).split("---")
    rules = role.splitlines()
    missing = ("list pods in", "create serviceaccounts/token heddle-reader in", "get pods/proxy in")
    # pods, then the token, then the proxy: as they are needed.
    kept = (rules[:5], rules[:6], [*rules[:6], rules[7]])
    try:
        for given, words in zip(kept, missing, strict=True):
            manifest = "\n".join(given).replace("rules:", "rules: []") if given is kept[0] else "\n".join(given)
            scene.cluster.admin.apply(f"{manifest}\n---{binding}")
            code, _, err = await scene.until(ask, lambda said, words=words: words in said[2])
            assert code == 2, err
            assert "cannot" in err, "what the API server says"
        scene.cluster.admin.apply(f"{role}\n---{binding}")
        code, out, err = await scene.until(ask, lambda said: said[0] == 0)
        assert ("heddle-a" in out, "heddle-b" in out, err) == (True, True, "")
    finally:
        scene.cluster.kubectl("delete", "-f", "-", stdin=f"{role}\n---{binding}")
