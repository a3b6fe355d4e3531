"""How an injected pod ends: the application goes on serving while its callers learn that it is going.

A kubelet ends the containers of a pod at the same moment as the control plane learns of it; an application that exits
at once on SIGTERM is gone before its callers' sidecars know. So each container without a preStop hook of its own gets
one that sleeps (a kubelet's own action: no shell, no program). The sidecar, being a native one, ends after them all.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from injector.names import SIDECAR
from injector.pod_values import Json, containers_of

_DEFAULT_GRACE: Final = 30


def waiting_containers(pod: Json, drain: timedelta) -> tuple[str, ...]:
    """The names of the containers that are to wait. None where pods end by themselves, or are ended without grace."""
    spec = pod["spec"]
    if not drain or (spec.get("restartPolicy") or "Always") != "Always" or grace_seconds(pod) == 0:
        return ()
    return tuple(
        container["name"]
        for container in containers_of(pod)
        if container["name"] != SIDECAR and not (container.get("lifecycle") or {}).get("preStop")
    )


def grace_seconds(pod: Json) -> int:
    """How long the pod may take to end, in seconds."""
    return int(pod["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE))


def add_wait(container: Json, drain: timedelta) -> None:
    """Gives the container its hook."""
    container["lifecycle"] = (container.get("lifecycle") or {}) | {"preStop": sleep_action(drain)}


def sleep_action(drain: timedelta) -> Json:
    """Kubernetes' SleepAction, on by default since 1.30."""
    return {"sleep": {"seconds": round(drain.total_seconds())}}
