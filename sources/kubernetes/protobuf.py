"""Lists of pods as an API server spells them in protobuf: half the work, for either side, of the same in JSON.

Of a cluster's objects most are pods, and of a pod most is nothing that we read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from protos.kubernetes_pods_pb2 import Container, Envelope, ObjectMeta, Pod, PodList, Status

MAGIC: Final = b"k8s\0"
"""What every answer in protobuf begins with. Source: Kubernetes, API concepts."""


def decode(body: bytes) -> dict[str, Any] | None:
    """What the answer would have been in JSON, as far as it is read; None for one that is neither pods nor a refusal.

    Raises ValueError.
    """
    try:
        envelope = Envelope.FromString(body[len(MAGIC) :])
        match envelope.type_meta.kind:
            case "PodList":
                return _pod_list(PodList.FromString(envelope.raw))
            case "Status":
                return _status(Status.FromString(envelope.raw))
            case _:
                return None
    except DecodeError as error:
        raise ValueError(f"it is no protobuf: {error}") from None


def _pod_list(pods: PodList) -> dict[str, Any]:
    metadata = {"resourceVersion": pods.metadata.resource_version, "continue": pods.metadata.continue_token}
    return {"metadata": metadata, "items": [_pod(pod) for pod in pods.items]}


def _status(status: Status) -> dict[str, Any]:
    return {"message": _text(status.message), "reason": status.reason, "code": status.code}


def _pod(pod: Pod) -> dict[str, Any]:
    spec, status = pod.spec, pod.status
    return {
        "metadata": _metadata(pod.metadata),
        "spec": {
            "containers": _containers(spec.containers),
            "initContainers": _containers(spec.init_containers),
            "serviceAccountName": spec.service_account_name,
            "nodeName": spec.node_name,
            "hostNetwork": spec.host_network,
            "hostname": spec.hostname,
            "subdomain": spec.subdomain,
        },
        "status": {
            "phase": status.phase,
            "conditions": [{"type": each.type, "status": each.status} for each in status.conditions],
            "podIP": status.pod_ip,
            "podIPs": [{"ip": each.ip} for each in status.pod_ips],
        },
    }


def _metadata(metadata: ObjectMeta) -> dict[str, Any]:
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
        "labels": dict(metadata.labels),
        "annotations": _texts(metadata.annotations),
        "ownerReferences": [
            {"kind": each.kind, "name": each.name, "controller": each.controller} for each in metadata.owner_references
        ],
    }


def _containers(containers: Iterable[Container]) -> list[dict[str, Any]]:
    return [
        {
            "name": container.name,
            "restartPolicy": container.restart_policy,
            "ports": [
                {"name": port.name, "containerPort": port.container_port, "protocol": port.protocol}
                for port in container.ports
            ],
        }
        for container in containers
    ]


def _texts(found: Mapping[str, bytes]) -> dict[str, str]:
    return {name: _text(value) for name, value in found.items()}


def _text(value: bytes) -> str:
    """As JSON would have it, where it is no UTF-8."""
    return value.decode(errors="replace")
