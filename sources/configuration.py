"""The kinds ConfigMap and Secret."""

from __future__ import annotations

import base64
import binascii

from model.problem_codes import ProblemCode
from sources.cluster_objects import ConfigMap, Secret
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.mesh_config import MESH_KEY, is_mesh_config, parse_mesh_config


def parse_config_map(root: Fields, metadata: Metadata) -> ConfigMap:
    """A ConfigMap; the mesh's own one is read as settings too."""
    data = {key: value.encode() for key, value in root.text_map("data").items()}
    data |= _parse_binary(root, "binaryData")
    root.ignore("immutable")
    settings = None
    if is_mesh_config(metadata.ref):
        inner = root.child("data")
        node = inner.node(MESH_KEY) if inner is not None else None
        settings = parse_mesh_config(node, root.report) if node is not None else None
    return ConfigMap(ref=metadata.ref, data=dict(sorted(data.items())), settings=settings)


def parse_secret(root: Fields, metadata: Metadata) -> Secret:
    """A Secret; `stringData` wins over `data`."""
    data = _parse_binary(root, "data")
    data |= {key: value.encode() for key, value in root.text_map("stringData").items()}
    root.ignore("immutable", "type")
    return Secret(ref=metadata.ref, data=dict(sorted(data.items())))


def _parse_binary(root: Fields, name: str) -> dict[str, bytes]:
    found = {}
    for key, text in root.text_map(name).items():
        try:
            found[key] = base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error:
            inner = root.child(name)
            if inner is not None:
                fix = "Encode it, or write it as it is under " + ("data." if name == "binaryData" else "stringData.")
                inner.problem(ProblemCode.INVALID_VALUE, f"{key} is not base64", fix, field=key)
    return found


KINDS = (
    Kind(group="", versions=("v1",), kind="ConfigMap", parse=parse_config_map, strict=False),
    Kind(group="", versions=("v1",), kind="Secret", parse=parse_secret, strict=False),
)
