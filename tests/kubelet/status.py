"""A pod's status, as a kubelet writes it: what the endpoint controllers and people look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from heddle.local.container_process import Phase
from tests.kubelet.container import Ended, PodContainer, Role

Json = dict[str, Any]


@dataclass(slots=True)
class Conditions:
    """The conditions of a pod, each with the time of its last change."""

    held: dict[str, tuple[bool, str]] = field(default_factory=dict)

    def set(self, kind: str, value: bool, at: datetime) -> None:
        if kind not in self.held or self.held[kind][0] != value:
            self.held[kind] = (value, _time(at))

    def listed(self) -> list[Json]:
        return [
            {"type": kind, "status": str(value), "lastTransitionTime": at} for kind, (value, at) in self.held.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What of a pod is not its containers'. `addresses` v4 first, none before it has a place."""

    addresses: Sequence[str]
    host_address: str
    started: datetime
    initialized: bool
    terminating: bool
    restart_policy: str
    message: str


def build_status(containers: Sequence[PodContainer], pod: Observed, conditions: Conditions, now: datetime) -> Json:
    """The status; `conditions` remembers when each changed last."""
    mains = [container for container in containers if container.role is Role.MAIN]
    serving = [container for container in containers if container.role is not Role.INIT]
    phase = _phase(containers, pod)
    over = phase in ("Succeeded", "Failed")
    ready = pod.initialized and not over and all(container.ready for container in serving)
    conditions.set("PodScheduled", True, now)
    conditions.set("Initialized", pod.initialized, now)
    conditions.set("ContainersReady", ready, now)
    # A pod that is being deleted stays as ready as its containers are; that it is leaving is in its metadata.
    conditions.set("Ready", ready, now)
    status: Json = {
        "phase": phase,
        "hostIP": pod.host_address,
        "hostIPs": [{"ip": pod.host_address}],
        "startTime": _time(pod.started),
        "conditions": conditions.listed(),
        "initContainerStatuses": [_container(each) for each in containers if each.role is not Role.MAIN],
        "containerStatuses": [_container(each) for each in mains],
        "message": pod.message or None,
    }
    if pod.addresses:
        status |= {"podIP": pod.addresses[0], "podIPs": [{"ip": address} for address in pod.addresses]}
    return status


def _phase(containers: Sequence[PodContainer], pod: Observed) -> str:
    mains = [container for container in containers if container.role is Role.MAIN]
    failed_init = any(each.role is Role.INIT and each.is_final and not each.succeeded for each in containers)
    if failed_init:
        return "Failed"
    over = mains and pod.initialized and all(container.is_final for container in mains)
    if over and (pod.restart_policy != "Always" or pod.terminating):
        return "Succeeded" if all(container.succeeded for container in mains) else "Failed"
    return "Running" if pod.initialized and any(each.times.running or each.times.ended for each in mains) else "Pending"


def _container(container: PodContainer) -> Json:
    image = container.spec.get("image") or ""
    times = container.times
    found: Json = {
        "name": container.name,
        "image": image,
        "imageID": f"local/{image}",
        "ready": container.succeeded if container.role is Role.INIT else container.ready,
        "started": container.started.is_set(),
        "restartCount": container.restarts,
        "state": _state(container),
    }
    if times.last is not None:
        found["lastState"] = {"terminated": _terminated(times.last)}
    return found


def _state(container: PodContainer) -> Json:
    times = container.times
    if container.trouble is not None:
        reason, message = container.trouble
        return {"waiting": {"reason": reason, "message": message}}
    if times.running is not None:
        return {"running": {"startedAt": _time(times.running.since)}}
    if container.phase is Phase.BACKING_OFF:
        return {"waiting": {"reason": "CrashLoopBackOff"}}
    if times.ended is not None:
        return {"terminated": _terminated(times.ended)}
    return {"waiting": {"reason": "PodInitializing" if container.role is Role.MAIN else "ContainerCreating"}}


def _terminated(ended: Ended) -> Json:
    return {
        "exitCode": ended.code,
        "reason": "Completed" if ended.code == 0 else "Error",
        "startedAt": _time(ended.since),
        "finishedAt": _time(ended.at),
    }


def _time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
