"""API objects to what a store takes: each is one file, named after the object, of which only what matters is kept."""

from __future__ import annotations

from dataclasses import replace

from model.problems import ObjectRef
from sources.kinds import Object
from sources.kubernetes.events import Json
from sources.kubernetes.resources import Resource
from sources.manifests import Parsed, parse_value
from sources.mesh_config import MESH_CONFIG
from sources.yaml_documents import Node

READ_METADATA = ("name", "namespace", "labels", "annotations", "creationTimestamp", "uid")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_NOT_READ = ("metadata", "status", "apiVersion", "kind")
_NOTHING = Node({}, 0)


def file_name(resource: Resource, key: str) -> str:
    """The name of an object's file: `VirtualService.networking.istio.io/shop/users`."""
    return f"{resource.kind}.{resource.group}/{key}" if resource.group else f"{resource.kind}/{key}"


def to_parsed(resource: Resource, key: str, item: Json, mesh_config: ObjectRef = MESH_CONFIG) -> Parsed:
    """The object as its kind's parser understands it, with problems that name it in place of a file.

    The ConfigMap `mesh_config` becomes the mesh's own, whatever it is called in the cluster.
    """
    version = item.get("apiVersion")
    manifest = {name: value for name, value in item.items() if name not in _NOT_READ}
    if resource.metadata_only:
        manifest = {}
    metadata = {name: value for name, value in item["metadata"].items() if name in READ_METADATA and value is not None}
    annotations = metadata.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        metadata["annotations"] = {name: value for name, value in annotations.items() if name != _LAST_APPLIED}
    if resource.kind == mesh_config.kind and (metadata.get("namespace"), metadata["name"]) == (
        mesh_config.namespace,
        mesh_config.name,
    ):
        metadata.update(namespace=MESH_CONFIG.namespace, name=MESH_CONFIG.name)
    if not isinstance(version, str) or not resource.custom:
        # The items of a list of a built-in kind do not say what they are.
        version = f"{resource.group}/{resource.versions[0]}" if resource.group else resource.versions[0]
    head = {"apiVersion": version, "kind": resource.kind, "metadata": metadata}
    parsed = parse_value(file_name(resource, key), {**head, **manifest})
    return parsed if resource.custom else replace(parsed, objects=tuple(map(_without_fields, parsed.objects)))


def _without_fields(found: Object) -> Object:
    """Only checks of Istio's kinds look a field up; without a file there are no lines to find."""
    return replace(found, root=_NOTHING)
