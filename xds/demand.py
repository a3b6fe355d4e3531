"""What one stream's client is to hold because its application asked for it: hosts of VHDS, and clusters of addresses.
Without I/O.

Envoy asks for a name once in its life, and again only as it names to a new stream all that it ever asked for: what was
asked for stays, and what answers for it is followed as the mesh changes. Only what was sent ahead can be taken back, to
see whether it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from model.names import is_address_cluster
from model.on_demand import Wanted
from protos.type_urls import CLUSTER, VIRTUAL_HOST
from xds.history import LATELY, History, workload_of
from xds.in_common import in_common
from xds.look_ahead import LOOKS_AT_ONCE
from xds.memo import Memo, Scope
from xds.read_memo import KnownAsker
from xds.readers import ASKED, Reads
from xds.shared_names import share
from xds.wire import DeltaRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandLimits:
    """`unused_after`: when a virtual host that was sent ahead is taken back, unless it was asked for; None: never.

    `cluster_grace`: how long a cluster stays that nothing names any more. `nobodys` and `passing`: for how many hosts
    that nobody has, and that only pass through, a client may ask, and `names`: for how many at all; one that asks for
    more is not to be served so.
    """

    unused_after: timedelta | None = timedelta(minutes=30)
    cluster_grace: timedelta = timedelta(minutes=1)
    nobodys: int = 1000
    passing: int = 1000
    addresses: int = 1000
    names: int = 10_000


DEFAULT_LIMITS = DemandLimits()
SPELLINGS = 8
"""For a host that is sent, Envoy asks no more: so many it may have asked for in other words before. Others count as
`nobodys`."""
ANEW = 3
"""So often a client may ask for all that it may ask for: what it has given back does not count, but Envoy hardly ever
gives back anything, so that one that asks for more is busy with nothing else."""
NOTED_EVERY = timedelta(hours=1)
"""What is asked for on a stream that stays open is in use for as long."""


class Demand:
    """Two sets of names, kept as they follow from what was asked for: virtual hosts, and the clusters those name.

    A cluster of an address is subscribed to by its name, so that of these only the ones sent ahead are in a set.

    `scope` gives them with what every client gets unasked. What changes them has to be followed by a look at both.
    What answers for names, and what virtual hosts name, is looked up as soon as it may have changed, where these are
    few. Where they are many the rest is `behind`: the sets are not whole until `catch_up` has been called often enough.
    `holding` gives the clusters that a virtual host names as the client has it, which may have refused a newer one.
    """

    __slots__ = (
        "_ahead",
        "_asked",
        "_asked_in_all",
        "_asked_names",
        "_asker",
        "_at_once",
        "_base",
        "_counts",
        "_history",
        "_holding",
        "_invented",
        "_left",
        "_limits",
        "_lingering",
        "_looks",
        "_memo",
        "_needs",
        "_nobodys",
        "_noted",
        "_others",
        "_passing",
        "_renewals",
        "_scopes",
        "_snapshot",
        "_spellings",
        "_strangers",
        "_told",
        "_too_many",
        "_unadopted",
        "_undecided",
        "_unread",
        "_unstamped",
        "_workload",
    )

    def __init__(
        self,
        *,
        memo: Memo,
        asker: KnownAsker,
        limits: DemandLimits,
        history: History,
        holding: Callable[[str], frozenset[str]],
        now: datetime,
        at_once: int = LOOKS_AT_ONCE,
    ) -> None:
        self._memo = memo
        self._at_once = at_once
        self._holding = holding
        self._asker = asker
        self._limits = limits
        self._history = history
        self._workload = workload_of(asker.asker)
        self._asked: dict[str, Wanted | None] = {}
        """What answers for each name that was asked for."""
        self._asked_names: frozenset[str] = frozenset()
        """As the scopes were made."""
        self._nobodys = self._passing = 0
        """For how many hosts of them nothing does, and what only passes them through."""
        self._strangers = 0
        """How many addresses of them are no service's."""
        self._renewals: dict[str, None] = {}
        """Names that were asked for and that others may answer for now."""
        self._undecided: dict[str, datetime] = {}
        """Names that are still to be looked up, and when they were asked for."""
        self._unadopted: dict[str, datetime] = {}
        """What the client holds from an earlier stream and may have been sent ahead, not after that time."""
        self._others: Counter[bool] = Counter()
        """How many hosts (False), and addresses (True), that it holds nobody answers for."""
        self._unread: dict[str, None] = {}
        """Virtual hosts in scope of which it is still to be seen which clusters they name."""
        self._left: int | None = None
        """How many of the renewals and the unread are still to be looked up before anything is sent: as many as there
        were when it came to be behind, and what came into scope since. None: it is not."""
        self._spellings: Counter[str] = Counter()
        """By how many names each host of the mesh was asked for."""
        self._asked_in_all = 0
        """How many names it has asked for, given back or not."""
        self._too_many = False
        """It asked for more names than are even looked up."""
        self._noted = now
        """When the history was last told what was asked for."""
        self._ahead = dict.fromkeys(history.recent(self._workload, now), now)
        """Virtual hosts, and clusters of addresses, that are sent unasked, and since when."""
        self._invented: frozenset[str] = frozenset()
        """What answers for hosts and addresses that are none of the mesh's."""
        self._needs: dict[str, frozenset[str]] = {}
        """The clusters that each virtual host in scope names."""
        self._counts: Counter[str] = Counter()
        """By how many of them each cluster is named."""
        self._lingering: dict[str, datetime] = {}
        """When clusters that nothing names may go."""
        self._unstamped: set[str] = set()
        """Clusters that nothing names since a moment ago."""
        self._base: tuple[Scope | None, Scope | None] = (None, None)
        self._snapshot = -1
        """Of the memo, when they were last looked up."""
        self._looks = self._told = 0
        """How often the scopes were made, and at the last call of `differs`."""
        self._scopes: dict[str, Scope] = {}
        self._look()

    @property
    def excessive(self) -> bool:
        """Whether the client asked for more names, or hosts or addresses that are none of the mesh's, than it may.

        While a change of the mesh is followed some count as before it and some as after it, so that nothing is said.
        """
        limits = self._limits
        if self._renewals:
            return self._too_many
        strange = self._nobodys > limits.nobodys or self._passing > limits.passing
        return strange or self._strangers > limits.addresses or self._too_many

    def differs(self) -> bool:
        """Whether the scopes may be others than at the last call of this."""
        self._look()
        looks, self._told = self._told, self._looks
        return looks != self._looks

    @property
    def stale(self) -> bool:
        """Whether what was asked for, or answers for it, has changed since the scopes were made."""
        return not self._scopes

    @property
    def restless(self) -> bool:
        """Whether `tick` is to be called before `due` says anything."""
        return bool(self._unstamped)

    @property
    def behind(self) -> bool:
        """Whether there are names to look up."""
        return bool(self._renewals or self._undecided or self._unadopted or self._unread)

    @property
    def in_time(self) -> bool:
        """Whether to look up more of it before anything is sent: questions, and no more else than there was to begin
        with. In a mesh that changes all the time there would be no end to it."""
        return bool(self._undecided or self._unadopted) or (self._left or 0) > 0

    def catch_up(self, most: int | None = None) -> bool:
        """Looks up so many of the names that are behind, None: all of them. Whether there are more."""
        if most is None:
            most = len(self._renewals) + len(self._undecided) + len(self._unadopted) + len(self._unread)
        before = len(self._renewals) + len(self._unread)
        # Questions first, of which a client has only so many: of the rest there may be more with each change.
        for name in tuple(islice(self._undecided, most)):
            heard = self._undecided.pop(name)
            if self.excessive:
                self._too_many = True  # for good: what is not looked up now never would be
            else:
                self._ask(name, heard)
            most -= 1
        if most and self._unadopted:
            most -= self._adopt(most)
        for name in tuple(islice(self._renewals, most)):
            del self._renewals[name]
            self._answer(name)
            most -= 1
        self._read(most)
        left = len(self._renewals) + len(self._unread)
        if self._left is not None:
            self._left = self._left - before + left if left else None
        return self.behind

    def is_invented(self, name: str) -> bool:
        """Whether a resource is for a host or address that is not the mesh's own."""
        return name in self._invented

    def scope(self, type_url: str) -> Scope:
        """What the client is to hold; the same object as before if it is the same."""
        self._look()
        return self._scopes[type_url]

    def reads(self) -> Iterator[Reads]:
        """What of a new snapshot has to be told to `renew`, where the scopes are not `stale`."""
        yield VIRTUAL_HOST, self._scopes[VIRTUAL_HOST].members
        yield ASKED, self._asked_names

    def hear(self, request: DeltaRequest, *, first: bool, now: datetime) -> set[str]:
        """A request: what it asks for, and if it is the first of its type what the client holds already.

        Gives the names that were asked for until now.
        """
        given_back: set[str] = set()
        if request.type_url == CLUSTER and first:
            # For which virtual hosts the client has them it has not said yet.
            self._lingering.update(dict.fromkeys(request.initial, now + self._limits.cluster_grace))
            self._scopes.clear()
        if request.type_url not in (VIRTUAL_HOST, CLUSTER):
            return given_back
        questions = _questions(request.type_url, request.subscribe)
        self._asked_in_all += sum(name not in self._asked and name not in self._undecided for name in set(questions))
        self._too_many = self._too_many or self._asked_in_all > ANEW * self._limits.names
        if len(self._asked) + len(self._undecided) + len(questions) > self._limits.names:
            known = self._asked.keys() | self._undecided.keys()
            self._too_many = self._too_many or len(known.union(questions)) > self._limits.names
        if questions and self.excessive:
            self._too_many = True  # as above
        else:
            self._undecided.update(dict.fromkeys(questions, now))
        for name in request.unsubscribe:
            if name in self._undecided:
                del self._undecided[name]
                given_back.add(name)
            self._renewals.pop(name, None)
            if name in self._asked:
                given_back.add(name)
                self._count(name, self._asked.pop(name), -1)
        if first:
            since = self._history.ahead_since(self._asker.asker, now) or now
            self._unadopted.update(dict.fromkeys(_questions(request.type_url, request.initial), since))
        self.catch_up(self._at_once)
        if first or request.subscribe or request.unsubscribe:
            self._scopes.clear()
        return given_back

    def renew(self, hosts: Set[str], asked: Set[str]) -> bool:
        """The mesh has changed: these virtual hosts may name other clusters, others may answer for what was asked.

        Whether any of it concerns this client.
        """
        unread = in_common(hosts, self._needs) if hosts else ()
        stale = in_common(asked, self._asked) if asked else ()
        if not (unread or stale):
            return False
        self._renewals.update(dict.fromkeys(stale))
        if stale or len(unread) > self._at_once:
            self._unread.update(dict.fromkeys(unread))
            self._begin()
            self.catch_up(self._at_once)
        else:
            for name in unread:
                self._need(name, self._named(name))
        return True

    def answered(self, hosts: Set[str]) -> None:
        """The client has other ones of these virtual hosts than before."""
        self.renew(hosts, frozenset())

    def reassign(self, asker: KnownAsker) -> None:
        """The workload is another now. Everything is to be renewed."""
        self._asker = asker
        self._snapshot = -1
        self._workload = workload_of(asker.asker)

    def renew_all(self) -> None:
        """Anything may be another."""
        self.renew(self._needs.keys(), self._asked.keys())

    def tick(self, now: datetime) -> None:
        """Time has passed: takes back what was sent ahead long ago, and the clusters whose grace is over."""
        self.stamp(now)
        for name in [name for name, until in self._lingering.items() if until <= now or name in self._counts]:
            del self._lingering[name]
            self._scopes.clear()
        if self._limits.unused_after is not None:
            for name in [name for name, since in self._ahead.items() if since + self._limits.unused_after <= now]:
                del self._ahead[name]
                self._scopes.clear()
        if self._asked and now - self._noted >= NOTED_EVERY:
            self._note(now)

    def stamp(self, now: datetime) -> None:
        """Clusters that nothing names since a moment ago may stay for as long as their grace is."""
        for name in self._unstamped:
            self._lingering[name] = now + self._limits.cluster_grace
        self._unstamped.clear()

    def due(self) -> datetime | None:
        """When `tick` has something to do if nothing happens before; None if never."""
        times = list(self._lingering.values())
        if self._limits.unused_after is not None:
            times += [since + self._limits.unused_after for since in self._ahead.values()]
        if self._asked:
            times.append(self._noted + NOTED_EVERY)
        return min(times, default=None)

    def close(self, now: datetime) -> None:
        """The stream has ended: what its client asked for was in use until now."""
        if self._limits.unused_after is None:
            # Nobody will ever see whether it is in use.
            for name in self._ahead:
                self._history.note(self._workload, name, now)
        self._note(now)
        ahead = (*self._ahead.values(), *self._unadopted.values())
        self._history.leave(self._asker.asker, min(ahead, default=None), now)

    def _note(self, now: datetime) -> None:
        self._noted = now
        for wanted in self._asked.values():
            if wanted is not None and wanted.declared:
                self._history.note(self._workload, wanted.name, now)

    def _look(self) -> None:
        if self._scopes and self._snapshot == self._memo.snapshot:
            return
        self._snapshot = self._memo.snapshot
        base = self._memo.scope(VIRTUAL_HOST, self._asker), self._memo.scope(CLUSTER, self._asker)
        if self._scopes and base[0] is self._base[0] and base[1] is self._base[1]:
            return
        self._base = base
        self._looks += 1
        hosts, clusters = base
        self._asked_names = share(frozenset(self._asked))
        answering = [wanted for wanted in self._asked.values() if wanted is not None]
        self._invented = frozenset(wanted.name for wanted in answering if not wanted.declared)
        addresses = frozenset(filter(is_address_cluster, self._ahead))
        asked = (wanted.name for wanted in answering if not is_address_cluster(wanted.name))
        members = share(hosts.members.union(self._ahead.keys() - addresses, asked))
        for name in [name for name in self._needs if name not in members]:
            self._need(name, frozenset())
            del self._needs[name]
        self._unread = {name: None for name in self._unread if name in members}
        fresh = members.difference(self._needs, self._unread)
        self._unread.update(dict.fromkeys(fresh))
        if self._left is not None:
            self._left += len(fresh)  # what answers for questions
        if len(self._unread) <= self._at_once and self._left is None:
            self._read(self._at_once)
        else:
            self._begin()
        named = share(clusters.members.union(self._counts, self._lingering, self._unstamped, addresses))
        self._scopes = {
            VIRTUAL_HOST: Scope(members=members, failed=hosts.failed),
            CLUSTER: Scope(members=named, failed=clusters.failed),
        }

    def _ask(self, name: str, now: datetime) -> None:
        wanted = self._answer(name)
        if wanted is not None and wanted.declared:
            self._ahead.pop(wanted.name, None)
            self._history.note(self._workload, wanted.name, now)

    def _answer(self, name: str) -> Wanted | None:
        if name in self._asked:
            self._count(name, self._asked[name], -1)
        wanted = self._asked[name] = self._memo.answering(name, self._asker)
        self._count(name, wanted, 1)
        self._scopes.clear()
        return wanted

    def _count(self, name: str, wanted: Wanted | None, change: int) -> None:
        if is_address_cluster(name):
            self._strangers += 0 if wanted is not None and wanted.declared else change
        elif wanted is None:
            self._nobodys += change
        elif not wanted.declared:
            self._passing += change
        else:
            most = max(self._spellings[wanted.name], self._spellings[wanted.name] + change)
            self._nobodys += change if most > SPELLINGS else 0
            self._spellings[wanted.name] += change
            if not self._spellings[wanted.name]:
                del self._spellings[wanted.name]

    def _adopt(self, most: int) -> int:
        """What the client holds from an earlier stream, is answered for and was not asked for was sent ahead then.

        How much was looked at. Where much of it is answered for by nobody the rest is not looked at: it is taken back,
        and asked for if used.
        """
        answering = {wanted.name for wanted in self._asked.values() if wanted is not None}
        some = tuple(islice(self._unadopted, most))
        for name in some:
            since = self._unadopted.pop(name)
            if name in answering or name in self._asked:
                continue
            if self._memo.answering(name, self._asker) == Wanted(name=name, declared=True):
                self._ahead[name] = since
                self._scopes.clear()
                # Long enough to see whether it is asked for once it has been taken back.
                seen = LATELY if self._limits.unused_after is None else 2 * self._limits.unused_after
                self._history.suppose(self._workload, name, since + seen)
                continue
            address = is_address_cluster(name)
            self._others[address] += 1
            if self._others[address] > self._limits.nobodys:
                rest = self._unadopted.items()
                self._unadopted = {other: at for other, at in rest if is_address_cluster(other) is not address}
                break
        return len(some)

    def _begin(self) -> None:
        if self._left is None:
            self._left = len(self._renewals) + len(self._unread)

    def _read(self, most: int) -> None:
        for name in tuple(islice(self._unread, most)):
            del self._unread[name]
            self._need(name, self._named(name))

    def _named(self, name: str) -> frozenset[str]:
        found = self._memo.find(VIRTUAL_HOST, name, self._asker, invented=name in self._invented)
        named = found.resource.needs if found.resource is not None else frozenset()
        return named | self._holding(name)

    def _need(self, name: str, clusters: frozenset[str]) -> None:
        before = self._needs.get(name, frozenset())
        self._needs[name] = clusters
        if before == clusters:
            return
        for fresh in clusters - before:
            self._counts[fresh] += 1
            self._lingering.pop(fresh, None)
        for gone in before - clusters:
            self._counts[gone] -= 1
            if not self._counts[gone]:
                del self._counts[gone]
                self._unstamped.add(gone)
        self._unstamped -= clusters
        self._scopes.clear()


def _questions(type_url: str, names: Iterable[str]) -> list[str]:
    """The names of that type that an application's doing led to."""
    return [name for name in names if (is_address_cluster(name) if type_url == CLUSTER else name != "*")]
