"""Pods without a mesh: whether our nodes run them as a kubelet would, with the real controllers looking on."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.build import ClusterUnavailable
from tests.kubelet.running_cluster import Cluster, cluster_up, eventually

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="pods have users of their own, which only root can give them"),
    pytest.mark.skipif(os.environ.get("HEDDLE_SKIP_CLUSTER") == "1", reason="HEDDLE_SKIP_CLUSTER=1"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with cluster_up(renew_tokens_after=4.0) as up:
            yield up
    except ClusterUnavailable as reason:
        pytest.fail(str(reason), pytrace=False)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=50s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


SERVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: app
        image: example/web:1
        command: [python3, /app/server.py, "http:8080"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
"""


def pod(name: str, containers: str, **spec: Any) -> str:
    """A pod whose containers are given as YAML in flow style."""
    more = "".join(f"\n  {key}: {json.dumps(value)}" for key, value in spec.items())
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers: {containers}{more}\n"


IDLE = "[{name: app, image: example/idle, command: [sleep, infinity]}]"


def ready_addresses(cluster: Cluster, namespace: str) -> set[str]:
    slices = cluster.control_plane.admin.get("endpointslices", "-n", namespace)["items"]
    return {
        each["addresses"][0]
        for found in slices
        for each in found["endpoints"] or ()
        if found["addressType"] == "IPv4" and each["conditions"]["ready"]
    }


def test_a_deployment_is_reached_by_name(cluster: Cluster, namespace: str) -> None:
    cluster.apply(SERVER, namespace)
    cluster.apply(pod("client", IDLE), namespace)
    cluster.rolled_out(namespace, "deployment/web")
    cluster.ready(namespace, "client")
    names = cluster.pods(namespace, "app=web")
    addresses = {cluster.pod(namespace, name)["status"]["podIP"] for name in names}
    eventually(lambda: ready_addresses(cluster, namespace), lambda found: found == addresses)
    seen: set[str] = set()

    def asked() -> set[str]:
        done = cluster.run(namespace, "client", "app", "curl", "-sS", "--max-time", "5", "http://web/")
        if done.returncode == 0:
            seen.add(json.loads(done.stdout)["pod"])
        return seen

    eventually(asked, lambda found: found == set(names))
    # Over both nodes, in turn.
    assert {cluster.pod(namespace, name)["spec"]["nodeName"] for name in names} == {"n1", "n2"}


def test_readiness_takes_a_pod_out_of_service_and_back(cluster: Cluster, namespace: str) -> None:
    cluster.apply(SERVER.replace("replicas: 2", "replicas: 1"), namespace)
    cluster.rolled_out(namespace, "deployment/web")
    (name,) = cluster.pods(namespace, "app=web")
    own = cluster.pod(namespace, name)["status"]["podIP"]

    def tell(path: str) -> None:
        assert cluster.run(namespace, name, "app", "curl", "-sS", f"http://127.0.0.1:8080/{path}").returncode == 0

    eventually(lambda: ready_addresses(cluster, namespace), lambda found: found == {own})
    tell("sick")
    eventually(lambda: ready_addresses(cluster, namespace), lambda found: found == set())
    tell("well")
    eventually(lambda: ready_addresses(cluster, namespace), lambda found: found == {own})


@pytest.mark.parametrize(
    "check",
    [
        "httpGet: {path: /health, port: 8080}",
        "tcpSocket: {port: 8081}",
        "grpc: {port: 8082}",
        "exec: {command: [sh, -c, 'curl -sf http://127.0.0.1:8080/health']}",
    ],
    ids=lambda text: text.partition(":")[0],
)
def test_each_kind_of_probe(cluster: Cluster, namespace: str, check: str) -> None:
    command = '[python3, /app/server.py, "http:8080", "tcp:8081", "grpc:8082"]'
    probe = f"{{{check}, periodSeconds: 1, failureThreshold: 2, timeoutSeconds: 2}}"
    containers = f"[{{name: app, image: example/web, command: {command}, readinessProbe: {probe}}}]"
    cluster.apply(pod("probed", containers), namespace)
    cluster.ready(namespace, "probed")
    assert cluster.run(namespace, "probed", "app", "curl", "-sS", "http://127.0.0.1:8080/sick").returncode == 0
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready=false", "pod/probed", "--timeout=50s")


