"""Pods and nodes of a cluster, as far as a mesh needs them: who runs where, and whether a sidecar of ours is there."""

from __future__ import annotations

import ipaddress
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.on_demand import SIDECAR_CONFIG
from model.pods import (
    DEFAULT_SERVICE_ACCOUNT,
    INJECTED,
    LOCALITY,
    PROXY_CONTAINER,
    ContainerPort,
    Pod,
    is_gateway,
    owning_workload,
    parse_locality,
)
from model.problems import ObjectRef
from model.services import Locality
from sources.kubernetes.events import Json

REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
_TEMPLATE_HASH = "pod-template-hash"
_ENDED = ("Succeeded", "Failed")
_STATUS_ANNOTATION = "sidecar.istio.io/status"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPod:
    """`pod` with the locality that its own label gives it; `node` '' while it is not placed."""

    pod: Pod
    node: str


def is_meshed(annotations: Mapping[str, str], spec: Mapping[str, Any]) -> bool:
    """Whether a sidecar of ours stands before the pod: the one place that decides it.

    The injector's annotation, and a container named `istio-proxy`, native sidecar or not: another mesh's sidecar has
    the name too, and an annotation may have been copied to where there is no sidecar.
    """
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    return INJECTED in annotations and any(container.get("name") == PROXY_CONTAINER for container in containers)


def _is_kept(annotation: str) -> bool:
    """Whether somebody may read it of a running pod: thousands of them keep little else."""
    return annotation == SIDECAR_CONFIG or ("istio.io/" in annotation and annotation != _STATUS_ANNOTATION)


def to_observed_pod(item: Json) -> ObservedPod | None:
    """The pod of an API object; None once it has ended: its address may be another's by now."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    if status.get("phase") in _ENDED:
        return None
    ref = ObjectRef(kind="Pod", namespace=metadata.get("namespace") or "", name=metadata["name"])
    labels = _interned(metadata.get("labels") or {})
    annotations = metadata.get("annotations") or {}
    meshed = is_meshed(annotations, spec)
    gateway = is_gateway(annotations)
    # Many pods share the address of their node, so that it names none of them.
    addresses = _addresses(status) if meshed or not spec.get("hostNetwork") else ()
    pod = Pod(
        ref=ref,
        uid=metadata.get("uid") or "",
        labels=labels,
        annotations=_interned({key: value for key, value in annotations.items() if _is_kept(key)}),
        service_account=sys.intern(spec.get("serviceAccountName") or DEFAULT_SERVICE_ACCOUNT),
        workload=sys.intern(_workload(metadata, labels)),
        addresses=addresses,
        ports=tuple(
            ContainerPort(
                number=port["containerPort"], name=port.get("name") or "", protocol=port.get("protocol") or "TCP"
            )
            for container in (*(spec.get("containers") or ()), *_native_sidecars(spec))
            if gateway or container.get("name") != PROXY_CONTAINER
            for port in container.get("ports") or ()
        ),
        hostname=spec.get("hostname") or "",
        subdomain=spec.get("subdomain") or "",
        locality=parse_locality(labels.get(LOCALITY, "")),
        ready=any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in status.get("conditions") or ()
        ),
        meshed=meshed,
    )
    return ObservedPod(pod=pod, node=spec.get("nodeName") or "")


def to_locality(item: Json) -> Locality:
    """Where a node is, by its well-known labels."""
    labels = item["metadata"].get("labels") or {}
    region, zone, subzone = (sys.intern(labels.get(name) or "") for name in (REGION, ZONE, SUBZONE))
    return Locality(region=region, zone=zone, subzone=subzone)


class PlacedPods:
    """Pods with the locality of their nodes; a pod's own label wins."""

    def __init__(self) -> None:
        self._observed: dict[str, ObservedPod] = {}
        self._nodes: dict[str, Locality] = {}
        self._on_node: defaultdict[str, set[str]] = defaultdict(set)
        self._placed: dict[str, Pod] = {}

    @property
    def pods(self) -> Collection[Pod]:
        """All of them, each the same object as long as nothing about it changes."""
        return self._placed.values()

    def put_pod(self, key: str, observed: ObservedPod | None) -> bool:
        """The pod is this now. Whether anything differs."""
        before = self._observed.pop(key, None)
        if before is not None:
            self._leave(before.node, key)
        if observed is None:
            return self._placed.pop(key, None) is not None
        self._observed[key] = observed
        self._on_node[observed.node].add(key)
        return self._place(key)

    def put_node(self, name: str, locality: Locality | None) -> bool:
        """The node is there now. Whether anything differs."""
        if locality is None:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = locality
        moved = [key for key in self._on_node.get(name, ()) if self._place(key)]
        return bool(moved)

    def _leave(self, node: str, key: str) -> None:
        self._on_node[node].discard(key)
        if not self._on_node[node]:
            del self._on_node[node]

    def _place(self, key: str) -> bool:
        observed = self._observed[key]
        pod = observed.pod
        locality = self._nodes.get(observed.node)
        if locality is not None and pod.locality == Locality():
            pod = replace(pod, locality=locality)
        if self._placed.get(key) == pod:
            return False
        self._placed[key] = pod
        return True


def _addresses(status: Mapping[str, Any]) -> tuple[str, ...]:
    listed = [entry.get("ip") for entry in status.get("podIPs") or ()] or [status.get("podIP")]
    found = dict.fromkeys(str(ipaddress.ip_address(text)) if ":" in text else text for text in listed if text)
    return tuple(sorted(found, key=lambda address: (":" in address, address)))


def _native_sidecars(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Init containers that run as long as the pod does; a Service may name their ports too."""
    return tuple(each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always")


def _interned(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts by key, each kept once: thousands of pods have the same labels."""
    return {sys.intern(key): sys.intern(texts[key]) for key in sorted(texts)}


def _workload(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    owners = (owner for owner in metadata.get("ownerReferences") or () if owner.get("controller"))
    owner = next(owners, None)
    if owner is None:
        return str(metadata["name"])
    found = owning_workload(str(owner.get("kind")), str(owner["name"]), labels.get(_TEMPLATE_HASH, ""))
    return found or str(metadata["name"])
