"""What a sidecar was sent and what became of it, as JSON values for `heddle status` and `heddle config`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import betterproto2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost

from heddle.cluster.replica_progress import to_rejected
from heddle.culprits import Culprits
from heddle.reasons import concise
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from sds.secrets import SecretDescription
from xds.state import StreamState, TypeState

_KINDS = {
    "cluster": (CLUSTER,),
    "listener": (LISTENER,),
    "route": (ROUTE, VIRTUAL_HOST),
    "endpoint": (ENDPOINT,),
    "secret": (SECRET,),
}
_MESSAGES: dict[str, type[betterproto2.Message]] = {
    CLUSTER: Cluster,
    LISTENER: Listener,
    ROUTE: RouteConfiguration,
    VIRTUAL_HOST: VirtualHost,
    ENDPOINT: ClusterLoadAssignment,
}


def is_late(stream: StreamState, generation: int) -> bool:
    """Whether the sidecar still needs something of this configuration."""
    return not stream.acknowledged(generation)


def describe_sidecar(stream: StreamState, generation: int) -> dict[str, Any]:
    return {
        "namespace": stream.asker.namespace,
        "pod": stream.asker.pod,
        "node": stream.node.id,
        "protocol": "delta" if stream.delta else "state of the world",
        "on_demand": stream.asker.on_demand,
        "connected": stream.opened_at.isoformat(),
        "current": not is_late(stream, generation),
        "types": {
            kind: _counts([state for state in stream.types if state.type_url in urls]) for kind, urls in _KINDS.items()
        },
    }


def _counts(states: list[TypeState]) -> dict[str, Any]:
    return {
        "sent": sum(len(state.acknowledged) + len(state.pending) for state in states),
        "acknowledged": not any(state.pending for state in states),
        "rejected": sum(len(state.rejected) for state in states),
    }


def describe_rejections(stream: StreamState, culprits: Callable[[], Culprits]) -> list[dict[str, Any]]:
    """What the sidecar refuses at present, each with Envoy's own words and the objects that it was made of."""
    return [
        {
            "namespace": stream.asker.namespace,
            "pod": stream.asker.pod,
            "type": kind_of(state.type_url),
            "resources": [rejected.name],
            "reason": concise(rejected.message),
            "objects": [
                {"resource": str(each.ref), "file": each.position.file, "line": each.position.line}
                for each in culprits().of(to_rejected(stream.asker, state.type_url, rejected))
            ],
        }
        for state in stream.types
        for rejected in state.rejected
    ]


def describe_types(stream: StreamState, kind: str, secrets: Iterable[SecretDescription]) -> dict[str, Any]:
    """The resources of one kind, or of all, by kind. Of secrets only what may be shown."""
    wanted = list(_KINDS) if kind == "all" else [kind]
    return {
        name: [_secret(secret) for secret in secrets]
        if name == "secret"
        else [entry for state in stream.types if state.type_url in _KINDS.get(name, ()) for entry in _entries(state)]
        for name in wanted
    }


def _entries(state: TypeState) -> list[dict[str, Any]]:
    pending = dict(state.pending)
    rejected = {resource.name: resource.message for resource in state.rejected}
    entries = []
    for resource in state.acknowledged:
        status = "rejected" if resource.name in rejected else "sent" if resource.name in pending else "acknowledged"
        content = _MESSAGES[state.type_url].parse(bytes(resource.body)).to_dict() if resource.packed else {}
        entries.append({"name": resource.name, "version": resource.version, "state": status, "content": content})
    held = {resource.name for resource in state.acknowledged}
    for name, version in pending.items():
        if name not in held:
            entries.append({"name": name, "version": version, "state": "sent", "content": {}})
    for name, message in rejected.items():
        if name not in held:
            entries.append({"name": name, "version": "", "state": "rejected", "content": {"reason": concise(message)}})
    return sorted(entries, key=lambda entry: str(entry["name"]))


def _secret(secret: SecretDescription) -> dict[str, Any]:
    content = {
        "serial": secret.serial,
        "spiffe_id": secret.spiffe_id,
        "subject": secret.subject,
        "issuer": secret.issuer,
        "not_before": secret.not_before.isoformat(),
        "not_after": secret.not_after.isoformat(),
        "renew_at": secret.renew_at.isoformat() if secret.renew_at else None,
    }
    return {"name": secret.name, "version": secret.serial, "state": "acknowledged", "content": content}


def kind_of(type_url: str) -> str:
    """What people call resources of that type."""
    return next((kind for kind, urls in _KINDS.items() if type_url in urls), type_url)
