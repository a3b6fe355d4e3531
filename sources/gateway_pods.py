"""The gateway pods there are or will be, and what of all Gateways each of them serves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from model.gateways import Gateway, ServerProtocol
from model.mesh import Mesh
from model.pods import Pod, ProxyKind
from model.problems import ObjectRef
from model.server_binding import BoundServer, bind_servers
from sources.inbound import service_targets


class GatewayPods:
    """Built once for a mesh and its pods, then only read."""

    def __init__(self, mesh: Mesh, pods: Sequence[Pod]) -> None:
        self._pods = [pod for pod in pods if pod.proxy is ProxyKind.GATEWAY]
        self._others = [pod for pod in pods if pod.proxy is not ProxyKind.GATEWAY] if mesh.gateways else []
        self._losses: defaultdict[ObjectRef, dict[tuple[int, str], str]] = defaultdict(dict)
        self._redirected: defaultdict[ObjectRef, dict[tuple[int, str], str]] = defaultdict(dict)
        seen: set[object] = set()
        for pod in self._pods:
            alike = (pod.ref.namespace, tuple(sorted(pod.labels.items())), pod.ports)
            if alike not in seen and mesh.gateways:
                seen.add(alike)
                self._bind(pod, mesh)

    def serving(self, gateway: Gateway) -> list[Pod]:
        """The gateway pods that a Gateway selects."""
        return [pod for pod in self._pods if gateway.selects(pod.labels)]

    def mistaken(self, gateway: Gateway) -> list[ObjectRef]:
        """The pods with its labels that are no gateways; none for a selector that selects all."""
        return [pod.ref for pod in self._others if gateway.selector and gateway.selects(pod.labels)]

    def losses(self, gateway: Gateway) -> list[tuple[int, str, str]]:
        """(server, host, winner): what its servers do not get on some gateway pod; host '' is the whole port."""
        return [(*key, winner) for key, winner in sorted(self._losses[gateway.ref].items())]

    def redirected(self, gateway: Gateway) -> list[tuple[int, str, str]]:
        """(server, host, who): hosts whose plain requests another server sends to HTTPS, and this one would serve."""
        return [(*key, who) for key, who in sorted(self._redirected[gateway.ref].items())]

    def _bind(self, pod: Pod, mesh: Mesh) -> None:
        services = [
            service
            for service in mesh.services.values()
            if service.ref.namespace == pod.ref.namespace
            and service.selector
            and service.selector.items() <= pod.labels.items()
        ]
        targets = service_targets(pod, services)
        gateways = [gateway for gateway in mesh.gateways if gateway.selects(pod.labels)]
        binding = bind_servers(gateways, lambda number: targets.get(number, number))
        for loss in binding.losses:
            self._losses[loss.gateway.ref].setdefault((loss.server.index, loss.host), _name(loss.winner))
        for port in binding.ports:
            if port.protocol is ServerProtocol.HTTP:
                self._compare(port.servers)

    def _compare(self, servers: Iterable[BoundServer]) -> None:
        by_host: defaultdict[str, list[BoundServer]] = defaultdict(list)
        for bound in servers:
            for host in dict.fromkeys(entry.host for entry in bound.hosts):
                by_host[host].append(bound)
        for host, sharing in by_host.items():
            redirects = [bound for bound in sharing if bound.server.https_redirect]
            for bound in sharing:
                if redirects and not bound.server.https_redirect:
                    found = self._redirected[bound.gateway.ref]
                    found.setdefault((bound.server.index, host), _name(redirects[0]))


def _name(bound: BoundServer) -> str:
    return f"{bound.gateway.ref} (server {bound.server.port_name})"
