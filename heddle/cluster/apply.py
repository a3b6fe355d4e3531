"""Puts an installation into a cluster: only what is ours or not there yet, and away with what it no longer has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heddle.cluster.chart import MANAGER
from heddle.cluster.names import (
    GATEWAY_SECRETS,
    HEDDLE,
    INSTALLED,
    MANAGED_BY,
    NAME,
    PART_OF,
    REVISION_OF,
    labels_of,
    shown,
)
from heddle.cluster.replica_handover import keep_replicas
from heddle.cluster.requests import ClusterApi, apply, delete, find, find_all, path_of

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

Tell = Callable[[str], None]


class NotOurs(ValueError):
    """Something in the cluster has the name of a part of ours and is another's. Nothing was written."""


class NoNamespace(ValueError):
    """A part of the installation is for a namespace that does not exist. Nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    item: Json
    held: Json | None


async def apply_objects(api: ClusterApi, objects: Sequence[Json], *, namespace: str, revision: str, tell: Tell) -> None:
    """Everything of a revision, in order, and removes what an earlier version of it had more.

    A Namespace that somebody else made is left as it is. Raises NotOurs and NoNamespace before anything is written,
    and what `ClusterApi` raises.
    """
    steps = await _planned(api, objects, namespace=namespace, revision=revision)
    for step in steps:
        if step.held is not None and step.item["kind"] == "Namespace" and not is_ours(step.held):
            tell(f"{shown(step.item)} left as it is: it was there already")
            continue
        await keep_replicas(api, step.item, step.held)
        tell(f"{shown(step.item)} {_outcome(step.held, await apply(api, step.item))}")
    kept = {path_of(item) for item in objects}
    for item in await installed_objects(api, revision):
        if path_of(item) not in kept and await delete(api, item):
            tell(f"{shown(item)} deleted: the installation has it no longer")


async def refuse_beforehand(api: ClusterApi, objects: Sequence[Json], *, namespace: str, revision: str) -> None:
    """What `apply_objects` would refuse, before anything else is written. Raises NotOurs, NoNamespace."""
    await _planned(api, objects, namespace=namespace, revision=revision)


async def _planned(api: ClusterApi, objects: Sequence[Json], *, namespace: str, revision: str) -> list[_Step]:
    """Raises NotOurs, NoNamespace."""
    for place, found in (await installed_revisions(api)).items():
        if place == namespace:
            continue
        if revision in found:
            raise NotOurs(
                f"{revision} is installed in {place} already, and a cluster has one of a name: -n {place} upgrades it, "
                f"-n {place} --revision NAME installs another beside it; nothing was changed"
            )
        raise NotOurs(
            f"{', '.join(found)} is installed in {place}. All revisions share the authority and the leader, which are "
            f"in one namespace: two would overwrite each other's roots. Install with -n {place}; nothing was changed"
        )
    steps = [_Step(item=item, held=await find(api, path_of(item))) for item in objects]
    _refuse_others(steps)
    await _refuse_missing_namespaces(api, objects, namespace)
    return steps


async def apply_definitions(api: ClusterApi, definitions: Sequence[Json], tell: Tell) -> None:
    """CustomResourceDefinitions: those that are absent, and ours, which are brought up to date.

    An Istio's own are left as they are; they work.
    """
    for item in definitions:
        held = await find(api, path_of(item))
        if held is not None and labels_of(held).get(NAME) != HEDDLE:
            tell(f"{shown(item)} left as it is: it is not Heddle's, and works")
        else:
            tell(f"{shown(item)} {_outcome(held, await apply(api, item))}")


async def installed_in(api: ClusterApi, revision: str) -> list[str]:
    """The namespaces that a revision is installed in, by whomever."""
    return [place for place, revisions in (await installed_revisions(api)).items() if revision in revisions]


async def installed_revisions(api: ClusterApi) -> Mapping[str, tuple[str, ...]]:
    """The revisions that are installed, by whomever, by their namespace: there should be one of these."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item in await find_all(api, INSTALLED["Deployment"], labels=f"{PART_OF}={HEDDLE}"):
        if revision := labels_of(item).get(REVISION_OF):
            found[item["metadata"]["namespace"]].add(revision)
    return {place: tuple(sorted(found[place])) for place in sorted(found)}


async def installed_objects(api: ClusterApi, revision: str) -> list[Json]:
    """What `heddle install` put into the cluster for a revision, in the order in which it is deleted."""
    labels = f"{PART_OF}={HEDDLE},{REVISION_OF}={revision},{MANAGED_BY}={MANAGER}"
    found: list[Json] = []
    for resource in INSTALLED.values():
        if resource.kind not in ("Namespace", "Secret", "Lease"):
            found += await find_all(api, resource, labels=labels)
    return found


async def missing_namespaces(api: ClusterApi, names: Iterable[str]) -> list[str]:
    """Those that do not exist, sorted."""
    namespaces = INSTALLED["Namespace"].path("v1")
    return [name for name in sorted(set(names)) if await find(api, f"{namespaces}/{name}", metadata_only=True) is None]


async def _refuse_missing_namespaces(api: ClusterApi, objects: Sequence[Json], namespace: str) -> None:
    made = {item["metadata"]["name"] for item in objects if item["kind"] == "Namespace"}
    wanted: dict[str, str] = {}
    for item in objects:
        name = item["metadata"].get("namespace", "")
        if name and name not in made:
            value = "gatewaySecretNamespaces" if item["metadata"]["name"].endswith(GATEWAY_SECRETS) else ""
            wanted[name] = wanted.get(name) or value
    for name in await missing_namespaces(api, wanted):
        if name == namespace:
            said, otherwise = "is to be Heddle's own", "set namespace.create: true"
        else:
            value = wanted[name] or "meshConfig.namespace"
            said, otherwise = f"is named by the value {value}", "take it out of the values"
        raise NoNamespace(
            f"the namespace {name}, which {said}, does not exist: kubectl create namespace {name}, or {otherwise}; "
            "nothing was changed"
        )


def _refuse_others(steps: Sequence[_Step]) -> None:
    for step in steps:
        if step.held is None or step.item["kind"] == "Namespace":
            continue
        labels = labels_of(step.held)
        if not is_ours(step.held):
            raise NotOurs(
                f"{shown(step.item)} exists and is not Heddle's. Delete it, or choose another name or namespace; "
                "nothing was changed"
            )
        if labels.get(MANAGED_BY) != MANAGER:
            raise NotOurs(
                f"{shown(step.item)} was installed by {labels.get(MANAGED_BY)}: upgrade with that "
                "(helm upgrade heddle deploy/chart), or uninstall with that first; nothing was changed"
            )


def is_ours(item: Json) -> bool:
    """Of any revision, by whomever it was installed."""
    return labels_of(item).get(PART_OF) == HEDDLE


def _outcome(held: Json | None, now: Json) -> str:
    if held is None:
        return "created"
    before, after = (item["metadata"].get("resourceVersion") for item in (held, now))
    return "unchanged" if before == after else "configured"
