"""A toy world of which a client learns on demand, and a client that asks as Envoy does.

A virtual host `80/x` is asked for as `80/x` or `80/x:80`, or with any other port; content `uses a` sends its requests
to cluster `a`. Clusters whose name begins with `base` are everybody's. `tcp|x` is the cluster of an address: every
address has one; with content `uses a` it has the endpoints of assignment `a`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import betterproto2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from model.asker import Asker
from model.names import is_address_cluster
from model.on_demand import Wanted
from model.view import View
from protos import discovery_pb2 as pb
from tests.protocol.conversation import CDS, VHDS, Talk, derive, names_in_scope, to_mesh
from tests.protocol.model_client import BAD, ModelClient
from xds.demand import DemandLimits
from xds.history import History
from xds.memo import Memo
from xds.protocol import Stream
from xds.refused_clusters import RefusedClusters
from xds.wire import Node

USES = "uses "
NOBODYS = "nobody's"
"""The content of the cluster of an address that is no service's."""
PASSING = "80/out"
"""The beginning of hosts that nobody has and that pass through."""
ON_DEMAND = Asker(namespace="n", pod="p", service_account="s", labels={"app": "a"}, on_demand=True)


def canonical(asked: str) -> str:
    return re.sub(r":\d+$", "", asked)


def derive_on_demand(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    found = derive(type_url, name, view)
    return Cluster(name=name, alt_stat_name=NOBODYS) if found is None and is_address_cluster(name) else found


def answering(asked: str, view: View) -> Wanted | None:
    if is_address_cluster(asked):
        return Wanted(name=asked, declared=view.service(f"{CDS} {asked}") is not None)
    name = canonical(asked)
    if view.service(f"{VHDS} {name}") is None:
        return None
    return Wanted(name=name, declared=not name.startswith(PASSING))


def mentions(message: betterproto2.Message) -> frozenset[str]:
    content = message.alt_stat_name if isinstance(message, Cluster) else ""
    return frozenset({content.removeprefix(USES)}) if content.startswith(USES) else frozenset()


def ahead(type_url: str, view: View) -> tuple[str, ...]:
    names = names_in_scope(type_url, view)
    return tuple(name for name in names if name.startswith("base")) if type_url in (CDS, VHDS) else names


@dataclass(slots=True)
class OnDemandTalk(Talk):
    """A conversation on one stream after the other, with what the server remembers of them."""

    delta: bool = field(default=True, kw_only=True)
    asker: Asker = ON_DEMAND
    limits: DemandLimits = field(default_factory=DemandLimits)
    history: History = field(default_factory=History)
    looked_for: list[str] = field(default_factory=list)
    """The names for which somebody was looked for who answers."""
    everybodys: tuple[str, ...] | None = None
    """What may be everybody's, if that is known: as for a real sidecar, other names then come and go without a change
    of what it gets unasked."""

    def new_memo(self) -> Memo:
        def look(asked: str, view: View) -> Wanted | None:
            self.looked_for.append(asked)
            return answering(asked, view)

        def ahead_of_these(type_url: str, view: View) -> tuple[str, ...]:
            names = self.everybodys or ()
            return tuple(name for name in names if view.service(f"{type_url} {name}") is not None)

        def build(type_url: str, name: str, view: View) -> betterproto2.Message | None:
            self.derived.append(name)
            return derive_on_demand(type_url, name, view)

        return Memo(
            derive=build,
            names=ahead if self.everybodys is None else ahead_of_these,
            report=self.failures.append,
            answering=look,
            mentions=mentions,
            mesh=to_mesh(self.world),
            **self.memo_limits,
        )

    def reconnect(self, *, to_another: bool = False) -> None:
        if hasattr(self, "stream"):
            self.stream.close(self.now)
        if to_another:
            self.history = History()
            self.refused_clusters = RefusedClusters()
        self.stream = Stream(
            stream_id="1",
            delta=True,
            node=Node(id="node"),
            asker=replace(self.asker),
            memo=self.memo,
            secrets=self.keys,
            report=self.events.append,
            readers=self.readers,
            now=self.now,
            limits=self.limits,
            history=self.history,
            refused_clusters=self.refused_clusters,
            looks_at_once=self.looks_at_once,
        )
        self.readers.stirs(self.stream.id)
        self.last.clear()


@dataclass(slots=True)
class OnDemandClient(ModelClient):
    """`waiting`: what it asked for and was not answered yet.

    `late`: something may have waited for longer than hosts wait for their clusters.

    `told`: the versions of the answers under the names that it asked for, and `left` of those that it dropped since.
    Source: Envoy's DeltaSubscriptionState, as of 1.36.
    """

    delta: bool = field(default=True, kw_only=True)
    waiting: set[str] = field(default_factory=set)
    late: bool = False
    told: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def ask(self, name: str) -> None:
        """Envoy asks once in the life of a route table, and not for what it holds."""
        want = self.wants[VHDS]
        if name in want.names or canonical(name) in want.held:
            return
        self.waiting.add(name)
        if name in self.left:
            self.told[name] = self.left.pop(name)
        self.subscribe(VHDS, name)

    def drop(self, name: str) -> None:
        """The last listener with its route table is gone."""
        self.waiting.discard(name)
        if name in self.wants[VHDS].names and name in self.told:
            self.left[name] = self.told.pop(name)
        self.unsubscribe(VHDS, name)

    def reconnect(self) -> None:
        self.left.clear()  # it is among what it says to hold, and is told that it is gone
        ModelClient.reconnect(self)

    def connect(self, name: str) -> None:
        """A connection to an address: the same."""
        want = self.wants[CDS]
        if name not in want.names and name not in want.held:
            self.subscribe(CDS, name)

    def hear(self, raw: bytes) -> None:
        message = pb.DeltaDiscoveryResponse.FromString(raw)
        if message.type_url != VHDS:
            ModelClient.hear(self, raw)
            return
        bodies = [one for one in message.resources if one.HasField("resource")]
        if not any(BAD in Cluster.parse(one.resource.value).alt_stat_name for one in bodies):
            # An answer without a body, of the version it has already, is a sign of life and none to who waits.
            answers = [one for one in message.resources if one in bodies or self.told.get(one.name) != one.version]
            self.waiting -= {one.name for one in answers}
            self.told.update((one.name, one.version) for one in answers if one.name in self.wants[VHDS].names)
            for name in message.removed_resources:
                self.told.pop(name, None)
            for name in (*message.removed_resources, *(one.name for one in bodies)):
                self.left.pop(name, None)
        for one in message.resources:
            assert one.HasField("resource") or list(one.aliases) == [one.name]
        for one in bodies:
            needed = Cluster.parse(one.resource.value).alt_stat_name
            if needed.startswith(USES) and BAD not in needed and not self.late:
                assert needed.removeprefix(USES) in self.wants[CDS].held, "a virtual host before its cluster"
        kept = pb.DeltaDiscoveryResponse(
            type_url=message.type_url, nonce=message.nonce, removed_resources=message.removed_resources
        )
        kept.resources.extend(bodies)
        ModelClient.hear(self, kept.SerializeToString())
