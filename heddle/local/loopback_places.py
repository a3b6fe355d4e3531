"""Places without namespaces: two loopback addresses a pod, and an HTTP proxy in place of capture."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from heddle.local.addresses import AddressUnavailable
from heddle.local.enter import PodHandle
from heddle.local.leftovers import LOOPBACK_MARK, kill_marked
from heddle.local.loopback import LoopbackBook, loopback_networks
from heddle.local.places import Place, PlaceRefused, PlaceRequest
from model.asker import Capture
from model.mesh import Mesh
from model.pods import Pod
from model.services import Resolution
from translators.well_known_ports import OUTBOUND

_GUARD_PORT = 15099


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackPlace:
    """A pod's two addresses: where its sidecar answers for it, and where it listens itself. See `Place`."""

    sidecar: str
    application: str
    meshed: bool
    mark: str

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.sidecar,)

    @property
    def application_addresses(self) -> tuple[str, ...]:
        return (self.application,)

    @property
    def sidecar_address(self) -> str:
        return self.sidecar

    @property
    def sidecar_own_address(self) -> str:
        return self.sidecar

    @property
    def handle(self) -> PodHandle | None:
        return None

    @property
    def problem(self) -> str:
        return ""

    @property
    def environment(self) -> Mapping[str, str]:
        if not self.meshed:
            return {LOOPBACK_MARK: self.mark}
        proxy = f"http://{self.sidecar}:{OUTBOUND}"
        return {LOOPBACK_MARK: self.mark, "http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": "", "NO_PROXY": ""}

    def application_argv(self, argv: Sequence[str], directory: str) -> tuple[str, ...]:
        return (*_dies_with_us(), *argv)

    def sidecar_argv(self, argv: Sequence[str]) -> tuple[str, ...]:
        return (*_dies_with_us(), *argv)

    async def connect(
        self, port: int, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.application, port, ssl=context)

    def kill_all(self) -> None:
        kill_marked(LOOPBACK_MARK, self.mark)


class LoopbackPlaces:
    """The places of a loopback mesh. See `Places`."""

    def __init__(self, *, network: IPv4Network, mesh: str) -> None:
        """`network` is reserved for this mesh; `mesh` marks its processes and is unique on the machine."""
        self._book = LoopbackBook(network=network)
        _, self._own = self._reserve("control plane")
        self._mesh = mesh
        self._places: dict[str, LoopbackPlace] = {}

    @property
    def sidecar_user(self) -> int | None:
        return None

    @property
    def marks(self) -> bool:
        return False

    @property
    def host_address(self) -> str:
        return self._own

    def capture_of(self, pod: Pod) -> tuple[Capture, str]:
        """How a pod's sidecar is reached, and where its application listens; for the control plane."""
        found = [place for place in self._places.values() if place.sidecar in pod.addresses]
        return (Capture.EXPLICIT, found[0].application if found else "")

    async def add(self, requests: Sequence[PlaceRequest]) -> tuple[Place, ...]:
        made = []
        for request in requests:
            _, application = self._reserve(f"{request.key} application")
            # Without a sidecar the application answers for itself.
            sidecar = self._reserve(f"{request.key} sidecar")[1] if request.meshed else application
            place = LoopbackPlace(
                sidecar=sidecar, application=application, meshed=request.meshed, mark=f"{self._mesh}/{request.key}"
            )
            self._places[request.key] = place
            made.append(place)
        return tuple(made)

    async def remove(self, key: str, place: Place) -> None:
        for part in ("application", "sidecar"):
            self._book = self._book.without_owner(f"{key} {part}")
        self._places.pop(key, None)

    def service_addresses(self, mesh: Mesh) -> Mapping[tuple[str, str], tuple[str, ...]]:
        return {
            (service.ref.namespace, service.ref.name): (self._reserve(f"service {service.ref}")[1],)
            for service in mesh.services.values()
            if service.resolution is Resolution.CLUSTER_IP
        }

    async def publish(self, mesh: Mesh) -> None:
        """Nothing: names are the proxies' business, and Service addresses lead nowhere."""

    def _reserve(self, owner: str) -> tuple[str, str]:
        try:
            self._book, address = self._book.with_owner(owner)
        except AddressUnavailable as error:
            raise PlaceRefused(str(error)) from error
        return owner, str(address)


def reserve_loopback() -> tuple[IPv4Network, socket.socket]:
    """A range of loopback addresses that no other mesh of this machine has, as long as the socket is open.

    Raises AddressUnavailable.
    """
    for network in loopback_networks():
        guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            guard.bind((str(network[1]), _GUARD_PORT))
            guard.listen(1)
        except OSError:
            guard.close()
            continue
        return network, guard
    raise AddressUnavailable("no range of loopback addresses is free on this machine")


def _dies_with_us() -> tuple[str, ...]:
    """There is no namespace to take a mesh's processes away when its supervisor is killed."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()
