"""Learning destinations on demand: whether a sidecar does, and what one asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SIDECAR_CONFIG = "heddle.io/sidecar-config"
"""The annotation of a pod that says how its sidecar gets its configuration."""


class SidecarConfig(StrEnum):
    """How sidecars learn destinations. AUTO: by how many there are. ON_DEMAND: once they are asked for. EAGER: all in
    scope ahead."""

    AUTO = "auto"
    ON_DEMAND = "on-demand"
    EAGER = "eager"


def parse_sidecar_config(annotations: Mapping[str, str]) -> SidecarConfig | None:
    """What a pod's annotations say; None if nothing. Raises ValueError for any other word."""
    said = annotations.get(SIDECAR_CONFIG)
    return None if said is None else SidecarConfig(said.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The resource that answers for a name that was asked for: a host's virtual host, or an address's cluster.

    `declared`: the mesh has it; else it is one of as many as a caller likes to invent.
    """

    name: str
    declared: bool
