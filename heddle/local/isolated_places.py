"""Places in network namespaces of their own, with capture: as in a cluster."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from types import MappingProxyType
from typing import Final

import structlog

from heddle.local import namespaces
from heddle.local.addresses import AddressBook, AddressUnavailable
from heddle.local.dns import NameServer
from heddle.local.enter import CONTAINER_CAPABILITIES, PodHandle, pod_command
from heddle.local.isolation import Isolation
from heddle.local.leftovers import kill_in_network
from heddle.local.namespaces import Namespace
from heddle.local.network import MeshNetwork, NetworkFailed, PodNetwork, PodSpec
from heddle.local.places import Place, PlaceRefused, PlaceRequest
from heddle.local.pod_files import HostAlias
from heddle.local.service_tables import to_name_table, to_service_ports
from injector.capture import (
    SIDECAR_USER,
    CaptureSettings,
    Exemption,
    ExemptMark,
    ExemptUser,
    capture_from_annotations,
)
from model.mesh import Mesh
from model.pods import is_gateway
from model.services import Resolution

_NO_CAPABILITY: Final = ()
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedPlace:
    """A pod's network namespace. See `Place`."""

    network: PodNetwork
    sidecar_user: int | None

    @property
    def addresses(self) -> tuple[str, ...]:
        second = (str(self.network.address6),) if self.network.address6 is not None else ()
        return (str(self.network.address), *second)

    @property
    def application_addresses(self) -> tuple[str, ...]:
        return self.addresses

    @property
    def sidecar_address(self) -> str:
        return "127.0.0.1"

    @property
    def sidecar_own_address(self) -> str:
        return "::" if self.network.address6 is not None else "0.0.0.0"

    @property
    def handle(self) -> PodHandle | None:
        return self.network.handle

    @property
    def problem(self) -> str:
        return self.network.problem

    @property
    def environment(self) -> Mapping[str, str]:
        return MappingProxyType({})

    def application_argv(self, argv: Sequence[str], directory: str) -> tuple[str, ...]:
        return pod_command(self.network.handle, argv, directory=directory, capabilities=CONTAINER_CAPABILITIES)

    def sidecar_argv(self, argv: Sequence[str]) -> tuple[str, ...]:
        if self.sidecar_user is None:
            return pod_command(self.network.handle, argv)  # setting the mark takes CAP_NET_ADMIN
        return pod_command(self.network.handle, argv, user=self.sidecar_user, capabilities=_NO_CAPABILITY)

    async def connect(
        self, port: int, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # A socket belongs to the network it was made in, wherever it is used.
        opened = await asyncio.to_thread(_socket_in, self.network.handle.network)
        try:
            await asyncio.get_running_loop().sock_connect(opened, (str(self.network.address), port))
            host = str(self.network.address) if context else None
            return await asyncio.open_connection(sock=opened, ssl=context, server_hostname=host)
        except BaseException:
            opened.close()
            raise

    def kill_all(self) -> None:
        kill_in_network(self.network.handle.network)


class IsolatedPlaces:
    """The places of a mesh that has its own network. See `Places`."""

    def __init__(self, *, network: MeshNetwork, isolation: Isolation) -> None:
        """`isolation` is ROOT or USER_NAMESPACE. Call `publish` only after `serve_names_with`."""
        self._network = network
        self._book = AddressBook(subnet=network.subnet)
        self._names: NameServer | None = None
        self._one_at_a_time = asyncio.Lock()
        self._exempt: Exemption = ExemptUser() if isolation is Isolation.ROOT else ExemptMark()

    def serve_names_with(self, names: NameServer) -> None:
        """From now on names resolve."""
        self._names = names

    @property
    def sidecar_user(self) -> int | None:
        return SIDECAR_USER if isinstance(self._exempt, ExemptUser) else None

    @property
    def marks(self) -> bool:
        return isinstance(self._exempt, ExemptMark)

    @property
    def host_address(self) -> str:
        return str(self._network.subnet.gateway)

    async def add(self, requests: Sequence[PlaceRequest]) -> tuple[Place, ...]:
        specs = []
        for request in requests:
            try:
                self._book, address = self._book.with_pod(request.key)
                specs.append(self._specify(request, address))
            except (AddressUnavailable, ValueError) as error:
                raise PlaceRefused(str(error)) from error
        try:
            async with self._one_at_a_time:
                made = await asyncio.to_thread(self._network.add_pods, specs)
        except (NetworkFailed, OSError) as error:
            for request in requests:
                self._book = self._book.without_pod(request.key)
            raise PlaceRefused(str(error)) from error
        return tuple(IsolatedPlace(network=network, sidecar_user=self.sidecar_user) for network in made)

    async def remove(self, key: str, place: Place) -> None:
        assert isinstance(place, IsolatedPlace)
        async with self._one_at_a_time:
            await asyncio.to_thread(self._network.remove_pods, (place.network,))
        self._book = self._book.without_pod(key)

    def service_addresses(self, mesh: Mesh) -> Mapping[tuple[str, str], tuple[str, ...]]:
        wanted = {
            (service.ref.namespace, service.ref.name): _wanted(service.addresses, self._network.subnet.services)
            for service in mesh.services.values()
            if service.resolution is Resolution.CLUSTER_IP
        }
        self._book, refused = self._book.with_services(wanted)
        for name, reason in refused.items():
            _log.warning("local.service_address", service="/".join(name), reason=reason)
        return {name: (str(self._book.services[name]),) for name in wanted if name in self._book.services}

    async def publish(self, mesh: Mesh) -> None:
        assert self._names is not None
        self._names.set_table(to_name_table(mesh))
        try:
            async with self._one_at_a_time:
                await asyncio.to_thread(self._network.set_services, to_service_ports(mesh))
        except NetworkFailed as error:
            _log.error("local.service_rules", reason=str(error))

    def _specify(self, request: PlaceRequest, address: IPv4Address) -> PodSpec:
        capture: CaptureSettings | None = None
        if request.meshed and not is_gateway(request.annotations):
            capture = capture_from_annotations(request.annotations, exempt=self._exempt)
        return PodSpec(
            name=request.key,
            namespace=request.namespace,
            hostname=request.hostname,
            address=address,
            aliases=tuple(
                HostAlias(address=ip_address(alias.address), names=alias.hostnames) for alias in request.aliases
            ),
            capture=capture,
        )


def _wanted(addresses: Sequence[str], ours: IPv4Network) -> IPv4Address | None:
    """The address that a manifest asks for, if it is one that nobody here gave."""
    for text in addresses:
        address = ip_address(text)
        if isinstance(address, IPv4Address) and address not in ours:
            return address
    return None


def _socket_in(network: str) -> socket.socket:
    """A TCP socket of another network namespace. Belongs to a thread of its own: it is elsewhere for a moment."""
    with open("/proc/thread-self/ns/net", "rb") as home:
        namespaces.setns(network, Namespace.NETWORK)
        try:
            opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            namespaces.setns(home.fileno(), Namespace.NETWORK)
    opened.setblocking(False)
    return opened
