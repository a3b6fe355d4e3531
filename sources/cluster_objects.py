"""Values of kinds that the model does not need whole: the assembler and the pod runner make something of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.pods import Pod, Workload
from model.problems import ObjectRef
from model.settings import MeshSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    ref: ObjectRef
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    ref: ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMap:
    """`settings` only in the mesh's own ConfigMap."""

    ref: ObjectRef
    data: Mapping[str, bytes] = field(default_factory=dict)
    settings: MeshSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """`data` is decoded, and never printed."""

    ref: ObjectRef
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodManifest:
    """A Pod: `workload` for whoever runs it; `pod` if its status says that it runs already."""

    workload: Workload
    pod: Pod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceEndpoint:
    """`pod` is the name of the pod in `targetRef`, '' for none; `pod_namespace` '' is the slice's own.

    `draining`: the conditions say terminating, and still serving.
    """

    addresses: tuple[str, ...]
    ready: bool = True
    draining: bool = False
    hostname: str = ""
    pod: str = ""
    pod_namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePort:
    """`name` is the Service port's."""

    name: str = ""
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """`service` is the name of the Service in the same namespace, '' for none."""

    ref: ObjectRef
    service: str = ""
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()
