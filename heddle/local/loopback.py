"""A mesh without namespaces: each pod has an address of 127.0.0.0/8, and nothing is captured.

What this cannot show, and `heddle local` says so: an application that listens on all addresses is reached past its
sidecar, from any pod and from the host; so does whatever an application sends past the proxy it was told of; names
resolve only through that proxy; Service addresses are not balanced; two pods with the same port collide unless each
listens on its own address (`$POD_IP`). Only Linux answers on all of 127.0.0.0/8.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Final

from heddle.local.addresses import AddressUnavailable

NOT_COVERED: Final = (
    "capture: traffic that does not use its pod's proxy is neither seen nor refused",
    "isolation: an application that listens on 0.0.0.0 is reached without its sidecar",
    "names: only the proxy knows the mesh's names",
    "Service addresses: not balanced for pods without a sidecar",
)
"""What a loopback mesh does not do, one finding a line."""

_RANGES: Final = tuple(IPv4Network(f"127.{second}.0.0/16") for second in range(64, 192))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackBook:
    """Which address each pod has, and each Service for its proxy's sake. Every change gives a new book."""

    network: IPv4Network = _RANGES[0]
    owners: Mapping[str, IPv4Address] = field(default_factory=lambda: MappingProxyType({}))

    def with_owner(self, key: str) -> tuple["LoopbackBook", IPv4Address]:
        """The book in which `key` has an address (the one it had, if it has one), and that address.

        Raises AddressUnavailable.
        """
        if key in self.owners:
            return self, self.owners[key]
        taken = set(self.owners.values())
        for address in self.network.hosts():
            if address not in taken:
                return replace(self, owners=MappingProxyType({**self.owners, key: address})), address
        raise AddressUnavailable(f"all addresses of {self.network} are taken")

    def without_owner(self, key: str) -> "LoopbackBook":
        """The book in which `key` has no address."""
        return replace(self, owners=MappingProxyType({k: a for k, a in self.owners.items() if k != key}))


def loopback_networks() -> tuple[IPv4Network, ...]:
    """The networks that loopback meshes side by side take, one each, in order."""
    return _RANGES
