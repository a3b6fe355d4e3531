"""What objects can refer to: services, pods as they run or will run, namespaces, service accounts."""

from __future__ import annotations

import copy
import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from model.mesh import Mesh
from model.names import CLUSTER_DOMAIN, service_host
from model.pods import Pod, PodTemplate, Workload
from model.problems import ObjectRef
from model.services import Service
from sources.cluster_objects import ConfigMap, Namespace, PodManifest, Secret, ServiceAccount
from sources.gateway_pods import GatewayPods
from sources.kinds import Object
from sources.node_ports import node_ports
from sources.selection import PodIndex

MAX_SUGGESTIONS = 200
"""Looking for a close name takes a millisecond, too long to do it for thousands of wrong ones."""
_MAX_CANDIDATES = 500


class Inventory:
    """Built once for a mesh and its objects, then only read.

    Pods are those of the mesh and, for each Deployment, StatefulSet and bare Pod, one that stands for its pods:
    a selector should match what will run, not only what runs already.
    """

    def __init__(self, mesh: Mesh, objects: Sequence[Object], now: datetime | None = None) -> None:
        """`now` None: nothing is said about what ends."""
        self.mesh = mesh
        self.now = now
        self.service_accounts: set[tuple[str, str]] = set()
        self.data: dict[ObjectRef, frozenset[str]] = {}
        """The keys of each ConfigMap and Secret."""
        self.node_ports: defaultdict[tuple[int, str], list[ObjectRef]] = defaultdict(list)
        """Who asks for each port of the nodes, by its number and transport, the first by name first."""
        self.namespaces: set[str] = {mesh.settings.root_namespace, "default"}
        pods = list(mesh.pods.values())
        for entry in objects:
            self.namespaces.add(entry.ref.namespace)
            match entry.value:
                case Namespace():
                    self.namespaces.add(entry.ref.name)
                case Service():
                    for port in node_ports(entry):
                        self.node_ports[port.number, port.transport].append(entry.ref)
                case ServiceAccount():
                    self.service_accounts.add((entry.ref.namespace, entry.ref.name))
                case ConfigMap() | Secret() as holder:
                    self.data[entry.ref] = frozenset(holder.data)
                case PodManifest(workload=workload) | (Workload() as workload):
                    pods.append(_stand_in(workload.ref, workload.template))
                case _:
                    pass
        for askers in self.node_ports.values():
            askers.sort()
        self.namespaces.discard("")
        self._pods = pods
        self._index = PodIndex(pods)
        self.gateway_pods = GatewayPods(mesh, pods)
        self._by_namespace: defaultdict[str, list[Pod]] = defaultdict(list)
        self.running_accounts: set[tuple[str, str]] = set()
        for pod in pods:
            self._by_namespace[pod.ref.namespace].append(pod)
            self.running_accounts.add((pod.ref.namespace, pod.service_account))
        self._namesakes: defaultdict[str, list[Service]] = defaultdict(list)
        self._services: defaultdict[str, list[Service]] = defaultdict(list)
        self.services_at: defaultdict[str, list[ObjectRef]] = defaultdict(list)
        """Whose each address is, the first by name first."""
        for service in mesh.services.values():
            for address in service.addresses:
                self.services_at[address].append(service.ref)
            self._namesakes[service.ref.name].append(service)
            self._services[service.ref.namespace].append(service)
        for owners in self.services_at.values():
            owners.sort()
        self._suggested: dict[tuple[str, str], str] = {}

    def beside(self, mesh: Mesh, namespace: str) -> Inventory:
        """The same pods, accounts and names for another mesh, in which `namespace` exists."""
        found = copy.copy(self)
        found.mesh = mesh
        found.namespaces = self.namespaces | {namespace}
        found._suggested = {}
        if mesh.gateways is not self.mesh.gateways:
            found.gateway_pods = GatewayPods(mesh, self._pods)
        return found

    def pods(self, namespace: str, selector: Mapping[str, str]) -> Sequence[Pod]:
        """The pods of a namespace that have all the labels; all of them for an empty selector."""
        return self._index.select(namespace, selector) if selector else self._by_namespace.get(namespace, ())

    def pods_for_policy(self, namespace: str, selector: Mapping[str, str]) -> Iterable[Pod]:
        """The pods a policy is for: in the root namespace, those of all namespaces."""
        wanted = self._by_namespace if namespace == self.mesh.settings.root_namespace else (namespace,)
        return (pod for each in tuple(wanted) for pod in self.pods(each, selector))

    def services_of(self, namespace: str) -> Sequence[Service]:
        """The services of a namespace, by host."""
        return self._services.get(namespace, ())

    def suggest_host(self, host: str, namespace: str) -> str:
        """The host that was probably meant, '' if none comes to mind."""
        key = (host, namespace)
        if key not in self._suggested:
            self._suggested[key] = self._find_host(host, namespace) if len(self._suggested) < MAX_SUGGESTIONS else ""
        return self._suggested[key]

    def _find_host(self, host: str, namespace: str) -> str:
        name, *rest = host.split(".")
        if len(rest) == 1 or (len(rest) == 2 and rest[1] == "svc"):
            full = service_host(name, rest[0])
            if full in self.mesh.services:
                return full
        meant = rest[0] if rest[1:] == ["svc", *CLUSTER_DOMAIN.split(".")] else namespace
        names = [service.ref.name for service in self.services_of(meant)[:_MAX_CANDIDATES]]
        close = difflib.get_close_matches(name, names, 1)
        if close:
            return service_host(close[0], meant)
        namesakes = self._namesakes.get(name, ())
        return namesakes[0].host if namesakes else ""


def _stand_in(ref: ObjectRef, template: PodTemplate) -> Pod:
    return Pod(
        ref=ref,
        labels=template.labels,
        annotations=template.annotations,
        service_account=template.service_account,
        ports=tuple(port for container in template.containers for port in container.ports),
    )
