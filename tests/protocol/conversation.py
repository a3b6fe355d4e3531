"""Scripted conversations: what the client says, what the server must answer, in the order of the wire.

The world is plain: type, name and a word of content for each resource. It is put into a snapshot in place of
services, which the core never looks at, so that reads are recorded and marked as they are for the real mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import betterproto2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from model.asker import Asker
from model.mesh import Mesh
from model.problems import ObjectRef
from model.services import Service
from model.view import View
from protos import discovery_pb2 as pb
from protos import type_urls
from xds.accepted_sets import AcceptedSets
from xds.events import DerivationFailed, Event
from xds.look_ahead import LOOKS_AT_ONCE
from xds.memo import Marks, Memo
from xds.protocol import Stream
from xds.readers import ASKED, Readers, Reads
from xds.refused_clusters import RefusedClusters
from xds.resource import content_version
from xds.stream_secrets import Issued
from xds.wire import Node, parse_delta_request, parse_sotw_request

CDS, EDS, LDS = type_urls.CLUSTER, type_urls.ENDPOINT, type_urls.LISTENER
RDS, VHDS, SDS = type_urls.ROUTE, type_urls.VIRTUAL_HOST, type_urls.SECRET
SCOPED = (CDS, LDS, VHDS)
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
BROKEN = "the toy cannot derive this"
NO_SCOPE = "no-scope"
"""The name of what keeps the toy from telling what is in scope of its type."""
LEADS = "to "
World = Mapping[str, Mapping[str, str]]
"""Type URL to name to content."""


def to_mesh(world: World) -> Mesh:
    entries = {
        f"{url} {name}": Service(ref=ObjectRef(kind="Service", name=name), external_name=content)
        for url, names in world.items()
        for name, content in names.items()
    }
    return Mesh(services=dict(sorted(entries.items())))


def derive(type_url: str, name: str, view: View) -> betterproto2.Message | None:
    service = view.service(f"{type_url} {name}")
    if service is None or ("~" in name and not is_for(name, view.labels["app"])):
        return None
    content = service.external_name
    if content == BROKEN:
        raise ArithmeticError(BROKEN)
    return Cluster(name=name, alt_stat_name=f"{content} for {view.labels['app']}" if "@" in content else content)


def names_in_scope(type_url: str, view: View) -> tuple[str, ...]:
    """A name that ends in `~x` is for those whose label `app` is x alone."""
    names = tuple(key.split(" ")[1] for key in view.hosts if key.startswith(f"{type_url} "))
    if NO_SCOPE in names:
        raise ArithmeticError(NO_SCOPE)
    if not any("~" in name for name in names):
        return names
    return tuple(name for name in names if is_for(name, view.labels["app"]))


def mentions(message: betterproto2.Message) -> frozenset[str]:
    """Content `to a` leads to cluster `a`."""
    content = message.alt_stat_name if isinstance(message, Cluster) else ""
    return frozenset({content.removeprefix(LEADS)}) if content.startswith(LEADS) else frozenset()


def is_for(name: str, app: str) -> bool:
    """Whether a name is anything to this asker."""
    return "~" not in name or name.endswith(f"~{app}")


@cache
def parse_toy(body: bytes) -> tuple[str, str]:
    """The name of a resource, and its content."""
    cluster = Cluster.parse(body)
    return cluster.name, cluster.alt_stat_name


@cache
def version_of(name: str, content: str) -> str:
    """The version under which the toy sends this."""
    return content_version(bytes(Cluster(name=name, alt_stat_name=content)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    name: str
    version: str
    body: bytes
    renew_at: datetime | None


@dataclass(slots=True)
class Keys:
    """A secret named `default` that ends after an hour and is due after half of it. `broken`: renewals fail."""

    serial: int = 0
    broken: bool = False
    at: datetime = BEGINNING

    def secret(self, name: str, now: datetime) -> Issued | None:
        if name != "default":
            return None
        if not self.serial:
            return self.renew(now)
        return self._issued()

    def renew(self, now: datetime) -> Issued:
        if self.broken:
            raise ConnectionError("no authority")
        self.serial += 1
        self.at = now
        return self._issued()

    def _issued(self) -> Secret:
        serial = str(self.serial)
        body = bytes(Cluster(name="default", alt_stat_name=serial))
        return Secret(name="default", version=serial, body=body, renew_at=self.at + timedelta(minutes=30))


@dataclass(slots=True)
class Heard:
    """One response, taken apart."""

    type_url: str
    nonce: str
    version: str = ""
    resources: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


MEMO_LIMITS: tuple[dict[str, int], ...] = (
    {},
    {"asked_limit": 1, "absent_limit": 1},
    {"asked_limit": 1, "limit": 3},
    {"absent_limit": 0, "strange_limit": 1},
)
"""Of the memo: as it is, and so that it forgets all the time."""


@dataclass(slots=True)
class Talk:
    """One stream and its client's end of the script."""

    delta: bool
    world: World
    stream: Stream = field(init=False)
    memo: Memo = field(init=False)
    events: list[Event] = field(default_factory=list)
    now: datetime = BEGINNING
    readers: Readers = field(default_factory=lambda: Readers(generation=1))
    last: dict[str, Heard] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    named: dict[str, tuple[str, ...]] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)
    asker: Asker = field(
        default_factory=lambda: Asker(namespace="n", pod="p", service_account="s", labels={"app": "a"})
    )
    failures: list[DerivationFailed] = field(default_factory=list)
    accepted_sets: AcceptedSets = field(default_factory=AcceptedSets)
    refused_clusters: RefusedClusters = field(default_factory=RefusedClusters)
    memo_of: Talk | None = None
    """Another client's stream on the same server."""
    memo_limits: dict[str, int] = field(default_factory=dict)
    """Of the memo, where they are to be other than they are."""
    looks_at_once: int = LOOKS_AT_ONCE
    derived: list[str] = field(default_factory=list)
    """The names of what was derived."""
    derive_seconds: float = 0.0
    """So much time passes with each."""

    def __post_init__(self) -> None:
        self.memo = self.memo_of.memo if self.memo_of else self.new_memo()
        self.reconnect()

    def new_memo(self) -> Memo:
        def build(type_url: str, name: str, view: View) -> betterproto2.Message | None:
            self.derived.append(name)
            self.now += timedelta(seconds=self.derive_seconds)
            return derive(type_url, name, view)

        mesh = to_mesh(self.world)
        return Memo(
            derive=build,
            names=names_in_scope,
            report=self.failures.append,
            mentions=mentions,
            mesh=mesh,
            **self.memo_limits,
        )

    def reconnect(self, *, to_another: bool = False) -> None:
        """A new stream. `to_another`: to a server that has never seen the client."""
        if hasattr(self, "stream"):
            self.stream.close(self.now)
        if to_another:
            self.accepted_sets = AcceptedSets()
            self.refused_clusters = RefusedClusters()
        self.stream = Stream(
            stream_id="1",
            delta=self.delta,
            node=Node(id="node"),
            asker=self.asker,
            memo=self.memo,
            secrets=self.keys,
            report=self.events.append,
            readers=self.readers,
            now=self.now,
            accepted_sets=self.accepted_sets,
            refused_clusters=self.refused_clusters,
            looks_at_once=self.looks_at_once,
        )
        self.readers.stirs(self.stream.id)
        self.last.clear()

    # What the client says

    def delta_says(
        self,
        type_url: str,
        *subscribe: str,
        drops: tuple[str, ...] = (),
        initial: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
        node: str = "",
    ) -> None:
        message = pb.DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=subscribe,
            resource_names_unsubscribe=drops,
            initial_resource_versions=initial or {},
            response_nonce=nonce,
        )
        if error is not None:
            message.error_detail.message = error
        if node:
            message.node.id = node
        self.stream.receive(parse_delta_request(message.SerializeToString()), self.now)

    def sotw_says(
        self,
        type_url: str,
        *names: str,
        nonce: str | None = None,
        version: str | None = None,
        error: str | None = None,
    ) -> None:
        """Without `nonce` and `version` those of the last response that was accepted, as clients do."""
        last = self.last.get(type_url)
        message = pb.DiscoveryRequest(
            type_url=type_url,
            resource_names=names,
            response_nonce=(last.nonce if last else "") if nonce is None else nonce,
            version_info=self.accepted.get(type_url, "") if version is None else version,
        )
        if error is not None:
            message.error_detail.message = error
        self.named[type_url] = names
        self.stream.receive(parse_sotw_request(message.SerializeToString()), self.now)

    def says(self, type_url: str, *names: str) -> None:
        """A subscription to more names (all names are repeated, where the variant wants that)."""
        if self.delta:
            self.delta_says(type_url, *names)
        else:
            self.sotw_says(type_url, *dict.fromkeys((*self.named.get(type_url, ()), *names)))

    def accepts(self, type_url: str) -> None:
        last = self.last[type_url]
        self.accepted[type_url] = last.version
        if self.delta:
            self.delta_says(type_url, nonce=last.nonce)
        else:
            self.sotw_says(type_url, *self.named.get(type_url, ()))

    def refuses(self, type_url: str, words: str = "it is wrong") -> None:
        if self.delta:
            self.delta_says(type_url, nonce=self.last[type_url].nonce, error=words)
        else:
            self.sotw_says(type_url, *self.named.get(type_url, ()), error=words)

    # What happens

    def becomes(self, world: World) -> Marks:
        """A new snapshot, in which only the types given differ; what it marks, for `follows`."""
        self.world = {**self.world, **world}
        marks = self.memo.advance(to_mesh(self.world))
        self.is_told(marks, self.generation + 1)
        return marks

    def follows(self, other: Talk, marks: Marks) -> None:
        """The snapshot that the other client of this server just got."""
        self.world = other.world
        self.is_told(marks, other.generation)

    def is_told(self, marks: Marks, generation: int) -> bool:
        """As the server does it: only if it concerns the stream. Whether that has something to do."""
        noted = self.readers._reads.get(self.stream.id)  # None: it has ended
        if noted is not None and self.stream.id not in self.readers.busy():
            assert self.reads() <= noted.keys(), "it rests, and what it reads is not noted"
        concerned = self.stream.id in self.readers.concerned(marks)
        to_do = concerned and self.stream.snapshot(marks)
        self.readers.generation = generation
        return to_do

    def reads(self) -> set[Reads]:
        """What the stream has to be told of, where it rests."""
        reads: set[Reads] = set()
        for channel in self.stream._channels.values():
            reads.add((channel.kind.type_url, channel.subscription.names))
            if channel.subscription.wildcard:
                reads.add((channel.kind.type_url, channel.scope.members))
        if self.stream._demand is not None:
            reads.add((ASKED, frozenset(self.stream._demand._asked)))
            reads.add((VHDS, self.stream._demand._scopes[VHDS].members))
        return {one for one in reads if one[1]}

    @property
    def generation(self) -> int:
        """Of the snapshot that was published last."""
        return self.readers.generation

    def passes(self, **span: float) -> None:
        """The stream is told the time as a pump would: when it said, or while it is restless."""
        due = self.stream.wake_at()
        self.now += timedelta(**span)
        if (due is not None and self.now >= due) or self.stream.restless:
            self.stream.tick(self.now)
        assert not self.stream.restless, "nothing would tell it the time again"

    # What the server must answer

    def hears(
        self,
        type_url: str,
        resources: Mapping[str, str] | None = None,
        *,
        removed: tuple[str, ...] = (),
        missing: tuple[str, ...] = (),
        accept: bool = True,
    ) -> Heard:
        """The next response is exactly this. It is accepted, unless told otherwise."""
        heard = self.next()
        assert heard is not None, f"silence in place of {type_url}"
        assert (heard.type_url, heard.resources) == (type_url, dict(resources or {}))
        assert (heard.removed, heard.missing) == (removed, missing)
        if accept:
            self.accepts(type_url)
        return heard

    def silence(self) -> None:
        heard = self.next()
        assert heard is None, f"unexpected: {heard}"

    def next(self) -> Heard | None:
        raw = self.stream.next(self.now)
        if raw is None:
            return None
        heard = hear(raw, delta=self.delta)
        self.last[heard.type_url] = heard
        return heard