def test_a_container_that_is_not_alive_is_started_again(cluster: Cluster, namespace: str) -> None:
    probe = "{httpGet: {path: /health, port: 8080}, periodSeconds: 1, failureThreshold: 1}"
    command = '[python3, /app/server.py, "http:8080"]'
    containers = (
        f"[{{name: app, image: example/web, command: {command}, livenessProbe: {probe}, readinessProbe: {probe}}}]"
    )
    cluster.apply(pod("mortal", containers), namespace)
    cluster.ready(namespace, "mortal")
    cluster.run(namespace, "mortal", "app", "curl", "-sS", "http://127.0.0.1:8080/sick")
    status = eventually(
        lambda: cluster.pod(namespace, "mortal")["status"]["containerStatuses"][0],
        lambda found: found["restartCount"] == 1 and found["ready"],
    )
    assert status["lastState"]["terminated"]["exitCode"] == 0  # it ended at once when asked


ORDERED = """
apiVersion: v1
kind: Pod
metadata: {name: ordered}
spec:
  terminationGracePeriodSeconds: 10
  initContainers:
  - name: first
    image: example/x
    command: [sh, -c, 'echo first >> /shared/order']
    volumeMounts: [&at {name: shared, mountPath: /shared}]
  - name: helper
    image: example/x
    restartPolicy: Always
    command:
    - sh
    - -c
    - |
      trap "echo helper ends >> /shared/order; exit" TERM
      sleep 0.5
      echo helper started >> /shared/order
      touch /shared/up
      while :; do sleep 0.05; done
    startupProbe: {exec: {command: [test, -e, /shared/up]}, periodSeconds: 1}
    volumeMounts: [*at]
  - {name: third, image: example/x, command: [sh, -c, 'echo third >> /shared/order'], volumeMounts: [*at]}
  containers:
  - name: app
    image: example/x
    command:
    - sh
    - -c
    - |
      trap "echo app ends >> /shared/order; exit" TERM
      echo app >> /shared/order
      while :; do sleep 0.05; done
    lifecycle: {preStop: {sleep: {seconds: 2}}}
    volumeMounts: [*at]
  volumes: [{name: shared, hostPath: {path: FOLDER}}]
"""


def test_containers_begin_and_end_in_order(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    cluster.apply(ORDERED.replace("FOLDER", str(tmp_path)), namespace)
    cluster.ready(namespace, "ordered")
    order = tmp_path / "order"
    eventually(lambda: order.read_text().splitlines(), lambda lines: lines[-1:] == ["app"])
    assert order.read_text().splitlines() == ["first", "helper started", "third", "app"]
    began = time.monotonic()
    cluster.kubectl("delete", "pod", "ordered", "-n", namespace)
    # The hook's two seconds are what is waited for, not the whole grace.
    assert time.monotonic() - began > 2
    assert order.read_text().splitlines()[4:] == ["app ends", "helper ends"]


FILES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: files, labels: {app: files}, annotations: {example/note: "hello"}}
spec:
  containers:
  - name: app
    image: example/idle
    command: [sleep, infinity]
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: BOTH, value: $(COLOUR)-$(POD_IP)-$(NOBODY)}
    securityContext:
      runAsUser: 1234
      runAsGroup: 1234
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
    volumeMounts:
    - {name: mixed, mountPath: /var/run/secrets/mixed, readOnly: true}
    - {name: room, mountPath: /room}
  volumes:
  - name: mixed
    projected:
      sources:
      - serviceAccountToken: {audience: heddle, expirationSeconds: 600, path: token}
      - configMap: {name: settings, items: [{key: colour, path: settings/colour}]}
      - downwardAPI: {items: [{path: note, fieldRef: {fieldPath: "metadata.annotations['example/note']"}}]}
  - {name: room, emptyDir: {medium: Memory}}
