"""What the revisions of one installation should have in common, and one of them has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from heddle.cluster.names import HEDDLE, INSTALLED, PART_OF, REVISION_OF, labels_of
from heddle.cluster.requests import ClusterApi, find_all

if TYPE_CHECKING:
    from sources.kubernetes.events import Json


async def find_lacks(api: ClusterApi, objects: Sequence[Json], *, namespace: str, revision: str) -> tuple[str, ...]:
    """What sidecars and gateways that move from another revision to this one would miss, one sentence each."""
    ours = next(item for item in objects if item["kind"] == "Deployment")
    found = []
    deployments = replace(INSTALLED["Deployment"], namespace=namespace)
    for theirs in await find_all(api, deployments, labels=f"{PART_OF}={HEDDLE}"):
        other = labels_of(theirs).get(REVISION_OF, "")
        if other in ("", revision):
            continue
        lacking = sorted(set(_values(theirs, "--secrets-of")) - set(_values(ours, "--secrets-of")))
        if lacking:
            found.append(
                f"{other} may read gateways' Secrets in {', '.join(lacking)}, and {revision} may not: gateways there "
                "that move to it get no certificates; give it the same gatewaySecretNamespaces"
            )
        settings = _values(theirs, "--mesh-config")
        if settings and settings != _values(ours, "--mesh-config"):
            found.append(
                f"{other} has its settings from the ConfigMap {settings[0]}, and {revision} from another: give it the "
                "same meshConfig"
            )
    return tuple(found)


def _values(deployment: Json, option: str) -> tuple[str, ...]:
    arguments: list[str] = deployment["spec"]["template"]["spec"]["containers"][0].get("args") or []
    return tuple(value for name, value in pairwise(arguments) if name == option)
