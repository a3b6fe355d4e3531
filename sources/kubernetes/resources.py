"""What is read of a cluster: kinds, in which versions, and how much of each object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.problems import ObjectRef
from sources.kinds import Kind
from sources.mesh_config import MESH_CONFIG
from sources.registry import KINDS

_PLURALS: Mapping[str, str] = {
    "AuthorizationPolicy": "authorizationpolicies",
    "DestinationRule": "destinationrules",
    "EndpointSlice": "endpointslices",
    "Gateway": "gateways",
    "PeerAuthentication": "peerauthentications",
    "Sidecar": "sidecars",
    "VirtualService": "virtualservices",
}
_CUSTOM_GROUPS = ("networking.istio.io", "security.istio.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One collection of an API server.

    `versions` from the one we would rather read. `namespace` and `name` '' for all. `metadata_only`: nothing but the
    metadata of an object matters, and nothing else is sent. `custom`: it may be absent, and come and go.
    """

    kind: str
    plural: str
    versions: tuple[str, ...] = ("v1",)
    group: str = ""
    namespace: str = ""
    name: str = ""
    metadata_only: bool = False
    custom: bool = False

    def __str__(self) -> str:
        """As `kubectl get` takes it, with what it is narrowed down to."""
        place = "/".join(part for part in (self.namespace, self.name) if part)
        full = f"{self.plural}.{self.group}" if self.group else self.plural
        return f"{full} in {place}" if place else full

    def path(self, version: str) -> str:
        """The path of the collection in one of its versions."""
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        return f"{root}/namespaces/{self.namespace}/{self.plural}" if self.namespace else f"{root}/{self.plural}"

    def selector(self) -> dict[str, str]:
        """The query that narrows it down to `name`."""
        return {"fieldSelector": f"metadata.name={self.name}"} if self.name else {}


CUSTOM_RESOURCES = Resource(
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    group="apiextensions.k8s.io",
    metadata_only=True,
)
PODS = Resource(kind="Pod", plural="pods")
NODES = Resource(kind="Node", plural="nodes", metadata_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What of a cluster may be read. `mesh_config` is the ConfigMap with the settings of the mesh.

    Secrets are read in `secret_namespaces` and nowhere else.
    """

    mesh_config: ObjectRef = field(default=MESH_CONFIG)
    secret_namespaces: tuple[str, ...] = ()


def resources_in(scope: Scope) -> tuple[Resource, ...]:
    """Everything that is watched."""
    return (
        CUSTOM_RESOURCES,
        NODES,
        PODS,
        Resource(kind="Namespace", plural="namespaces", metadata_only=True),
        Resource(kind="ServiceAccount", plural="serviceaccounts", metadata_only=True),
        Resource(kind="Service", plural="services"),
        Resource(kind="EndpointSlice", plural="endpointslices", group="discovery.k8s.io"),
        Resource(
            kind="ConfigMap",
            plural="configmaps",
            namespace=scope.mesh_config.namespace,
            name=scope.mesh_config.name,
        ),
        *(Resource(kind="Secret", plural="secrets", namespace=name) for name in scope.secret_namespaces),
        *(_custom(kind) for kind in KINDS.values() if kind.group in _CUSTOM_GROUPS),
    )


def definition_of(resource: Resource) -> str:
    """The name of the CustomResourceDefinition that a custom resource needs."""
    return f"{resource.plural}.{resource.group}"


def _custom(kind: Kind) -> Resource:
    return Resource(kind=kind.kind, plural=_PLURALS[kind.kind], versions=kind.versions, group=kind.group, custom=True)
