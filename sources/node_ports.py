"""The ports of the nodes that Services ask for. Nothing here opens them, but no two Services can have the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sources.kinds import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePort:
    """`field` is where a manifest asks for it."""

    number: int
    transport: str
    field: str


def node_ports(entry: Object) -> Iterator[NodePort]:
    """Those that the manifest of a Service names, not 0, which means any."""
    listed = entry.find("spec.ports")
    for index in range(len(listed.value) if listed is not None and isinstance(listed.value, tuple) else 0):
        field = f"spec.ports[{index}].nodePort"
        node, said = entry.find(field), entry.find(f"spec.ports[{index}].protocol")
        if node is not None and isinstance(node.value, int) and node.value:
            transport = said.value if said is not None and isinstance(said.value, str) else "TCP"
            yield NodePort(number=node.value, transport=transport, field=field)
