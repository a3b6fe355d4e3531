"""Sockets to the host's name servers, opened before the mesh leaves the host's network."""

import socket
from ipaddress import ip_address

_MOST = 3


def open_resolvers(resolv_conf: str) -> tuple[int, ...]:
    """Connect a UDP socket to each of the first three name servers in the text of `/etc/resolv.conf`.

    Returns their descriptors, for `run_isolated` to hand on. Servers without a route are left out.
    """
    words = (line.split() for line in resolv_conf.splitlines())
    servers = [fields[1] for fields in words if len(fields) >= 2 and fields[0] == "nameserver"]
    descriptors = []
    for server in servers[:_MOST]:
        try:
            family = socket.AF_INET6 if ip_address(server.partition("%")[0]).version == 6 else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_DGRAM)
        except (ValueError, OSError):
            continue
        try:
            connection.connect((server, 53))
        except OSError:
            connection.close()
            continue
        descriptors.append(connection.detach())
    return tuple(descriptors)
