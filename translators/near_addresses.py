"""Which destinations may be the mesh's own: the addresses that a sidecar on demand asks about before it connects.

To all others, the internet's above all, it connects as if it had everything: what is no service's can be reached, or is
refused, without a question, while the control plane is away too.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network

from model.view import View
from translators.outbound_claims import shared_claims

PRIVATE = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "240.0.0.0/4",
    "fc00::/7",
)
"""Where clusters have their pods and Services: private, shared, benchmark, reserved and unique local addresses.
Source: RFC 1918, 6598, 2544, 1112 and 4193."""

_BLOCK_BITS = {4: 16, 6: 48}
"""By IP version: no less than a cluster has for its pods or its Services, and little of the internet."""

_NETWORKS = tuple(ip_network(block) for block in PRIVATE)


def near_addresses(view: View) -> tuple[str, ...]:
    """The private ranges, and the blocks around those of the mesh's own addresses that are in none of them and are
    called with bytes. Blocks, so that it changes seldom: a filter chain whose ranges change closes its connections.
    """
    far = {block for port in view.ports for block in view.shared(_far_on, port)}
    return (*PRIVATE, *sorted(far))


def _far_on(view: View, port: int) -> tuple[str, ...]:
    addresses = (address for claim in shared_claims(port, view).exact for address in claim.addresses)
    return tuple(sorted({block for address in addresses if (block := _block_of(address))}))


@lru_cache(maxsize=65_536)
def _block_of(address: str) -> str:
    """The block that an address is in; '' for a private one."""
    parsed = ip_address(address)
    if any(parsed in network for network in _NETWORKS):
        return ""
    return str(ip_network(f"{address}/{_BLOCK_BITS[parsed.version]}", strict=False))
