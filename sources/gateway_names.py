"""How VirtualServices name Gateways."""

from __future__ import annotations

from model.names import CLUSTER_DOMAIN
from model.routing import MESH_GATEWAY

_SUFFIX = f".svc.{CLUSTER_DOMAIN}"


def to_gateway_name(text: str, namespace: str) -> str:
    """`mesh`, or `NAMESPACE/NAME`; a bare name is of `namespace`, and `NAME.NAMESPACE.svc...` is Istio's old form."""
    if text == MESH_GATEWAY or "/" in text:
        return text
    if text.endswith(_SUFFIX):
        name, _, owner = text.removesuffix(_SUFFIX).rpartition(".")
        if name and owner:
            return f"{owner}/{name}"
    return f"{namespace}/{text}"
