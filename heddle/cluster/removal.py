"""What an uninstallation deletes, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heddle.cluster.apply import installed_in, installed_objects
from heddle.cluster.chart import MANAGER
from heddle.cluster.names import (
    AUTHORITY_SECRET,
    HEDDLE,
    INSTALLED,
    LEADER_LEASE,
    MANAGED_BY,
    PART_OF,
    REVISION_OF,
    ROOT_CONFIG_MAP,
    labels_of,
    shown,
)
from heddle.cluster.requests import ClusterApi, find, find_all, path_of
from model.pods import INJECTED
from sources.kubernetes.resources import PODS

if TYPE_CHECKING:
    from sources.kubernetes.events import Json


class CannotRemove(ValueError):
    """It would take away what somebody still needs. Nothing was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """`objects` in the order in which they go. `remarks` are for whoever asked."""

    objects: tuple[Json, ...]
    remarks: tuple[str, ...]


async def plan_removal(api: ClusterApi, *, namespace: str, revision: str, purge: bool) -> Removal:
    """Raises CannotRemove, and what `ClusterApi` raises."""
    for place in await installed_in(api, revision):
        if place != namespace:
            raise CannotRemove(f"{revision} is installed in {place}: name it with -n {place}")
    await _refuse_helms(api, namespace, revision)
    objects = await installed_objects(api, revision)
    others = await _other_revisions(api, revision)
    remarks = []
    pods = await _pods_of(api, revision)
    if pods:
        places = ", ".join(sorted({pod["metadata"]["namespace"] for pod in pods}))
        move = f"Label their namespaces istio.io/rev={others[0]}" if others else "Take the labels from their namespaces"
        remarks.append(
            f"{len(pods)} pods have sidecars of {revision} ({places}): they go on with what they have until their "
            f"certificates end. {move} and restart them first; pods that start there afterwards have no sidecar"
        )
    if purge:
        if others:
            raise CannotRemove(f"--purge would take the authority from {', '.join(others)}, which is installed too")
        objects += await _own_objects(api, namespace)
    else:
        if objects and not others:
            objects += await _lease(api, namespace)
        secret = _object("v1", "Secret", namespace, AUTHORITY_SECRET)
        if await find(api, path_of(secret), metadata_only=True) is not None:
            remarks.append(f"kept: {shown(secret)}, the key of the mesh's authority (--purge deletes it)")
    remarks.append(f"kept: CustomResourceDefinitions, all that is of those kinds, and the namespace {namespace}")
    return Removal(objects=tuple(objects), remarks=tuple(remarks))


async def _pods_of(api: ClusterApi, revision: str) -> list[Json]:
    """Those whose sidecar connects to this revision."""
    found = []
    for pod in await find_all(api, PODS):
        text = (pod["metadata"].get("annotations") or {}).get(INJECTED)
        if text is not None and _revision_in(text) in ("", revision):
            found.append(pod)
    return found


def _revision_in(record: str) -> str:
    """The revision that the injector's record names; '' if it cannot be read."""
    try:
        read = json.loads(record)
    except (ValueError, RecursionError):
        return ""
    return str(read.get("revision", "")) if isinstance(read, dict) else ""


async def _refuse_helms(api: ClusterApi, namespace: str, revision: str) -> None:
    deployment = _object("apps/v1", "Deployment", namespace, revision)
    held = await find(api, path_of(deployment))
    manager = labels_of(held or {}).get(MANAGED_BY, MANAGER)
    if held is not None and labels_of(held).get(PART_OF) == HEDDLE and manager != MANAGER:
        raise CannotRemove(f"{shown(deployment)} was installed by {manager}: helm uninstall heddle -n {namespace}")


async def _other_revisions(api: ClusterApi, revision: str) -> list[str]:
    """Of any manager."""
    found = await find_all(api, INSTALLED["Deployment"], labels=f"{PART_OF}={HEDDLE}")
    return sorted({labels_of(item).get(REVISION_OF, "") for item in found} - {"", revision})


async def _own_objects(api: ClusterApi, namespace: str) -> list[Json]:
    """What the control plane made for itself."""
    secret = _object("v1", "Secret", namespace, AUTHORITY_SECRET)
    found = await _existing(api, [secret]) + await _lease(api, namespace)
    namespaces = await find_all(api, INSTALLED["Namespace"])
    roots = [_object("v1", "ConfigMap", one["metadata"]["name"], ROOT_CONFIG_MAP) for one in namespaces]
    return found + await _existing(api, roots)


async def _lease(api: ClusterApi, namespace: str) -> list[Json]:
    """The leader's, which would go on naming it: its pods may not write it any more once their Role is gone.

    Last of all, when nobody is left who may make another.
    """
    return await _existing(api, [_object("coordination.k8s.io/v1", "Lease", namespace, LEADER_LEASE)])


async def _existing(api: ClusterApi, items: Iterable[Json]) -> list[Json]:
    return [item for item in items if await find(api, path_of(item), metadata_only=True) is not None]


def _object(version: str, kind: str, namespace: str, name: str) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}
