"""Where pods live: what the pod runner needs of the network, whichever isolation provides it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from heddle.local.enter import PodHandle
from model.mesh import Mesh
from model.pods import HostAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceRequest:
    """A pod that needs a place. `key` is unique in the mesh: `namespace/name`. A gateway's traffic is not captured."""

    key: str
    namespace: str
    hostname: str
    aliases: tuple[HostAlias, ...]
    annotations: Mapping[str, str]
    meshed: bool


class Place(Protocol):
    """One pod's place. `addresses` are where others reach it, v4 first."""

    @property
    def addresses(self) -> tuple[str, ...]: ...

    @property
    def application_addresses(self) -> tuple[str, ...]:
        """Where its application listens: the same, but in the loopback mode."""

    @property
    def sidecar_address(self) -> str:
        """Where its application reaches its sidecar."""

    @property
    def sidecar_own_address(self) -> str:
        """Where the sidecar's own ports (readiness, metrics) are opened."""

    @property
    def handle(self) -> PodHandle | None:
        """Its namespaces, if it has any."""

    @property
    def problem(self) -> str:
        """What could not be set up as it should, or ''."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that its containers need there."""

    def application_argv(self, argv: Sequence[str], directory: str) -> tuple[str, ...]:
        """The command line that runs a container's command in the place."""

    def sidecar_argv(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs the sidecar in the place, exempt from capture."""

    async def connect(
        self, port: int, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the application from inside the place, past the sidecar. Raises OSError."""

    def kill_all(self) -> None:
        """Ends every process in the place at once."""


class Places(Protocol):
    """All places of a mesh."""

    @property
    def sidecar_user(self) -> int | None:
        """The uid that sidecars run as, if it is not the supervisor's: their files belong to it."""

    @property
    def marks(self) -> bool:
        """Whether sidecars mark their connections, to be exempt from capture."""

    @property
    def host_address(self) -> str:
        """The node's address, as pods see it."""

    async def add(self, requests: Sequence[PlaceRequest]) -> tuple[Place, ...]:
        """Makes places, all or none. Raises PlaceRefused."""

    async def remove(self, key: str, place: Place) -> None:
        """Takes a place away; its processes have ended."""

    def service_addresses(self, mesh: Mesh) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """The virtual address of every Service that has one; kept for the life of the mesh."""

    async def publish(self, mesh: Mesh) -> None:
        """Makes names and Service addresses lead to the pods that are ready in `mesh`."""


class PlaceRefused(Exception):
    """No place can be had; the text says why."""
