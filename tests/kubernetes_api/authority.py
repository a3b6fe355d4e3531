"""The Secret of an authority, as Heddle keeps it."""

from __future__ import annotations

import base64

from sds.authority import NewAuthority
from sds.authority_material import build_material
from tests.kubernetes_api.objects import Json


def authority_secret(new: NewAuthority, *, namespace: str = "heddle-system", **texts: bytes | None) -> Json:
    """`texts` replace what is under a key (`root_pem` for `root.pem`); None leaves it out."""
    material: dict[str, bytes | None] = dict(build_material(new))
    material.update((name.replace("_", "."), text) for name, text in texts.items())
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "heddle-ca", "namespace": namespace},
        "type": "Opaque",
        "data": {name: base64.b64encode(text).decode() for name, text in material.items() if text is not None},
    }
