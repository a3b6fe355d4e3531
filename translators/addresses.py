"""Socket addresses and address ranges as Envoy writes them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from envoy_data_plane.envoy.config.core.v3 import Address, CidrRange, SocketAddress


def build_address(address: str, port: int, *, ipv4_compat: bool = False) -> Address:
    """A TCP socket address. `ipv4_compat`: `::` takes IPv4 connections too."""
    return Address(socket_address=SocketAddress(address=address, port_value=port, ipv4_compat=ipv4_compat))


def build_wildcard(port: int, *, ipv6: bool) -> Address:
    """Every address of the workload: both families where the machine has IPv6, else IPv4 alone."""
    return build_address("::", port, ipv4_compat=True) if ipv6 else build_address("0.0.0.0", port)


def build_range(block: str) -> CidrRange:
    """`10.0.0.0/8`, or a single address. Raises ValueError if it is neither."""
    network = ip_network(block, strict=False)
    return CidrRange(address_prefix=str(network.network_address), prefix_len=network.prefixlen)


def build_host_range(address: str) -> CidrRange:
    """The range that is one address."""
    parsed = ip_address(address)
    return CidrRange(address_prefix=str(parsed), prefix_len=parsed.max_prefixlen)
