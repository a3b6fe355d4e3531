"""Pods, Deployments, StatefulSets, and their containers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model.pods import (
    Container,
    ContainerPort,
    EnvFrom,
    EnvVar,
    Exec,
    FieldPath,
    HostAlias,
    HttpGet,
    KeyOf,
    Literal,
    Pod,
    Probe,
    TcpSocket,
    Workload,
    WorkloadKind,
)
from model.problem_codes import ProblemCode
from model.problems import Severity
from model.services import Locality
from sources.cluster_objects import PodManifest
from sources.manifests import parse_documents

POD = (
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-0\n  namespace: shop\n%sspec:\n  containers:\n  - name: app\n%s"
)


def codes(text: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in parse_documents("f.yaml", text.encode()).problems]


def value_of(text: str) -> object:
    parsed = parse_documents("f.yaml", text.encode())
    assert [problem for problem in parsed.problems if problem.severity is not Severity.INFO] == []
    return parsed.objects[0].value


def container(text: str) -> Container:
    manifest = value_of(POD % ("", text))
    assert isinstance(manifest, PodManifest)
    return manifest.workload.template.containers[0]


def test_a_container() -> None:
    found = container(
        """    image: shop:1
    command: [python, -m, shop]
    args: ["80"]
    workingDir: /srv
    env:
    - {name: A, value: "1"}
    - {name: EMPTY}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP, apiVersion: v1}}}
    - {name: C, valueFrom: {configMapKeyRef: {name: c, key: k}}}
    - {name: S, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
    envFrom:
    - {prefix: X_, configMapRef: {name: c}}
    - {secretRef: {name: s, optional: true}}
    ports:
    - {containerPort: 8080, name: http, hostPort: 80}
    - {containerPort: 53, protocol: UDP}
    resources: {limits: {cpu: 1}}
    volumeMounts: []
"""
    )
    assert found == Container(
        name="app",
        image="shop:1",
        command=("python", "-m", "shop"),
        args=("80",),
        working_dir="/srv",
        env=(
            EnvVar(name="A", value=Literal(value="1")),
            EnvVar(name="EMPTY", value=Literal(value="")),
            EnvVar(name="IP", value=FieldPath(path="status.podIP")),
            EnvVar(name="C", value=KeyOf(kind="ConfigMap", name="c", key="k")),
            EnvVar(name="S", value=KeyOf(kind="Secret", name="s", key="k", optional=True)),
        ),
        env_from=(
            EnvFrom(kind="ConfigMap", name="c", prefix="X_"),
            EnvFrom(kind="Secret", name="s", optional=True),
        ),
        ports=(ContainerPort(number=8080, name="http"), ContainerPort(number=53, protocol="UDP")),
    )


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("{httpGet: {port: http}}", Probe(check=HttpGet(port="http"))),
        (
            "{httpGet: {port: 80, path: /ok, scheme: HTTPS, httpHeaders: [{name: A, value: b}]}, periodSeconds: 2}",
            Probe(
                check=HttpGet(port=80, path="/ok", scheme="HTTPS", headers=(("A", "b"),)), period=timedelta(seconds=2)
            ),
        ),
        (
            "{tcpSocket: {port: 5432}, initialDelaySeconds: 3}",
            Probe(check=TcpSocket(port=5432), initial_delay=timedelta(seconds=3)),
        ),
        (
            "{exec: {command: [ls]}, timeoutSeconds: 4, successThreshold: 1, failureThreshold: 5}",
            Probe(check=Exec(command=("ls",)), timeout=timedelta(seconds=4), success_threshold=1, failure_threshold=5),
        ),
    ],
)
def test_probes(text: str, probe: Probe) -> None:
    found = container(f"    readinessProbe: {text}\n    livenessProbe: {text}\n    startupProbe: {text}\n")
    assert (found.readiness, found.liveness, found.startup) == (probe, probe, probe)


def test_zero_and_an_empty_text_are_the_default() -> None:
    found = container(
        "    readinessProbe: {httpGet: {port: 80, path: '', scheme: ''}, timeoutSeconds: 0, periodSeconds: 0, "
        "successThreshold: 0, failureThreshold: 0}\n    ports: [{containerPort: 80, protocol: ''}]\n"
    )
    assert found.readiness == Probe(check=HttpGet(port=80))


def test_readiness_alone_may_ask_for_several_successes() -> None:
    probe = Probe(check=TcpSocket(port=5432), success_threshold=2)
    assert container("    readinessProbe: {tcpSocket: {port: 5432}, successThreshold: 2}\n").readiness == probe


def test_a_bare_pod_is_a_workload() -> None:
    manifest = value_of(
        POD
        % ("  labels: {app: web}\n  annotations: {a: b}\n", "")
        + "  initContainers: [{name: init, command: [ls]}]\n  serviceAccountName: web\n  subdomain: web\n"
        "  hostname: h\n"
        "  hostAliases: [{ip: 10.0.0.1, hostnames: [a, b]}]\n  terminationGracePeriodSeconds: 5\n"
        "  restartPolicy: Never\n"
        "  hostNetwork: true\n  volumes: []\n  nodeSelector: {a: b}\n"
    )
    assert isinstance(manifest, PodManifest)
    workload, template = manifest.workload, manifest.workload.template
    assert (workload.kind, workload.replicas, str(workload.ref)) == (WorkloadKind.POD, 1, "Pod/shop/web-0")
    assert (template.labels, template.annotations) == ({"app": "web"}, {"a": "b"})
    assert (template.service_account, template.subdomain, template.hostname) == ("web", "web", "h")
    assert template.host_aliases == (HostAlias(address="10.0.0.1", hostnames=("a", "b")),)
    assert (template.termination_grace, template.restart_policy) == (timedelta(seconds=5), "Never")
    assert template.host_network
    assert [found.name for found in template.init_containers] == ["init"]
    assert manifest.pod is None


def test_a_pod_with_a_status_runs_already() -> None:
    manifest = value_of(
        POD
        % (
            "  uid: u\n  labels: {istio-locality: r.z.s, pod-template-hash: abc}\n"
            "  ownerReferences: [{kind: ReplicaSet, name: web-abc, controller: true}]\n",
            "    ports: [{containerPort: 80}]\n",
        )
        + "status:\n  phase: Running\n  podIP: 10.0.0.7\n  podIPs: [{ip: 'fd00::7'}, {ip: 10.0.0.7}]\n"
        "  conditions: [{type: Ready, status: 'True', reason: x}]\n"
    )
    assert isinstance(manifest, PodManifest)
    assert manifest.pod == Pod(
        ref=manifest.workload.ref,
        uid="u",
        labels={"istio-locality": "r.z.s", "pod-template-hash": "abc"},
        workload="web",
        addresses=("10.0.0.7", "fd00::7"),
        ports=(ContainerPort(number=80),),
        locality=Locality(region="r", zone="z", subzone="s"),
        ready=True,
        meshed=True,
    )


@pytest.mark.parametrize(
    ("metadata", "status", "ready", "meshed"),
    [
        ("", "{podIP: 10.0.0.1}", True, True),
        ("", "{podIP: 10.0.0.1, conditions: [{type: Ready, status: 'False'}]}", False, True),
        ("", "{podIP: 10.0.0.1, conditions: [{type: Initialized, status: 'True'}]}", False, True),
        ("  labels: {sidecar.istio.io/inject: 'false'}\n", "{podIP: 10.0.0.1}", True, False),
    ],
)
def test_ready_and_meshed(metadata: str, status: str, ready: bool, meshed: bool) -> None:
    manifest = value_of(POD % (metadata, "") + f"status: {status}\n")
    assert isinstance(manifest, PodManifest)
    assert manifest.pod is not None
    assert (manifest.pod.ready, manifest.pod.meshed) == (ready, meshed)


DEPLOYMENT = """apiVersion: apps/v1
kind: %s
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: v1}, creationTimestamp: null}
    spec: {containers: [{name: app}], serviceAccount: old}
