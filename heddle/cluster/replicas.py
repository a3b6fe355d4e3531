"""Which pods are control planes: all revisions in Heddle's own namespace, which share one mesh."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heddle.cluster.names import HEDDLE, NAME, REVISION_OF
from model.pods import Pod

PORT: Final = 15016
"""Where a replica answers questions about itself."""

PORT_NAME: Final = "admin"
"""That container port's name, for a replica that has it elsewhere."""

VERSION_OF: Final = "app.kubernetes.io/version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A pod of a control plane. `pod` is its name, `address` '' while it has none; `version` its release, or ''."""

    pod: str
    uid: str
    revision: str
    version: str
    address: str
    port: int


def replicas(pods: Iterable[Pod], namespace: str) -> tuple[Replica, ...]:
    """Those among `pods`, by name. A pod is one by its labels, and by running as its revision's service account."""
    found = (
        Replica(
            pod=pod.ref.name,
            uid=pod.uid,
            revision=pod.labels[REVISION_OF],
            version=pod.labels.get(VERSION_OF, ""),
            address=pod.addresses[0] if pod.addresses else "",
            port=next((port.number for port in pod.ports if port.name == PORT_NAME), PORT),
        )
        for pod in pods
        if pod.ref.namespace == namespace
        and pod.labels.get(NAME) == HEDDLE
        and pod.labels.get(REVISION_OF) == pod.service_account
    )
    return tuple(sorted(found, key=lambda replica: replica.pod))


def reader_of(revision: str) -> str:
    """The service account with which people ask the replicas of a revision (by its full name, `heddle-canary`)."""
    return f"{revision}-reader"
