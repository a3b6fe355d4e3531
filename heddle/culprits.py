"""Which objects, in which files, a resource was made of that a sidecar refuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator

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
        self._found: dict[Hashable, tuple[Object, ...]] = {}
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

    def of(self, rejected: RejectedAt) -> tuple[Object, ...]:
        """By name, the first of them if they are a great many.

        Beside the one that is wrong there may be others, of which the sidecar has nothing new either. Of a route table
        no VirtualServices are: one that has its virtual hosts in it is made of all.
        """
        name = rejected.assignment or rejected.resource
        root, asker = self._root_namespace, rejected.asker
        # Sidecars that are alike refuse alike, and there may be a thousand.
        like = (rejected.type_url, name, asker.namespace, asker.kind, frozenset(asker.labels.items()))
        if like in self._found:
            return self._found[like]
        found = (
            each
            for each in self._candidates(rejected.type_url, name)
            if concerns(each.value, asker, rejected.type_url, name, root)
        )
        self._found[like] = tuple(
            sorted({each.ref: each for each in found}.values(), key=lambda each: str(each.ref))[:MOST]
        )
        return self._found[like]

    def _candidates(self, type_url: str, name: str) -> Iterator[Object]:
        host = host_of(type_url, name)
        for pattern in patterns(host) if host else ():
            yield from self._by_host.get(pattern, ())
        yield from self._others
