"""The number of replicas, from the installer to an autoscaler: without a holder it would fall to one at once.

Source: Kubernetes, Server-Side Apply, "Transferring ownership".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from heddle.cluster.requests import MANAGER, ClusterApi, path_of

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_HOLDER: Final = "heddle-install-replicas"
"""Holds the number until an autoscaler writes another."""

_CONFLICT: Final = 409


async def keep_replicas(api: ClusterApi, item: Json, held: Json | None) -> None:
    """Before `item` is applied: a Deployment that gives its number up keeps it. Raises as `Api.write` does."""
    from sources.kubernetes.api import APPLY_PATCH, Refused

    if item["kind"] != "Deployment" or held is None or "replicas" in item["spec"] or not _is_installers(held):
        return
    number = held["spec"].get("replicas", 1)
    if number < 2:
        return
    body = {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": {name: item["metadata"][name] for name in ("name", "namespace")},
        "spec": {"replicas": number},
    }
    try:
        await api.write("PATCH", path_of(item), body, query={"fieldManager": _HOLDER}, content_type=APPLY_PATCH)
    except Refused as error:
        if error.refusal.code != _CONFLICT:
            raise
        # Somebody has written another number meanwhile, and holds that.


def _is_installers(held: Json) -> bool:
    return any(
        entry.get("manager") == MANAGER and "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        for entry in held["metadata"].get("managedFields") or ()
    )