"""


def test_volumes_variables_and_rights(cluster: Cluster, namespace: str) -> None:
    cluster.apply(FILES, namespace)
    cluster.ready(namespace, "files")

    def shell(script: str) -> str:
        done = cluster.run(namespace, "files", "app", "sh", "-c", script)
        return (done.stdout + done.stderr).strip()

    folder = "/var/run/secrets/mixed"
    address = cluster.pod(namespace, "files")["status"]["podIP"]
    assert shell(f"cat {folder}/settings/colour {folder}/note; id -u; id -g") == "bluehello1234\n1234"
    assert "Read-only" in shell("touch /etc/x")
    assert "Read-only" in shell(f"touch {folder}/x")
    assert shell("touch /room/x && ls /room") == "x"
    assert shell("grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | tr -s '\\t\\n' ' '") == (
        "CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1"
    )
    environment = shell("tr '\\0' '\\n' < /proc/$(pgrep -u 1234 -x sleep)/environ").splitlines()
    assert f"BOTH=blue-{address}-$(NOBODY)" in environment
    assert f"POD_IP={address}" in environment

    first = shell(f"cat {folder}/token")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    review |= {"spec": {"token": first, "audiences": ["heddle"]}}  # type: ignore[dict-item]
    said = cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    user = json.loads(said)["status"]["user"]
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["files"]
    # Renewed in time (here: at once), and what is mounted follows what was changed.
    eventually(lambda: shell(f"cat {folder}/token"), lambda token: token not in ("", first))
    cluster.kubectl(
        "patch", "configmap", "settings", "-n", namespace, "--type=merge", "-p", '{"data":{"colour":"red"}}'
    )
    eventually(lambda: shell(f"cat {folder}/settings/colour"), lambda text: text == "red")
    assert shell(f"readlink {folder}/token") == "..data/token"


def test_a_pod_waits_for_what_it_mounts(cluster: Cluster, namespace: str) -> None:
    volumes = [{"name": "v", "configMap": {"name": "late"}}]
    cluster.apply(pod("waiting", IDLE, volumes=volumes), namespace)
    eventually(
        lambda: cluster.pod(namespace, "waiting")["status"].get("message", ""), lambda text: '"late" not found' in text
    )
    cluster.kubectl("create", "configmap", "late", "-n", namespace, "--from-literal=a=b")
    cluster.ready(namespace, "waiting")


JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      initContainers:
      - {name: helper, image: example/x, restartPolicy: Always, command: [sleep, infinity]}
      containers:
      - {name: app, image: example/x, command: [sh, -c, "echo done"]}
"""


def test_a_job_ends_with_its_sidecars(cluster: Cluster, namespace: str) -> None:
    cluster.apply(JOB, namespace)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Complete", "job/once", "--timeout=50s")
    (name,) = cluster.pods(namespace)
    status = cluster.pod(namespace, name)["status"]
    assert status["phase"] == "Succeeded"
    assert "terminated" in status["initContainerStatuses"][0]["state"]
    assert cluster.nodes.log(namespace, name, "app") == "done\n"


def test_the_api_server_is_reached_with_the_pods_own_account(cluster: Cluster, namespace: str) -> None:
    cluster.apply(pod("client", IDLE), namespace)
    cluster.ready(namespace, "client")
    script = (
        "S=/var/run/secrets/kubernetes.io/serviceaccount; curl -sS --cacert $S/ca.crt "
        '-H "Authorization: Bearer $(cat $S/token)" '
        "https://kubernetes.default.svc/api/v1/namespaces/$(cat $S/namespace)/pods"
    )
    said = eventually(
        lambda: cluster.run(namespace, "client", "app", "sh", "-c", script).stdout, lambda text: "message" in text
    )
    assert f"system:serviceaccount:{namespace}:default" in json.loads(said)["message"]


def test_a_rollout_leaves_nothing_of_the_old_pods(cluster: Cluster, namespace: str) -> None:
    cluster.apply(SERVER, namespace)
    cluster.rolled_out(namespace, "deployment/web")
    before = cluster.pods(namespace, "app=web")
    cluster.kubectl("rollout", "restart", "-n", namespace, "deployment/web")
    cluster.rolled_out(namespace, "deployment/web")
    for name in before:
        cluster.kubectl("wait", "-n", namespace, "--for=delete", f"pod/{name}", "--timeout=50s")
        assert not (cluster.nodes.directory / "pods" / f"{namespace}_{name}.json").exists()