def hear(raw: bytes, *, delta: bool) -> Heard:
    """A response taken apart. What no response may be fails here."""
    return _parse_delta(raw) if delta else _parse_sotw(raw)


def _parse_delta(raw: bytes) -> Heard:
    message = pb.DeltaDiscoveryResponse.FromString(raw)
    heard = Heard(type_url=message.type_url, nonce=message.nonce, removed=tuple(message.removed_resources))
    for one in message.resources:
        assert one.name not in heard.versions, "R36: a name twice"
        assert one.name not in heard.removed, "R36: a name both sent and removed"
        heard.versions[one.name] = one.version
        if one.HasField("resource"):
            heard.resources[one.name] = _content(message.type_url, one.resource)
        else:
            assert list(one.aliases) == [one.name]
            heard.missing += (one.name,)
    return heard


def _parse_sotw(raw: bytes) -> Heard:
    message = pb.DiscoveryResponse.FromString(raw)
    heard = Heard(type_url=message.type_url, nonce=message.nonce, version=message.version_info)
    for packed in message.resources:
        name, _ = parse_toy(packed.value)
        assert name not in heard.resources, "R36: a name twice"
        heard.resources[name] = _content(message.type_url, packed)
    return heard


def _content(type_url: str, packed: Any) -> str:
    assert packed.type_url == type_url, "R36: the resource is of another type than the response"
    return parse_toy(packed.value)[1]
