"""Which server of which Gateway gets which port and host of one gateway pod.

The translators and the checks ask here, so that what is reported is what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from model.gateways import Gateway, Server, ServerHost, ServerProtocol
from model.names import GatewayHttpsTable, GatewayHttpTable, GatewayTable


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundServer:
    """A server with the hosts that are its own; never none."""

    gateway: Gateway
    server: Server
    hosts: tuple[ServerHost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPort:
    """A port that the gateway listens on. `servers` are of its protocol, the oldest Gateway's first."""

    number: int
    protocol: ServerProtocol
    servers: tuple[BoundServer, ...]

    @property
    def tables(self) -> dict[GatewayTable, tuple[BoundServer, ...]]:
        """Its route tables: one for all HTTP servers, who share every host; one for each HTTPS server."""
        if self.protocol is ServerProtocol.HTTP:
            return {GatewayHttpTable(port=self.number): self.servers}
        return {https_table(bound): (bound,) for bound in self.servers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A server that does not get its port (`host` ''), or not one of its hosts, because `winner` has it."""

    gateway: Gateway
    server: Server
    host: str
    winner: BoundServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What one gateway pod serves, by port, and what it does not."""

    ports: tuple[BoundPort, ...] = ()
    losses: tuple[Loss, ...] = field(default=())


def bind_servers(gateways: Iterable[Gateway], port_of: Callable[[int], int]) -> Binding:
    """`gateways` the oldest first; `port_of` maps a server's port to the pod's.

    Whoever comes first on a port decides its protocol. A host of an HTTPS port belongs to one server, which alone has
    its certificate; on an HTTP port it is all servers' that have it.
    """
    ports: dict[int, BoundPort] = {}
    owners: dict[tuple[int, str], BoundServer] = {}
    losses: list[Loss] = []
    for gateway in gateways:
        for server in gateway.servers:
            number = port_of(server.port)
            present = ports.get(number)
            if present is not None and present.protocol is not server.protocol:
                losses.append(Loss(gateway=gateway, server=server, host="", winner=present.servers[0]))
                continue
            bound = BoundServer(gateway=gateway, server=server, hosts=server.hosts)
            if server.protocol is ServerProtocol.HTTPS:
                taken = {host.host for host in server.hosts if (number, host.host) in owners}
                losses += [
                    Loss(gateway=gateway, server=server, host=host, winner=owners[number, host])
                    for host in sorted(taken)
                ]
                bound = replace(bound, hosts=tuple(host for host in server.hosts if host.host not in taken))
                owners.update({(number, host.host): bound for host in bound.hosts})
            if bound.hosts:
                servers = (*present.servers, bound) if present is not None else (bound,)
                ports[number] = BoundPort(number=number, protocol=server.protocol, servers=servers)
    return Binding(ports=tuple(ports[number] for number in sorted(ports)), losses=tuple(losses))


def https_table(bound: BoundServer) -> GatewayHttpsTable:
    """The route table of one HTTPS server."""
    return GatewayHttpsTable(
        port=bound.server.port,
        port_name=bound.server.port_name,
        gateway=bound.gateway.ref.name,
        namespace=bound.gateway.ref.namespace,
    )
