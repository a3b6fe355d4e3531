"""Objects of a cluster by their names, for commands."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from heddle.cluster.names import DEFINITIONS, INSTALLED
from sources.kubernetes.resources import Resource

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

_NO_QUERY: Final[Mapping[str, str]] = MappingProxyType({})
MANAGER: Final = "heddle-install"
"""The applier of what an installation is made of; the control plane's own writes are another's."""


class ClusterApi(Protocol):
    """The part of `sources.kubernetes.api.Api` that commands use."""

    name: str

    async def get(self, path: str, query: Mapping[str, str], accept: str) -> bytes: ...

    async def write(
        self, method: str, path: str, body: Json | None = None, *, query: Mapping[str, str], content_type: str
    ) -> Json: ...


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Which cluster."""
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="which kubeconfig (as kubectl finds it)")
    parser.add_argument("--context", default="", metavar="NAME", help="which of its contexts (the current one)")


@asynccontextmanager
async def open_cluster(args: argparse.Namespace) -> AsyncIterator[ClusterApi]:
    """The cluster that the arguments name. Raises NoCluster."""
    from sources.kubernetes.access import ClusterAccess
    from sources.kubernetes.api import open_api

    async with open_api(ClusterAccess(kubeconfig=args.kubeconfig, context=args.context)) as api:
        yield cast("ClusterApi", api)


async def read(
    api: ClusterApi, path: str, query: Mapping[str, str] = _NO_QUERY, *, metadata_only: bool = False
) -> Json:
    """What a path answers. Raises Unreachable, Refused, Garbled."""
    from sources.kubernetes.api import FULL, METADATA
    from sources.kubernetes.events import Garbled

    try:
        found: Json = json.loads(await api.get(path, query, METADATA if metadata_only else FULL))
    except ValueError as error:
        raise Garbled(f"{path}: the answer is no JSON: {error}") from None
    return found


async def find(api: ClusterApi, path: str, *, metadata_only: bool = False) -> Json | None:
    """The object at a path, None if there is none. Raises Unreachable, Refused, Garbled."""
    from sources.kubernetes.api import Refused

    try:
        return await read(api, path, metadata_only=metadata_only)
    except Refused as error:
        if error.refusal.code == 404:
            return None
        raise


async def find_all(api: ClusterApi, resource: Resource, *, labels: str = "") -> list[Json]:
    """The objects of a collection with these labels, whole; none where the collection is not known."""
    found: list[Json] = []
    query = {"limit": "500", **({"labelSelector": labels} if labels else {})}
    while True:
        page = await _page(api, resource, query)
        found += page.get("items") or []
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            # A list does not say of its items what it says of itself.
            version = f"{resource.group}/{resource.versions[0]}" if resource.group else resource.versions[0]
            return [{"apiVersion": version, "kind": resource.kind, **item} for item in found]
        query["continue"] = token


async def _page(api: ClusterApi, resource: Resource, query: Mapping[str, str]) -> dict[str, Any]:
    from sources.kubernetes.api import Refused

    try:
        return await read(api, resource.path(resource.versions[0]), query)
    except Refused as error:
        if error.refusal.code == 404:
            return {}
        raise


async def apply(api: ClusterApi, item: Json, *, dry_run: bool = False) -> Json:
    """Server-side apply, as the installer; what others hold of the object stays theirs. Raises as `Api.write` does.

    `dry_run`: the API server says what would become of it, and keeps nothing.
    """
    from sources.kubernetes.api import APPLY_PATCH

    query = {"fieldManager": MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
    return await api.write("PATCH", path_of(item), item, query=query, content_type=APPLY_PATCH)


async def create(api: ClusterApi, path: str, item: Json) -> Json:
    """A POST, such as a review. Raises as `Api.write` does."""
    from sources.kubernetes.api import FULL

    return await api.write("POST", path, item, query={}, content_type=FULL)


async def delete(api: ClusterApi, item: Json) -> bool:
    """False if it was gone already."""
    from sources.kubernetes.api import FULL, Refused

    try:
        await api.write("DELETE", path_of(item), None, query={"propagationPolicy": "Background"}, content_type=FULL)
    except Refused as error:
        if error.refusal.code == 404:
            return False
        raise
    return True


def path_of(item: Json) -> str:
    """Where the API server has an object of an installation."""
    from dataclasses import replace

    resource = DEFINITIONS if item["kind"] == DEFINITIONS.kind else INSTALLED[item["kind"]]
    placed = replace(resource, namespace=item["metadata"].get("namespace", ""))
    return f"{placed.path(placed.versions[0])}/{item['metadata']['name']}"
