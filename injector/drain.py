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

DEFAULT_GRACE: Final = 30


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
    given = pod["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE if given is None else int(given)


def add_wait(container: Json, drain: timedelta) -> None:
    """Gives the container its hook."""
    container["lifecycle"] = (container.get("lifecycle") or {}) | {"preStop": sleep_action(drain)}


def remove_wait(container: Json) -> int:
    """Takes the hook from the container again; how long it is, in seconds. 0 if it has become another one."""
    lifecycle = container.get("lifecycle") or {}
    hook = lifecycle.get("preStop")
    sleep = hook.get("sleep") if isinstance(hook, dict) and len(hook) == 1 else None
    seconds = sleep.get("seconds") if isinstance(sleep, dict) else None
    if not isinstance(seconds, int):
        return 0
    del lifecycle["preStop"]
    if not lifecycle:
        del container["lifecycle"]
    return seconds


def sleep_action(drain: timedelta) -> Json:
    """Kubernetes' SleepAction, on by default since 1.30."""
    return {"sleep": {"seconds": round(drain.total_seconds())}}
