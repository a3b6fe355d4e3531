"""Kubernetes' own list of fields: each is read, reported as not implemented, or ignored on purpose; none is unknown."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from kubernetes.client import models

from model.problem_codes import ProblemCode
from sources.manifests import parse_documents

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
DEPLOYMENT = "apiVersion: apps/v1\nkind: %s\nmetadata: {name: a}\nspec:\n"
SLICE = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n"

STRUCTURES: Mapping[str, str] = {
    "V1ObjectMeta": "apiVersion: v1\nkind: Namespace\nmetadata: {%s}\n",
    "V1Namespace": "%s\n",
    "V1ServiceAccount": "%s\n",
    "V1ConfigMap": "%s\n",
    "V1Secret": "%s\n",
    "V1Service": "%s\n",
    "V1Pod": "%s\n",
    "V1Deployment": "%s\n",
    "V1StatefulSet": "%s\n",
    "V1EndpointSlice": "%s\n",
    "V1ServiceSpec": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {%s}\n",
    "V1ServicePort": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{%s}]}\n",
    "V1PodSpec": POD + "spec: {%s}\n",
    "V1PodStatus": POD + "spec: {}\nstatus: {%s}\n",
    "V1PodCondition": POD + "spec: {}\nstatus: {conditions: [{%s}]}\n",
    "V1PodIP": POD + "spec: {}\nstatus: {podIPs: [{%s}]}\n",
    "V1HostAlias": POD + "spec: {hostAliases: [{%s}]}\n",
    "V1Container": POD + "spec: {containers: [{%s}]}\n",
    "V1ContainerPort": POD + "spec: {containers: [{ports: [{%s}]}]}\n",
    "V1EnvVar": POD + "spec: {containers: [{env: [{%s}]}]}\n",
    "V1EnvVarSource": POD + "spec: {containers: [{env: [{valueFrom: {%s}}]}]}\n",
    "V1ObjectFieldSelector": POD + "spec: {containers: [{env: [{valueFrom: {fieldRef: {%s}}}]}]}\n",
    "V1ConfigMapKeySelector": POD + "spec: {containers: [{env: [{valueFrom: {configMapKeyRef: {%s}}}]}]}\n",
    "V1SecretKeySelector": POD + "spec: {containers: [{env: [{valueFrom: {secretKeyRef: {%s}}}]}]}\n",
    "V1EnvFromSource": POD + "spec: {containers: [{envFrom: [{%s}]}]}\n",
    "V1ConfigMapEnvSource": POD + "spec: {containers: [{envFrom: [{configMapRef: {%s}}]}]}\n",
    "V1SecretEnvSource": POD + "spec: {containers: [{envFrom: [{secretRef: {%s}}]}]}\n",
    "V1Probe": POD + "spec: {containers: [{livenessProbe: {%s}}]}\n",
    "V1HTTPGetAction": POD + "spec: {containers: [{livenessProbe: {httpGet: {%s}}}]}\n",
    "V1HTTPHeader": POD + "spec: {containers: [{livenessProbe: {httpGet: {httpHeaders: [{%s}]}}}]}\n",
    "V1TCPSocketAction": POD + "spec: {containers: [{livenessProbe: {tcpSocket: {%s}}}]}\n",
    "V1ExecAction": POD + "spec: {containers: [{livenessProbe: {exec: {%s}}}]}\n",
    "V1DeploymentSpec": DEPLOYMENT % "Deployment" + "  {%s}\n",
    "V1StatefulSetSpec": DEPLOYMENT % "StatefulSet" + "  {%s}\n",
    "V1LabelSelector": DEPLOYMENT % "Deployment" + "  selector: {%s}\n",
    "V1PodTemplateSpec": DEPLOYMENT % "Deployment" + "  template: {%s}\n",
    "V1OwnerReference": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, ownerReferences: [{%s}]}\n",
    "V1Endpoint": SLICE + "endpoints: [{%s}]\n",
    "V1EndpointConditions": SLICE + "endpoints: [{conditions: {%s}}]\n",
    "V1ObjectReference": SLICE + "endpoints: [{targetRef: {%s}}]\n",
    "DiscoveryV1EndpointPort": SLICE + "ports: [{%s}]\n",
}
GROUPS = {"V1Deployment": "apps/v1", "V1StatefulSet": "apps/v1", "V1EndpointSlice": "discovery.k8s.io/v1"}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_no_field_of_kubernetes_is_unknown(structure: str) -> None:
    fields = sorted(getattr(models, structure).attribute_map.values())
    pattern = STRUCTURES[structure]
    if pattern == "%s\n":
        head = {
            "apiVersion": GROUPS.get(structure, "v1"),
            "kind": structure.removeprefix("V1"),
            "metadata": "{name: a}",
        }
        text = "".join(f"{name}: {head.get(name, 0)}\n" for name in fields)
    else:
        # A number has the wrong type nearly everywhere; the name is what counts here.
        text = pattern % ", ".join(
            f"{name}: {'a' if structure == 'V1ObjectMeta' and name == 'name' else 0}" for name in fields
        )
    problems = parse_documents("f.yaml", text.encode()).problems
    unknown = [problem.field for problem in problems if problem.code == ProblemCode.UNKNOWN_FIELD]
    assert unknown == []
    assert len(fields) > 0


def test_an_invented_field_is_unknown_in_each_structure() -> None:
    for structure, pattern in STRUCTURES.items():
        if pattern == "%s\n":
            group = GROUPS.get(structure, "v1")
            text = f"apiVersion: {group}\nkind: {structure.removeprefix('V1')}\nmetadata: {{name: a}}\ninvented: 1\n"
        else:
            text = pattern % ("name: a, invented: 1" if structure == "V1ObjectMeta" else "invented: 1")
        codes = [problem.code for problem in parse_documents("f.yaml", text.encode()).problems]
        assert ProblemCode.UNKNOWN_FIELD in codes, structure
