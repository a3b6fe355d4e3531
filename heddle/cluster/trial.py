"""Tries an installation out before anything of it is written: what the API server would refuse, by the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from heddle.cluster.apply import is_ours
from heddle.cluster.names import shown
from heddle.cluster.requests import ClusterApi, apply, find, path_of

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_BINDINGS: Final = ("RoleBinding", "ClusterRoleBinding")
_FORBIDDEN: Final = 403
_NO_DRY_RUN: Final = "does not support dry run"
"""What an API server says of an admission webhook that it may not try things out with."""


class WouldBeRefused(ValueError):
    """The API server refuses an object of the installation. Nothing was written."""


async def try_objects(api: ClusterApi, objects: Sequence[Json]) -> None:
    """Applies every object without effect (`dryRun=All`), but for those that need another that is not there yet.

    Raises WouldBeRefused, and what `ClusterApi` raises.
    """
    from sources.kubernetes.api import Refused

    await _refuse_missing_priority_class(api, objects)
    made = set()
    for item in objects:
        if item["metadata"].get("namespace") in made or item["kind"] in _BINDINGS:
            continue
        if item["kind"] == "Namespace":
            held = await find(api, path_of(item), metadata_only=True)
            if held is None:
                made.add(item["metadata"]["name"])
            elif not is_ours(held):
                # It is left as it is.
                continue
        try:
            await apply(api, item, dry_run=True)
        except Refused as error:
            if _NO_DRY_RUN in str(error):
                continue
            fix = "correct the values"
            if error.refusal.code == _FORBIDDEN:
                fix = "`heddle check --pre` with the same values says which rights are missing, if it is that"
            raise WouldBeRefused(
                f"{shown(item)} is refused by the API server: {error}; {fix}; nothing was changed"
            ) from None


async def _refuse_missing_priority_class(api: ClusterApi, objects: Sequence[Json]) -> None:
    """The API server looks at it only when pods are made. Raises WouldBeRefused."""
    from sources.kubernetes.api import Refused

    for item in objects:
        name = item["spec"]["template"]["spec"].get("priorityClassName") if item["kind"] == "Deployment" else None
        if not name:
            continue
        try:
            found = await find(api, f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}", metadata_only=True)
        except Refused as error:
            if error.refusal.code == _FORBIDDEN:
                return
            raise
        if found is None:
            raise WouldBeRefused(
                f"there is no PriorityClass {name}, which is the value priorityClassName: take one of `kubectl get "
                'priorityclasses`, or none (priorityClassName: ""); nothing was changed'
            )
