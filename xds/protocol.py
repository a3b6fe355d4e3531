"""The state machine of one stream: requests, snapshots and the time go in, encoded responses come out.

It does no I/O. One response of a type is on its way at a time; whatever changes meanwhile is looked up when the next
is made, so that nothing queues and the newest snapshot is what is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import chain

from model.asker import Asker
from xds import delta, sotw
from xds.accepted_sets import AcceptedSets
from xds.channel import Channel
from xds.channel_state import rejected_by, type_state
from xds.demand import DEFAULT_LIMITS, Demand, DemandLimits
from xds.events import Rejected, SecretFailed
from xds.gates import Gates
from xds.history import History
from xds.isolation import is_singled_out
from xds.kinds import CLUSTER, KINDS, PUSH_ORDER, REMOVAL_ORDER, ROUTE, SECRET, VIRTUAL_HOST, Kind
from xds.look_ahead import LOOKS_AT_ONCE, LookAhead
from xds.memo import ABSENT, Found, Marks, Memo, Scope
from xds.push import Flight, Push
from xds.read_memo import KnownAsker
from xds.readers import Readers, Reads
from xds.refused_clusters import RefusedClusters
from xds.resource import Resource
from xds.sending import compose, mark_followers, mark_late
from xds.state import StreamProgress, StreamState
from xds.stream_secrets import SecretShelf, StreamSecrets
from xds.violation import Fault, Violation, check_count, check_total
from xds.wire import DeltaRequest, Node, SotwRequest

ANSWER_WITHIN = timedelta(seconds=30)
"""After this long without an answer a response counts as lost. Envoy holds answers while clusters warm, 15 s."""
_UNKNOWN_SCHEMES = ("xdstp://", "col/")


class Stream:
    """One stream, from its first request on. Every method that takes `now` wants an aware UTC time."""

    __slots__ = (
        "_accepted_sets",
        "_acknowledged",
        "_ahead",
        "_asker",
        "_busy",
        "_channels",
        "_delta",
        "_demand",
        "_gates",
        "_history",
        "_id",
        "_looks_at_once",
        "_memo",
        "_node",
        "_nonces",
        "_opened_at",
        "_quiet",
        "_readers",
        "_reads_differ",
        "_refused_clusters",
        "_report",
        "_rests",
        "_shelf",
    )

    def __init__(
        self,
        *,
        stream_id: str,
        delta: bool,
        node: Node,
        asker: Asker,
        memo: Memo,
        secrets: StreamSecrets,
        report: Callable[[Rejected | SecretFailed], None],
        readers: Readers,
        now: datetime,
        limits: DemandLimits = DEFAULT_LIMITS,
        history: History | None = None,
        accepted_sets: AcceptedSets | None = None,
        refused_clusters: RefusedClusters | None = None,
        looks_at_once: int = LOOKS_AT_ONCE,
    ) -> None:
        """`limits` and `history` are for an asker on demand. `looks_at_once`: the names looked up at a time. `readers`
        is told when the stream rests, and when it no longer does; to begin with it counts as busy."""
        self._accepted_sets = accepted_sets or AcceptedSets()
        self._refused_clusters = refused_clusters or RefusedClusters()
        self._id = stream_id
        self._delta = delta
        self._node = node
        self._asker = KnownAsker(asker)
        self._memo = memo
        self._report = report
        self._readers = readers
        self._reads_differ = True
        """From what was noted when it last rested."""
        self._acknowledged = -1
        """The newest snapshot of which the client had everything, or is refusing it, before there was more to do."""
        self._quiet = self._rests = False
        """As `is_quiet` found it, and whether everything was answered too. Whatever may change it takes it back."""
        self._opened_at = now
        self._nonces = 0
        self._channels: dict[str, Channel] = {}
        self._busy: dict[str, Channel] = {}
        """Those of which something may be unsent, unanswered or still to be removed."""
        self._gates = Gates(self._channels, self._busy, now)
        self._shelf = SecretShelf(secrets)
        self._looks_at_once = looks_at_once
        self._ahead = LookAhead(looks_at_once)
        self._history = history or History()
        self._demand: Demand | None = None
        if asker.on_demand and delta:
            self._demand = Demand(
                memo=memo,
                asker=self._asker,
                limits=limits,
                history=self._history,
                holding=self._clusters_held_for,
                now=now,
                at_once=looks_at_once,
            )

    @property
    def id(self) -> str:
        """Its name among all streams."""
        return self._id

    @property
    def asker(self) -> Asker:
        """Whom the stream is answered as."""
        return self._asker.asker

    @property
    def excessive(self) -> bool:
        """Whether the client asks for more hosts that are none of the mesh's than a stream on demand serves."""
        return self._demand is not None and self._demand.excessive

    @property
    def restless(self) -> bool:
        """Whether `tick` is to be called although `wake_at`, at the last look, said later."""
        return self._demand is not None and self._demand.restless

    # What happens

    def receive(self, request: DeltaRequest | SotwRequest, now: datetime) -> None:
        """A request. Raises Violation if it breaks the protocol."""
        if request.node is not None and request.node.id and request.node.id != self._node.id:
            raise Violation(Fault.INVALID_ARGUMENT, "the node id changed within the stream")
        if not request.type_url:
            raise Violation(Fault.INVALID_ARGUMENT, "a request on an aggregated stream has no type_url")
        kind = KINDS.get(request.type_url)
        if kind is None:
            return
        channel = self._channels.get(kind.type_url)
        first = channel is None
        if channel is None:
            asked_for = self._demand is not None and kind == VIRTUAL_HOST
            channel = self._channels[kind.type_url] = Channel(kind=kind, incremental=self._delta, on_demand=asked_for)
            if kind == CLUSTER:
                refused = self._refused_clusters.take(self.asker)
                if request.initial if isinstance(request, DeltaRequest) else request.version:
                    channel.recall_refused(refused)
        else:
            self._answered(channel, request)
        self._stir(channel)
        match request:
            case DeltaRequest(subscribe=(), unsubscribe=()) if not (first or request.initial):
                pass
            case DeltaRequest():
                check_count(kind, len(request.initial))
                given_back: set[str] = set()
                if self._demand is not None:
                    given_back = self._demand.hear(request, first=first, now=now)
                delta.subscribe(channel, request, given_back, first=first, scope=lambda: self._scope(kind))
                if first:
                    mark_late(self._channels, kind)
                self._follow_demand()
            case SotwRequest():
                sotw.subscribe(channel, request, first=first, scope=lambda: self._scope(kind))
                if first and channel.unproven:
                    known = self._accepted_sets.take(self.asker, kind.type_url, request.version)
                    channel.recall(known)
        check_count(kind, len(channel.subscription.names))
        check_count(kind, len(channel.forced))
        check_count(kind, len(channel.unanswered))
        if channel.subscription.names:
            check_total(sum(len(one.subscription.names) for one in self._channels.values()))

    def snapshot(self, marks: Marks) -> bool:
        """A new snapshot, already the memo's present one. False if it leaves this stream nothing to do."""
        if marks.everything:
            self._look_again()
            return True
        for type_url in marks.scopes:
            if channel := self._channels.get(type_url):
                channel.rescope(self._scope(channel.kind))
                self._stir(channel)
        marked = False
        for type_url, names in marks.names.items():
            if (channel := self._channels.get(type_url)) and channel.mark(names):
                self._stir(channel)
                marked = True
        if self._demand is not None:
            renewed = self._demand.renew(marks.names.get(VIRTUAL_HOST.type_url, frozenset()), marks.asked)
            if marks.scopes or self._demand.stale:
                renewed = True
                self._follow_demand()
            if renewed and self._demand.behind:
                self._stir()
        if marked or not self.is_quiet():
            return True
        self._note_rest()  # there may have been no room before
        return False

    def reassign(self, asker: Asker) -> None:
        """The workload is another now: its pod was relabelled, say. Everything is looked up again."""
        self._asker = KnownAsker(asker)
        if self._demand is not None:
            self._demand.reassign(self._asker)
        self._look_again()

    def _look_again(self) -> None:
        self._stir(*self._channels.values())
        self._reads_differ = True
        if self._demand is not None:
            self._demand.renew_all()
        for channel in self._channels.values():
            channel.rescope(self._scope(channel.kind))
            channel.marked |= channel.held.keys() | channel.subscription.names
            if channel.subscription.wildcard:
                channel.marked |= channel.scope.members

    def secrets_changed(self) -> None:
        """Secrets may be others now without being due: a trust bundle was replaced, or a server's certificate."""
        if channel := self._channels.get(SECRET.type_url):
            channel.marked |= channel.subscription.names
            self._stir(channel)

    def tick(self, now: datetime) -> None:
        """Time has passed: renews what is due, gives up waiting for answers that do not come."""
        secrets = self._channels.get(SECRET.type_url)
        for name in [name for name, at in self._shelf.due.items() if at <= now]:
            if secrets is None or not secrets.wants(name):
                self._shelf.forget(name)
                continue
            try:
                self._shelf.renew(name, now)
            except Exception as error:  # reported; the client keeps a certificate that is good for as long again
                self._report(SecretFailed(stream=self._id, node=self._node.id, name=name, error=error))
            else:
                secrets.marked.add(name)
                self._stir(secrets)
        if self._demand is not None:
            self._demand.tick(now)
            self._follow_demand()
            self._demand.stamp(now)
        if self._quiet:
            return
        for channel in self._busy.values():
            if channel.flight and channel.unsent and now - channel.flight.sent_at >= ANSWER_WITHIN:
                channel.give_up_waiting()

    def close(self, now: datetime) -> None:
        """The stream has ended; nothing else is called after this."""
        self._readers.forget(self._id)
        if self._demand is not None:
            self._demand.close(now)
        else:
            self._history.leave(self.asker, None, now)
        if clusters := self._channels.get(CLUSTER.type_url):
            refused = {name: one for name, one in clusters.refused.items() if is_singled_out(name, one.message)}
            self._refused_clusters.keep(self.asker, refused, self._opened_at)
        for channel in self._channels.values():
            if not self._delta and channel.kind.complete and not channel.unproven:
                self._accepted_sets.keep(self.asker, channel.kind.type_url, channel.held.values(), self._opened_at)

    # What is to be done

    def prepare(self, now: datetime) -> bool:
        """Looks up some of what `next` is going to send, where that is much. True: there is more to look up, and others
        may have their turn before this is called again."""
        if self._demand is not None and self._demand.in_time:
            if not self._demand.catch_up(self._looks_at_once):
                self._follow_demand()
            return True
        if not self._ahead.under_way:
            for one in self._busy.values():
                if one.backlog > self._looks_at_once:
                    break
            else:
                return False
            self._gates.observe(now)
            much = [one for one in self._busy.values() if self._is_much(one, now)]
            self._ahead.begin(much, lambda kind: self._finder(kind, now), self._memo.snapshot)
        return self._ahead.go_on(self._memo.snapshot)

    def _is_much(self, channel: Channel, now: datetime) -> bool:
        """Whether `next` would look up many names for this type. A secret is made as it is looked up."""
        much = channel.backlog > self._looks_at_once and channel.kind != SECRET
        return much and channel.flight is None and self._gates.may_send(channel, now, partial(self._finder, now=now))

    def next(self, now: datetime) -> bytes | None:
        """The next response, None if there is nothing to send before something happens."""
        while self._demand is not None and self._demand.behind:
            self._demand.catch_up()
            self._follow_demand()
        self._gates.observe(now)
        if self._quiet:
            return None
        finder = partial(self._finder, now=now)
        for kind in PUSH_ORDER:
            channel = self._busy.get(kind.type_url)
            if channel is None or channel.flight is not None or not channel.unsent:
                continue
            if self._gates.may_send(channel, now, finder):
                self._gates.pass_through(kind.type_url)
                find = finder(kind)
                while (push := channel.take(find)) is not None:
                    response = self._send(channel, push, now)
                    if response is not None:
                        return response
        for kind in REMOVAL_ORDER:
            channel = self._busy.get(kind.type_url)
            if channel is not None and channel.doomed and (names := self._gates.removable(kind, now)):
                push = channel.take_removals(names)
                response = None if push is None else self._send(channel, push, now)
                if response is not None:
                    return response
        self.is_quiet()
        return None

    def is_quiet(self) -> bool:
        """Whether `tick` and `next` have nothing to do before something happens; that time passes counts too.

        The answers to what was sent may be all that is missing, or not even they.
        """
        if self._quiet:
            return True
        if self._demand is not None and self._demand.behind:
            return False
        answered = True
        for type_url, channel in tuple(self._busy.items()):
            self._reads_differ |= channel.note_reads()
            if channel.unsent or (channel.doomed and not self._gates.keeps_all(channel)):
                return False
            if channel.flight is not None:
                answered = False
            elif not channel.doomed:
                del self._busy[type_url]
        settled = answered and bool(self._channels)
        if settled:
            self._acknowledged = self._readers.generation
        self._quiet = not self.restless
        self._rests = self._quiet and settled
        self._note_rest()
        return self._quiet

    def wake_at(self) -> datetime | None:
        """When `tick` and `next` are to be called even if nothing happens before; None if never."""
        times = list(self._shelf.due.values())
        if self._demand is not None and (due := self._demand.due()) is not None:
            times.append(due)
        if not self.is_quiet():
            if (opens := self._gates.opens_at()) is not None:
                times.append(opens)
            times += [
                channel.flight.sent_at + ANSWER_WITHIN
                for channel in self._busy.values()
                if channel.flight is not None and channel.unsent
            ]
        return min(times, default=None)

    def state(self) -> StreamState:
        """Everything about the stream that may be shown."""
        return StreamState(
            id=self._id,
            node=self._node,
            asker=self.asker,
            delta=self._delta,
            opened_at=self._opened_at,
            generation=self._readers.generation,
            acknowledged_generation=self._acknowledged_generation,
            types=tuple(type_state(self._channels[url]) for url in KINDS if url in self._channels),
        )

    def progress(self) -> StreamProgress:
        """How far the client is, without what it holds."""
        return StreamProgress(
            asker=self.asker,
            acknowledged_generation=self._acknowledged_generation,
            rejected=tuple(
                (url, resource)
                for url in KINDS
                if url in self._channels
                for resource in rejected_by(self._channels[url])
            ),
        )

    def acknowledged(self, generation: int) -> bool:
        """Whether the client needs nothing more of this snapshot, or a newer one."""
        return self._acknowledged_generation >= generation

    # Inside

    @property
    def _acknowledged_generation(self) -> int:
        return self._readers.generation if self._rests else self._acknowledged

    def _note_rest(self) -> None:
        if self._rests and not (self._demand is not None and self._demand.stale):
            self._reads_differ = not self._readers.rests(self._id, self._reads() if self._reads_differ else None)

    def _reads(self) -> tuple[Reads, ...]:
        """What of a snapshot that differs may give the stream something to do while it rests."""
        demanded = () if self._demand is None else self._demand.reads()
        return (*chain.from_iterable(channel.reads for channel in self._channels.values()), *demanded)

    def _stir(self, *channels: Channel) -> None:
        """There may be something to do, for these types if any."""
        if self._rests:
            self._acknowledged = self._readers.generation
            self._readers.stirs(self._id)
        self._quiet = self._rests = False
        for channel in channels:
            self._busy[channel.kind.type_url] = channel

    def _answered(self, channel: Channel, request: DeltaRequest | SotwRequest) -> None:
        flight = channel.take_answered(request.nonce)
        if flight is None:
            if request.error is not None:
                self._rejected(channel, Push(), request.error, ())
            return
        # Envoy may send the text of an old rejection with a newer response that it accepted: the version tells.
        took = request.error is None or (isinstance(request, SotwRequest) and request.version == flight.version)
        if took:
            self._accepted(channel, flight.push)
            if not channel.groups:
                channel.refused_versions.clear()
        if request.error is not None:
            if not took and not self._delta:
                channel.note_refused(flight)
            culprits = () if took else channel.refuse(flight.push, request.error)
            self._rejected(channel, flight.push, request.error, culprits)

    def _accepted(self, channel: Channel, push: Push) -> None:
        needs: set[str] = set()
        if self._demand is not None and channel.kind is VIRTUAL_HOST:
            before = ((resource, channel.held.get(resource.name)) for resource in push.changed)
            needs = {resource.name for resource, held in before if held is None or held.needs != resource.needs}
        channel.accept(push)
        if self._demand is not None and needs:
            self._demand.answered(needs)

    def _rejected(self, channel: Channel, push: Push, message: str, culprits: tuple[Resource, ...]) -> None:
        channel.words = message
        names = tuple(resource.name for resource in culprits or push.changed) + (() if culprits else push.removed)
        self._report(
            Rejected(
                stream=self._id,
                node=self._node.id,
                type_url=channel.kind.type_url,
                names=names,
                message=message,
                final=bool(culprits),
            )
        )

    def _follow_demand(self) -> None:
        """What was asked for, or is no longer, changes what the client is to hold."""
        if self._demand is None or not self._demand.differs():
            return
        self._stir()
        self._reads_differ = True
        for kind in (CLUSTER, VIRTUAL_HOST):
            if channel := self._channels.get(kind.type_url):
                channel.rescope(self._scope(kind))
                self._stir(channel)

    def _clusters_held_for(self, host: str) -> frozenset[str]:
        channel = self._channels.get(VIRTUAL_HOST.type_url)
        held = channel.held.get(host) if channel is not None else None
        return frozenset() if held is None else held.needs

    def _scope(self, kind: Kind) -> Scope:
        if self._demand is not None and kind in (CLUSTER, VIRTUAL_HOST):
            return self._demand.scope(kind.type_url)
        return self._memo.scope(kind.type_url, self._asker) if kind.scoped else Scope()

    def _finder(self, kind: Kind, now: datetime) -> Callable[[str], Found]:
        def find(name: str) -> Found:
            if name.startswith(_UNKNOWN_SCHEMES):
                return ABSENT
            if kind != SECRET:
                invented = self._demand is not None and self._demand.is_invented(name)
                return self._memo.find(kind.type_url, name, self._asker, invented=invented)
            try:
                return self._shelf.find(name, now)
            except Exception as error:  # as in tick
                self._report(SecretFailed(stream=self._id, node=self._node.id, name=name, error=error))
                return Found(resource=None, failed=True)

        return find

    def _send(self, channel: Channel, push: Push, now: datetime) -> bytes | None:
        """The encoded response; None if the client is to be taken as having answered it already."""
        response = compose(channel, push, self._memo.responses, incremental=self._delta)
        version = response.version
        if not self._delta:
            claimed, channel.claimed = channel.claimed, ""
            known = channel.kind.complete and claimed == version
            if known or not (channel.kind.complete or push.changed):
                channel.accept(push)
                return None
            if version in channel.refused_versions:
                # The rest of a set that was refused, after its other part was taken, makes the same set again.
                self._rejected(channel, push, channel.words, channel.refuse(push, channel.words))
                return None
        if response.number > channel.last_shared:
            channel.last_shared = response.number
            nonce, raw = response.nonce, response.raw
        else:
            self._nonces += 1
            nonce = str(self._nonces)
            raw = response.with_nonce(nonce)
        channel.nonce = nonce
        channel.lost = None
        channel.flight = Flight(nonce=nonce, version=version, push=push, sent_at=now)
        if channel.kind in (CLUSTER, ROUTE):
            self._stir(*mark_followers(self._channels, channel.kind, push))
            self._gates.observe(now)
        return raw
