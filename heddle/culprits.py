"""Which objects, in which files, a resource was made of that a sidecar refuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from heddle.cluster.concerns import concerns, host_of
from heddle.cluster.replica_progress import RejectedAt
from model.gateways import Gateway
from model.host_patterns import patterns
from model.policies import AuthorizationPolicy, PeerAuthentication
from model.routing import VirtualService
from model.sidecars import Sidecar
from model.traffic import DestinationRule
from sources.kinds import Object

MOST = 10
"""Objects named of one resource."""


class Culprits:
    """The objects in force, for as long as one answer is made. `root_namespace` is the mesh's."""

    def __init__(self, objects: Iterable[Object], root_namespace: str) -> None:
        self._root_namespace = root_namespace
        self._by_host: defaultdict[str, list[Object]] = defaultdict(list)
        self._others: list[Object] = []
        for each in objects:
            match each.value:
                case VirtualService(hosts=hosts):
                    for host in hosts:
                        self._by_host[host].append(each)
                case DestinationRule(host=host):
                    self._by_host[host].append(each)
                case Gateway() | PeerAuthentication() | AuthorizationPolicy() | Sidecar():
                    self._others.append(each)
                case _:
                    pass

    def of(self, rejected: RejectedAt) -> list[dict[str, Any]]:
        """Each with its place (`line` 0 where only the file is known), the first of them if they are a great many.

        Beside the one that is wrong there may be others, of which the sidecar has nothing new either. Of a route table
        no VirtualServices are: one that has its virtual hosts in it is made of all.
        """
        name = rejected.assignment or rejected.resource
        root = self._root_namespace
        found = (
            each
            for each in self._candidates(rejected.type_url, name)
            if concerns(each.value, rejected.asker, rejected.type_url, name, root)
        )
        named = sorted({each.ref: each.position for each in found}.items(), key=lambda pair: str(pair[0]))
        return [{"resource": str(ref), "file": at.file, "line": at.line} for ref, at in named[:MOST]]

    def _candidates(self, type_url: str, name: str) -> Iterator[Object]:
        host = host_of(type_url, name)
        for pattern in patterns(host) if host else ():
            yield from self._by_host.get(pattern, ())
        yield from self._others
