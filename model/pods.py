"""Pods and what makes them: containers, templates, Deployments, StatefulSets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from model.problems import ObjectRef
from model.services import Locality

DEFAULT_SERVICE_ACCOUNT = "default"
_CRON_TIME = re.compile(r"-[0-9]{8,10}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPort:
    """A port a container declares. `protocol` is `TCP`, `UDP` or `SCTP`."""

    number: int
    name: str = ""
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """An environment variable's value as written; `$(NAME)` refers to an earlier variable."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPath:
    """The downward API: `metadata.name`, `metadata.namespace`, `metadata.labels['x']`, `status.podIP`, ..."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOf:
    """One key of a ConfigMap or Secret of the pod's namespace. `kind` is `ConfigMap` or `Secret`."""

    kind: str
    name: str
    key: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """One variable. `value` None: it comes from where nothing can be read yet, and is not set."""

    name: str
    value: Literal | FieldPath | KeyOf | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvFrom:
    """All keys of a ConfigMap or Secret as variables, each with `prefix` before its name."""

    kind: str
    name: str
    prefix: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpGet:
    """Healthy: a status of 200 to 399. `port` is a number or a container port's name."""

    port: int | str
    path: str = "/"
    scheme: str = "HTTP"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSocket:
    """Healthy: the connection opens."""

    port: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """Healthy: the command ends with 0."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    check: HttpGet | TcpSocket | Exec
    initial_delay: timedelta = timedelta(0)
    period: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=1)
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container. `command` empty: the image's own entry point, which only a cluster can run."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAlias:
    address: str
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    """A pod without its name: what a Deployment's replicas have in common."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    service_account: str = DEFAULT_SERVICE_ACCOUNT
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    host_aliases: tuple[HostAlias, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = False
    termination_grace: timedelta = timedelta(seconds=30)
    restart_policy: str = "Always"


class ProxyKind(StrEnum):
    """What an Envoy is for: one application, or requests that enter the mesh. PROXYLESS: a gRPC client asks, without
    any Envoy."""

    SIDECAR = "sidecar"
    GATEWAY = "gateway"
    PROXYLESS = "proxyless"


class WorkloadKind(StrEnum):
    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    POD = "Pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A Deployment, a StatefulSet or a bare Pod (`replicas` 1) as written, for whoever runs pods.

    `service_name` is a StatefulSet's headless service, else ''.
    """

    kind: WorkloadKind
    ref: ObjectRef
    replicas: int = 1
    template: PodTemplate
    service_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that exists: placed, with an address or about to have one.

    `addresses` v4 first; empty while none is known. `meshed`: a sidecar stands before it. `workload` is the
    name of what made it (`users-v1`), its own name for a bare pod. `ports` are all container ports.
    """

    ref: ObjectRef
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    service_account: str = DEFAULT_SERVICE_ACCOUNT
    workload: str = ""
    addresses: tuple[str, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    locality: Locality = field(default_factory=Locality)
    ready: bool = False
    meshed: bool = False

    @property
    def proxy(self) -> ProxyKind:
        """What its Envoy is for, if it has one."""
        return ProxyKind.GATEWAY if is_gateway(self.annotations) else ProxyKind.SIDECAR


INJECT = "sidecar.istio.io/inject"
TRUE, FALSE = ("true", "y", "yes", "on", "1"), ("false", "n", "no", "off", "0")
"""How YAML of several versions writes a boolean; in any case of letters."""

TEMPLATES = "inject.istio.io/templates"
"""The annotation that makes a pod a gateway: `gateway`."""

PROXY_CONTAINER = "istio-proxy"
"""The name of the container that is Envoy."""

INJECTED = "heddle.io/injected"
"""The annotation of every pod that the injector gave a sidecar; in a cluster no other pod is meshed."""

LOCALITY = "istio-locality"


def wants_sidecar(labels: Mapping[str, str], annotations: Mapping[str, str], *, host_network: bool = False) -> bool:
    """Whether a pod gets a sidecar where all pods do unless they say no.

    The label wins over the annotation (Istio's order); a pod on the host's network never gets one.
    """
    if host_network:
        return False
    said = labels.get(INJECT, annotations.get(INJECT, "true"))
    return said.lower() not in FALSE


def is_gateway(annotations: Mapping[str, str]) -> bool:
    """Whether a pod with these annotations is a gateway: Envoy is all there is, and nothing is captured."""
    return annotations.get(TEMPLATES, "").strip() == "gateway"


def parse_locality(text: str) -> Locality:
    """`region.zone.subzone` (the label's form; `/` is taken too); parts left out are empty."""
    region, zone, subzone, *_ = [*text.replace("/", ".").split("."), "", "", ""]
    return Locality(region=region, zone=zone, subzone=subzone)


def owning_workload(kind: str, name: str, template_hash: str) -> str:
    """The workload behind a pod's owner, '' if nothing is left of the name.

    A Deployment's pod is owned by a ReplicaSet, named after the Deployment and the template's hash; a CronJob's by a
    Job, named after the CronJob and the minute.
    """
    return _CRON_TIME.sub("", name) if kind == "Job" else name.removesuffix(f"-{template_hash}")