%s"""


@pytest.mark.parametrize(
    ("kind", "extra", "service_name"),
    [
        ("Deployment", "  strategy: {type: Recreate}\n", ""),
        ("StatefulSet", "  serviceName: web-headless\n  podManagementPolicy: Parallel\n", "web-headless"),
    ],
)
def test_workloads(kind: str, extra: str, service_name: str) -> None:
    found = value_of(DEPLOYMENT % (kind, extra))
    assert isinstance(found, Workload)
    assert (found.kind, found.replicas, found.service_name) == (WorkloadKind(kind), 3, service_name)
    assert found.template.labels == {"app": "web", "version": "v1"}
    assert found.template.service_account == "old"


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        (POD % ("", "    name: b\n"), ProblemCode.DUPLICATE_KEY, ""),
        (POD % ("", "  - name: app\n"), ProblemCode.INVALID_NAME, "spec.containers[1].name"),
        (POD % ("", "  - {image: x}\n"), ProblemCode.MISSING_FIELD, "spec.containers[1].name"),
        (POD % ("", "    command: ls -l\n"), ProblemCode.WRONG_TYPE, "spec.containers[0].command"),
        (POD % ("", "    args: [80]\n"), ProblemCode.WRONG_TYPE, "spec.containers[0].args[0]"),
        (POD % ("", "    env: [{name: A, value: 5}]\n"), ProblemCode.WRONG_TYPE, "spec.containers[0].env[0].value"),
        (
            POD % ("", "    env: [{name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n"),
            ProblemCode.INVALID_VALUE,
            "spec.containers[0].env[0].value",
        ),
        (
            POD % ("", "    env: [{name: A, valueFrom: {resourceFieldRef: {resource: x}}}]\n"),
            ProblemCode.NOT_IMPLEMENTED,
            "spec.containers[0].env[0].valueFrom.resourceFieldRef",
        ),
        (
            POD % ("", "    env: [{name: A, valueFrom: {}}]\n"),
            ProblemCode.MISSING_FIELD,
            "spec.containers[0].env[0].valueFrom",
        ),
        (
            POD % ("", "    env: [{name: A, valueFrom: {configMapKeyRef: &a {name: a, key: b}, secretKeyRef: *a}}]\n"),
            ProblemCode.CONFLICTING_FIELDS,
            "spec.containers[0].env[0].valueFrom.secretKeyRef",
        ),
        (POD % ("", "    envFrom: [{prefix: A}]\n"), ProblemCode.MISSING_FIELD, "spec.containers[0].envFrom[0]"),
        (
            POD % ("", "    envFrom: [{configMapRef: {name: a}, secretRef: {name: a}}]\n"),
            ProblemCode.CONFLICTING_FIELDS,
            "spec.containers[0].envFrom[0].secretRef",
        ),
        (
            POD % ("", "    ports: [{containerPort: 0}]\n"),
            ProblemCode.INVALID_VALUE,
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            POD % ("", "    livenessProbe: {grpc: {port: 5}}\n"),
            ProblemCode.NOT_IMPLEMENTED,
            "spec.containers[0].livenessProbe.grpc",
        ),
        (
            POD % ("", "    livenessProbe: {periodSeconds: 5}\n"),
            ProblemCode.MISSING_FIELD,
            "spec.containers[0].livenessProbe",
        ),
        (
            POD % ("", "    livenessProbe: {httpGet: {path: /}}\n"),
            ProblemCode.MISSING_FIELD,
            "spec.containers[0].livenessProbe.httpGet.port",
        ),
        (POD % ("", "    lifecycle: {}\n"), ProblemCode.NOT_IMPLEMENTED, "spec.containers[0].lifecycle"),
        (POD % ("", "    comand: [ls]\n"), ProblemCode.UNKNOWN_FIELD, "spec.containers[0].comand"),
        (POD % ("", "") + "  hostAliases: [{ip: x}]\n", ProblemCode.INVALID_VALUE, "spec.hostAliases[0].ip"),
        (POD % ("", "") + "  serviceAccountName: a b\n", ProblemCode.INVALID_NAME, "spec.serviceAccountName"),
        (POD % ("", "") + "  hostname: A\n", ProblemCode.INVALID_NAME, "spec.hostname"),
        (POD % ("", "") + "  restartPolicy: Sometimes\n", ProblemCode.INVALID_VALUE, "spec.restartPolicy"),
        (DEPLOYMENT % ("Deployment", "  replica: 3\n"), ProblemCode.UNKNOWN_FIELD, "spec.replica"),
        (
            (DEPLOYMENT % ("Deployment", "")).replace("app: web, v", "app: wbe, v"),
            ProblemCode.INVALID_VALUE,
            "spec.selector",
        ),
        (
            (DEPLOYMENT % ("Deployment", "")).replace("replicas: 3", "replicas: -1"),
            ProblemCode.INVALID_VALUE,
            "spec.replicas",
        ),
        (
            (DEPLOYMENT % ("Deployment", "")).replace("replicas: 3", "replicas: 99999999"),
            ProblemCode.INVALID_VALUE,
            "spec.replicas",
        ),
        (
            (DEPLOYMENT % ("Deployment", "")).replace("containers: [{name: app}]", "containers: []"),
            ProblemCode.MISSING_FIELD,
            "spec.template.spec.containers",
        ),
    ],
)
def test_mistakes(text: str, code: ProblemCode, field: str) -> None:
    assert codes(text) == [(code, field)]


def test_what_a_cluster_would_give_a_pod_and_this_machine_does_not_is_said() -> None:
    text = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  dnsPolicy: None
  volumes: [{name: v, emptyDir: {}}]
  containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}], securityContext: {runAsUser: 1}}]
"""
    found = parse_documents("f.yaml", text.encode()).problems
    assert {problem.severity for problem in found} == {Severity.INFO}
    assert {problem.field.rpartition(".")[2] for problem in found} == {
        "dnsPolicy", "volumes", "volumeMounts", "securityContext"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "lines", "said"),
    [
        ("Deployment", "  paused: true\n  strategy: {type: Recreate}\n", {"spec.paused", "spec.strategy"}),
        (
            "StatefulSet",
            "  volumeClaimTemplates: []\n  updateStrategy: {type: OnDelete}\n",
            {"spec.volumeClaimTemplates", "spec.updateStrategy"},
        ),
    ],
)
def test_what_a_cluster_would_do_with_a_workload_is_said(kind: str, lines: str, said: set[str]) -> None:
    found = parse_documents("f.yaml", (DEPLOYMENT % (kind, lines)).encode()).problems
    assert {(problem.severity, problem.code, problem.field) for problem in found} == {
        (Severity.INFO, ProblemCode.NOT_IMPLEMENTED, field) for field in said
    }


@pytest.mark.parametrize(("kind", "field"), [("Deployment", "volumeClaimTemplates"), ("StatefulSet", "paused")])
def test_a_field_of_the_other_workload_is_unknown(kind: str, field: str) -> None:
    assert codes(DEPLOYMENT % (kind, f"  {field}: 1\n")) == [(ProblemCode.UNKNOWN_FIELD, f"spec.{field}")]


def test_a_variable_that_cannot_be_set_keeps_its_place() -> None:
    text = "    env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: B, value: b}]\n"
    (found,) = parse_documents("f.yaml", (POD % ("", text)).encode()).objects
    assert isinstance(found.value, PodManifest)
    assert found.value.workload.template.containers[0].env == (
        EnvVar(name="A", value=None),
        EnvVar(name="B", value=Literal(value="b")),
    )
