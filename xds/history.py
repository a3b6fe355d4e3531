"""What workloads were seen to use lately: sent ahead to their sidecars that start anew. In memory alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from model.asker import Asker

Workload: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...]]
"""Namespace, service account and the labels that its pods have in common: nothing of it is the sidecar's own word."""

_OF_ONE_POD = frozenset(
    {
        "apps.kubernetes.io/pod-index",
        "controller-revision-hash",
        "pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
    }
)
"""Labels by which pods, or versions, of one workload differ."""

LATELY = timedelta(days=1)
"""For how long after its last use a host is sent ahead."""
HOSTS_OF_A_WORKLOAD = 500
HOSTS = 100_000
"""Of all workloads together; the workload that asked longest ago goes first."""
PODS = 20_000
"""Of which it is known since when they have what they did not ask for."""
AWAY = timedelta(hours=2)
"""A pod that comes back after longer, from another replica perhaps, may have got it later."""


def workload_of(asker: Asker) -> Workload:
    """The workload that the asker is a pod of."""
    labels = tuple(sorted((key, value) for key, value in asker.labels.items() if key not in _OF_ONE_POD))
    return asker.namespace, asker.service_account, labels


class History:
    """When each workload was last seen to use what, the longest ago first. Since when pods hold what was sent ahead."""

    __slots__ = ("_ahead_since", "_most", "_most_of_one", "_size", "_workloads")

    def __init__(self, *, most_of_one: int = HOSTS_OF_A_WORKLOAD, most: int = HOSTS) -> None:
        self._most_of_one = most_of_one
        self._most = most
        self._size = 0
        self._workloads: dict[Workload, dict[str, datetime]] = {}
        self._ahead_since: dict[tuple[str, str], tuple[datetime, datetime]] = {}
        """And when it was told, by namespace and name of the pod."""

    def note(self, workload: Workload, name: str, at: datetime) -> None:
        """The workload uses `name` at that time, which is not before any noted so far."""
        names = self._workloads.pop(workload, {})
        self._workloads[workload] = names
        self._size += name not in names
        names.pop(name, None)
        names[name] = at
        if len(names) > self._most_of_one:
            del names[next(iter(names))]
            self._size -= 1
        while self._size > self._most and len(self._workloads) > 1:
            self._size -= len(self._workloads.pop(next(iter(self._workloads))))

    def suppose(self, workload: Workload, name: str, until: datetime) -> None:
        """A pod of the workload was sent `name` ahead, by another control plane: it counts as used until then, unless
        something is known of it already, or there is no room."""
        names = self._workloads.get(workload, {})
        if name not in names and len(names) < self._most_of_one and self._size < self._most:
            self._workloads[workload] = names
            self._size += 1
            names[name] = until - LATELY

    def recent(self, workload: Workload, now: datetime) -> tuple[str, ...]:
        """What it was seen to use lately."""
        names = self._workloads.get(workload, {})
        return tuple(name for name, at in names.items() if now - at < LATELY)

    def leave(self, asker: Asker, since: datetime | None, now: datetime) -> None:
        """A pod's stream ends: the oldest of what it was sent ahead and has not asked for is as old as that.

        None: there is nothing, or the stream was not on demand.
        """
        pod = asker.namespace, asker.pod
        self._ahead_since.pop(pod, None)
        if since is not None:
            self._ahead_since[pod] = since, now
            if len(self._ahead_since) > PODS:
                del self._ahead_since[next(iter(self._ahead_since))]

    def ahead_since(self, asker: Asker, now: datetime) -> datetime | None:
        """As it was when the pod's last stream ended; None: nothing is known of it, or that was too long ago."""
        since, told = self._ahead_since.get((asker.namespace, asker.pod), (None, now))
        return since if now - told <= AWAY else None
