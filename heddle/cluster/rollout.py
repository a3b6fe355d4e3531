"""What an installation still waits for until it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from heddle.cluster.names import LEADER_LEASE, MUTATING, REVISION_OF, VALIDATING, injector_name, validator_name
from heddle.cluster.requests import ClusterApi, find, find_all
from sources.kubernetes.resources import Resource

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_POLL_SECONDS = 1.0
_LINES, _LINE = 3, 300
"""How much is shown of the last words of what ended: lines, and characters of each."""


async def wait_for_rollout(api: ClusterApi, *, namespace: str, revision: str, tell: Callable[[str], None]) -> None:
    """Returns when every replica is of the newest version and ready, one of them leads, and the API server trusts the
    webhooks.

    Tells each thing that it waits for, once. Never gives up by itself.
    """
    said: tuple[str, ...] = ()
    while True:
        waits = await find_waits(api, namespace=namespace, revision=revision)
        for line in waits:
            if line not in said:
                tell(line)
        if not waits:
            return
        said = waits
        await asyncio.sleep(_POLL_SECONDS)


async def find_waits(api: ClusterApi, *, namespace: str, revision: str) -> tuple[str, ...]:
    """What is missing, one sentence each; empty when the installation works."""
    deployment = await find(api, f"/apis/apps/v1/namespaces/{namespace}/deployments/{revision}")
    if deployment is None:
        return (f"there is no Deployment {revision} in {namespace}",)
    waits = rollout_waits(deployment)
    if waits:
        pods = Resource(kind="Pod", plural="pods", namespace=namespace)
        waits += pod_waits(await find_all(api, pods, labels=f"{REVISION_OF}={revision}"))
        return waits
    missing = await _leader_waits(api, namespace)
    for resource, name in ((MUTATING, injector_name(revision)), (VALIDATING, validator_name(revision))):
        found = await find(api, f"{resource.path('v1')}/{name}")
        for webhook in (found or {}).get("webhooks") or ():
            if not webhook["clientConfig"].get("caBundle"):
                missing.append(f"waiting for the control plane to fill in the caBundle of {name}")
                break
    return tuple(missing)


async def _leader_waits(api: ClusterApi, namespace: str) -> list[str]:
    """Whether a pod that is there holds the Lease: one that was killed, or uninstalled, holds it until it runs out."""
    lease = await find(api, f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEADER_LEASE}")
    holder = str((((lease or {}).get("spec") or {}).get("holderIdentity")) or "")
    if not holder:
        return [f"waiting for a replica to take the Lease {LEADER_LEASE}"]
    pods = Resource(kind="Pod", plural="pods", namespace=namespace)
    # A replica names itself after its pod, and adds what differs each time it starts.
    pod = await find(api, f"{pods.path('v1')}/{holder.rpartition('_')[0] or holder}")
    if pod is None or pod["metadata"].get("deletionTimestamp"):
        return [f"waiting for the Lease {LEADER_LEASE} of {holder}, which is gone, to run out"]
    return []


def rollout_waits(deployment: Json) -> tuple[str, ...]:
    """Why a Deployment is not rolled out: as `kubectl rollout status` sees it."""
    name = deployment["metadata"]["name"]
    wanted = deployment["spec"].get("replicas", 1)
    status: Mapping[str, Any] = deployment.get("status") or {}
    failures = tuple(
        f"Deployment {name}: {condition.get('message', condition['reason'])}"
        for condition in status.get("conditions") or ()
        if (condition["type"], condition["status"]) in (("ReplicaFailure", "True"), ("Progressing", "False"))
    )
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return (f"waiting for Deployment {name} to be looked at", *failures)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return (f"waiting for Deployment {name}: {updated} of {wanted} replicas are of the new version", *failures)
    if status.get("replicas", 0) > updated:
        return (f"waiting for Deployment {name}: {status['replicas'] - updated} old replicas have to end", *failures)
    if available < wanted:
        return (f"waiting for Deployment {name}: {available} of {wanted} replicas are ready", *failures)
    return ()


def pod_waits(pods: list[Json]) -> tuple[str, ...]:
    """Why pods do not start, as their status says it."""
    found = []
    for pod in pods:
        status = pod.get("status") or {}
        found += [
            f"Pod {pod['metadata']['name']}: {condition.get('message') or condition.get('reason')}"
            for condition in status.get("conditions") or ()
            if (condition["type"], condition["status"]) == ("PodScheduled", "False")
        ]
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                message = f": {waiting['message']}" if waiting.get("message") else ""
                ended = _told_end((container.get("lastState") or {}).get("terminated") or {})
                found.append(f"Pod {pod['metadata']['name']}: {waiting['reason']}{message}{ended}")
    return tuple(found)


def _told_end(terminated: Mapping[str, Any]) -> str:
    """How a container ended before it was started again: the kubelet keeps the end of its log as its message."""
    if "exitCode" not in terminated:
        return ""
    reason = terminated.get("reason", "Error")
    said = f"; it ended with status {terminated['exitCode']}" + (f" ({reason})" if reason != "Error" else "")
    lines = [line.strip() for line in str(terminated.get("message") or "").splitlines() if line.strip()]
    shown = (line if len(line) <= _LINE else f"{line[:_LINE]}..." for line in lines[-_LINES:])
    return f"{said} and said: {' | '.join(shown)}" if lines else said
