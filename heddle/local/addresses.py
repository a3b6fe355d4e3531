"""Which address each pod and Service of a mesh has: pure allocation inside one /16.

    10.X.0.1        the gateway: every pod's next hop, and its name server
    10.X.0.2        the mesh's end of the uplink        10.X.0.3   the host's end
    10.X.1.0 up     pods, up to 10.X.127.255
    10.X.128.0/17   Services

A pod's IPv6 address has the same last two bytes, in a unique local /64 (RFC 4193) that belongs to X.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import MappingProxyType
from typing import Final

_FIRST_POD: Final = 256
_UNIQUE_LOCAL: Final = int(IPv6Address("fd68:6564:646c::"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSubnet:
    """The addresses of one mesh: `10.X.0.0/16`. Raises ValueError for another shape."""

    network: IPv4Network

    def __post_init__(self) -> None:
        if self.network.prefixlen != 16 or not self.network.subnet_of(IPv4Network("10.0.0.0/8")):
            raise ValueError(f"a mesh's subnet is a /16 of 10.0.0.0/8, not {self.network}")

    @property
    def gateway(self) -> IPv4Address:
        return self.network[1]

    @property
    def uplink(self) -> IPv4Address:
        """The mesh's end of the pair of interfaces that joins it to its host."""
        return self.network[2]

    @property
    def host(self) -> IPv4Address:
        """The host's end of that pair: who the host is, to a pod."""
        return self.network[3]

    @property
    def pods(self) -> IPv4Network:
        """The half that pods live in (less its first 256 addresses)."""
        return IPv4Network((int(self.network.network_address), 17))

    @property
    def services(self) -> IPv4Network:
        return IPv4Network((int(self.network[1 << 15]), 17))

    @property
    def network6(self) -> IPv6Network:
        return IPv6Network((_UNIQUE_LOCAL | (self.network.network_address.packed[1] << 64), 64))

    @property
    def gateway6(self) -> IPv6Address:
        return self.ipv6_of(self.gateway)

    def ipv6_of(self, address: IPv4Address) -> IPv6Address:
        """The IPv6 address of whoever has `address`. Raises ValueError outside the subnet."""
        if address not in self.network:
            raise ValueError(f"{address} is not in {self.network}")
        return self.network6[int(address) & 0xFFFF]


class AddressUnavailable(Exception):
    """No address is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressBook:
    """Who has which address. Every change gives a new book.

    `pods` maps a key (`namespace/name`) to its address, `services` a (namespace, name). A pod's address is free again
    when the pod is gone, but is not given out before all others were: a late packet finds nobody. A Service keeps
    its address for the life of the mesh, also when it is deleted and comes back.
    """

    subnet: MeshSubnet
    pods: Mapping[str, IPv4Address] = field(default_factory=lambda: MappingProxyType({}))
    services: Mapping[tuple[str, str], IPv4Address] = field(default_factory=lambda: MappingProxyType({}))
    last_pod: int = _FIRST_POD

    def with_pod(self, key: str) -> tuple["AddressBook", IPv4Address]:
        """The book in which `key` has an address (the one it had, if it has one), and that address."""
        if key in self.pods:
            return self, self.pods[key]
        taken = {int(address) & 0xFFFF for address in self.pods.values()}
        size = self.subnet.pods.num_addresses - 1  # the last one is left out, as broadcast addresses are by habit
        for step in range(1, size - _FIRST_POD):
            offset = _FIRST_POD + (self.last_pod - _FIRST_POD + step) % (size - _FIRST_POD)
            if offset not in taken and offset % 256 not in (0, 255):
                address = self.subnet.network[offset]
                return replace(self, pods=MappingProxyType({**self.pods, key: address}), last_pod=offset), address
        raise AddressUnavailable(f"all pod addresses of {self.subnet.pods} are taken")

    def without_pod(self, key: str) -> "AddressBook":
        """The book in which `key` has no address."""
        return replace(self, pods=MappingProxyType({k: a for k, a in self.pods.items() if k != key}))

    def with_services(
        self, wanted: Mapping[tuple[str, str], IPv4Address | None]
    ) -> tuple["AddressBook", Mapping[tuple[str, str], str]]:
        """The book in which each of these Services has an address, and why one has not the one it wants.

        `wanted` is the `clusterIP` that a manifest asks for, which may be any address that is not another Service's and
        not in the mesh's other half, so that manifests taken from a cluster work. None: any; the one it had, if it has
        one. A Service that has none in the answer is refused too: all are taken.
        """
        services = dict(self.services)
        owners = {address: owner for owner, address in services.items()}
        refused = {}
        for key, address in wanted.items():
            if address is None or services.get(key) == address:
                continue
            reason = self._why_not(address, owners.get(address))
            if reason:
                refused[key] = reason
                continue
            if key in services:
                del owners[services[key]]
            services[key], owners[address] = address, key
        free = (address for address in self.subnet.services.hosts() if address not in owners)
        for key in wanted:
            if key in services:
                continue
            found = next(free, None)
            if found is None:
                refused[key] = f"all Service addresses of {self.subnet.services} are taken"
            else:
                services[key] = found
        return replace(self, services=MappingProxyType(services)), refused

    def _why_not(self, address: IPv4Address, owner: tuple[str, str] | None) -> str:
        if owner is not None:
            return f"clusterIP {address} is the address of Service {'/'.join(owner)}"
        if address in self.subnet.pods or address.is_loopback or address.is_multicast or address.is_unspecified:
            return f"clusterIP {address} cannot be a Service's address in this mesh"
        return ""


def choose_subnets(taken: Iterable[IPv4Network]) -> tuple[MeshSubnet, ...]:
    """The subnets that overlap none of `taken`, in the order to try them: first what others rarely use."""
    used = tuple(taken)
    order = (*range(210, 255), *range(2, 210))
    subnets = (IPv4Network(f"10.{second}.0.0/16") for second in order)
    return tuple(
        MeshSubnet(network=network) for network in subnets if not any(network.overlaps(other) for other in used)
    )
