"""What the process that plays the nodes is told, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network

from heddle.local.addresses import MeshSubnet


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """`directory` is where everything is written that others look at; `kubeconfig` comes into being there later.

    `nodes` are names to labels. `renew_tokens_after` in seconds, 0 for a kubelet's own habit.
    """

    directory: str
    subnet: str
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    renew_tokens_after: float = 0.0

    @property
    def mesh_subnet(self) -> MeshSubnet:
        return MeshSubnet(network=IPv4Network(self.subnet))


def encode(options: NodeOptions) -> str:
    return json.dumps(asdict(options))


def decode(text: str) -> NodeOptions:
    return NodeOptions(**json.loads(text))
