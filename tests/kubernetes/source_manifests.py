"""What the tests of the source write into a real cluster, and what the source may do there."""

from __future__ import annotations

READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: heddle-source}
rules:
- {apiGroups: [""], resources: [namespaces, services, pods, serviceaccounts, nodes], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [list, watch]}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules, gateways, sidecars]
  verbs: [list, watch]
- {apiGroups: [security.istio.io], resources: [peerauthentications, authorizationpolicies], verbs: [list, watch]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [istio], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: heddle-source}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: heddle-source}
subjects: [{kind: ServiceAccount, name: default, namespace: NAMESPACE}]
---
apiVersion: v1
kind: Node
metadata:
  name: NAMESPACE
  labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}
"""

WORKLOAD = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}, annotations: {heddle.io/injected: "{}"}}
spec:
  nodeName: NAMESPACE
  containers:
  - {name: istio-proxy, image: example/envoy}
  - {name: app, image: example/app, ports: [{containerPort: 8080}]}
"""

STATUS = """
{"status": {"phase": "Running", "podIP": "10.9.8.7", "podIPs": [{"ip": "10.9.8.7"}],
 "conditions": [{"type": "Ready", "status": "True"}]}}
"""

EVERY_PART_OF_A_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: full
  labels: {app: full, pod-template-hash: abc, istio-locality: r.z}
  annotations: {heddle.io/injected: "{}", heddle.io/sidecar-config: eager}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: full-owner-abc, uid: abc, controller: true}]
spec:
  nodeName: far
  hostname: full-0
  subdomain: inner
  initContainers:
  - {name: istio-proxy, image: example/envoy, restartPolicy: Always}
  - {name: auth, image: example/auth, restartPolicy: Always, ports: [{name: auth, containerPort: 9000}]}
  - {name: once, image: example/once, ports: [{containerPort: 9001}]}
  containers:
  - {name: app, image: example/app, ports: [{containerPort: 8080, protocol: UDP}]}
"""


def definition(kind: str, plural: str, group: str = "networking.istio.io") -> str:
    """A CustomResourceDefinition that takes every field."""
    return f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}, singular: {kind.lower()}}}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""


def virtual_service(timeout: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: [web], http: [{{timeout: {timeout}, route: [{{destination: {{host: web}}}}]}}]}}
"""
