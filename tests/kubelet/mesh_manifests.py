"""Workloads of the end-to-end tests, as their users write them: nothing in them is there for Heddle."""

from __future__ import annotations


def server(
    name: str,
    *,
    version: str = "v1",
    replicas: int = 1,
    probes: str = "",
    annotations: str = "",
    pre_stop_seconds: int = 0,
) -> str:
    """A Deployment `NAME-VERSION` with a ServiceAccount of its own. `probes` and `annotations` in flow style."""
    hook = f"lifecycle: {{preStop: {{sleep: {{seconds: {pre_stop_seconds}}}}}}}" if pre_stop_seconds else ""
    return f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}-{version}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}, version: {version}}}}}
  template:
    metadata:
      labels: {{app: {name}, version: {version}}}
      annotations: {{{annotations}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: app
        image: example/server:1
        command: [python3, /app/server.py, "http:8080", "tcp:8081", "grpc:8082"]
        env: [{{name: VERSION, value: {version}}}]
        ports: [{{name: http, containerPort: 8080}}, {{name: tcp, containerPort: 8081}}]
        {probes or "readinessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 1}"}
        {hook}
---
"""


def service(name: str, *, more: str = "") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: tcp, port: 81, targetPort: 8081}}]
  {more}
---
"""


def client(name: str, *, command: str = "[sleep, infinity]", annotations: str = "", spec: str = "") -> str:
    """A Pod with a ServiceAccount of its own."""
    return f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}, annotations: {{{annotations}}}}}
spec:
  serviceAccountName: {name}
  {spec}
  containers: [{{name: app, image: example/client:1, command: {command}}}]
---
"""


def strict(name: str = "default", *, selector: str = "") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}}}
spec: {{mtls: {{mode: STRICT}}{f", selector: {{matchLabels: {{app: {selector}}}}}" if selector else ""}}}
---
"""


def only_from(namespace: str, account: str, *, app: str) -> str:
    """An AuthorizationPolicy that lets one service account in."""
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: only-{account}}}
spec:
  selector: {{matchLabels: {{app: {app}}}}}
  action: ALLOW
  rules: [{{from: [{{source: {{principals: ["cluster.local/ns/{namespace}/sa/{account}"]}}}}]}}]
---
"""


def split(name: str, weights: dict[str, int]) -> str:
    """Subsets by version, and a VirtualService with their weights."""
    subsets = ", ".join(f"{{name: {version}, labels: {{version: {version}}}}}" for version in weights)
    routes = ", ".join(
        f"{{destination: {{host: {name}, subset: {version}}}, weight: {weight}}}" for version, weight in weights.items()
    )
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec: {{host: {name}, subsets: [{subsets}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{name}], http: [{{route: [{routes}]}}]}}
---
"""


def marked(name: str, mark: str) -> str:
    """A VirtualService that has servers see `mark` in the header `x-mark`."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}]
  http: [{{headers: {{request: {{set: {{x-mark: {mark}}}}}}}, route: [{{destination: {{host: {name}}}}}]}}]
---
"""


def gateway(name: str, host: str, *, credential: str) -> str:
    """A gateway's Deployment, Service and Gateway, as its users write them: HTTP and HTTPS for `host`."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{istio: {name}}}}}
  template:
    metadata:
      labels: {{istio: {name}}}
      annotations: {{inject.istio.io/templates: gateway}}
    spec: {{containers: [{{name: istio-proxy, image: auto}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{istio: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: https, port: 443, targetPort: 8443}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: public}}
spec:
  selector: {{istio: {name}}}
  servers:
  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{host}]}}
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: [{host}]
    tls: {{mode: SIMPLE, credentialName: {credential}}}
---
"""


def behind_gateway(name: str, host: str, *, gateway: str) -> str:
    """A VirtualService that routes `host` at a gateway (`NAMESPACE/NAME`) to port 80 of the Service `name`."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}-outside}}
spec:
  hosts: [{host}]
  gateways: [{gateway}]
  http: [{{route: [{{destination: {{host: {name}, port: {{number: 80}}}}}}]}}]
---
"""
