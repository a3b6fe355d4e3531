"""One type on one stream: what the client holds, what is on its way, what is still to be sent.

The two variants of the protocol share all of it; they differ in how a request is read and a response composed.
Versions, nonces, subscriptions and rejections of one type never touch another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from xds.in_common import in_common
from xds.isolation import maybe_half_made, singled_out, split
from xds.kinds import Absence, Kind, Removal
from xds.memo import ABSENT, FAILED, Found, Scope
from xds.push import Flight, Push, Refusal
from xds.readers import Reads
from xds.resource import Resource, build_foreign, build_missing
from xds.subscription import Change, Subscription

MANY = 100
"""Names of a change. A stream may know fewer."""
_NO_NAMES: frozenset[str] = frozenset()
_NONE = ""
"""The version of what a client refuses to have removed (state of the world): the same set is not sent again."""


@dataclass(slots=True, eq=False)
class Channel:
    """The state of one type. `held` is what the client acknowledged, `refused` what it will not be sent again.

    `marked`: names to compare with what is held. `forced`: names to answer even if nothing differs. `groups`: parts of
    a refused response, sent apart to find the culprit. `half_made`: to be removed at once, for the client refused it
    and may have a part of it. `doubted`: of these the client may have another version than what is held, or none: no
    answer came, or a refusal that left it open. `doomed`: to be removed once nothing names it any more; since when it
    waits for answers, if it does. `owed`: the client waits for an answer even if that is empty. `claimed`: the version
    of everything the client says to hold, in its first request (state of the world). `brought`: it came with something.

    `on_demand`: a name in a request is a question. What answers for it comes into the scope. Under the name itself
    there is an answer too, always: the resource if it is in scope, else that there is none of that name. `returned`:
    names that were asked for and are no longer, until they are answered; the answer is the resource. Where that is
    refused it is what the client has, and where there is neither, that it is removed.
    """

    kind: Kind
    incremental: bool = True
    on_demand: bool = False
    subscription: Subscription = field(default_factory=Subscription)
    scope: Scope = field(default_factory=Scope)
    held: dict[str, Resource] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    forced: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    """Names that were asked for and could not be looked up."""
    returned: set[str] = field(default_factory=set)
    groups: list[tuple[Resource, ...]] = field(default_factory=list)
    half_made: set[str] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)
    doomed: dict[str, datetime | None] = field(default_factory=dict)
    flight: Flight | None = None
    lost: Flight | None = None
    """The last response, if no answer to it came in time: until another one is sent, one may come."""
    owed: bool = False
    claimed: str = ""
    brought: bool = False
    unproven: bool = False
    """The client came with a complete set of which nothing is known, and has accepted none of ours yet (state of the
    world). Whatever is left out of a response is taken from it, so that it gets all or nothing."""
    left_out: set[str] = field(default_factory=set)
    """Names that requests which crossed a response did not have (state of the world)."""
    refused_versions: dict[str, frozenset[str]] = field(default_factory=dict)
    """Of responses that were refused while the culprit is looked for, with what was new in them (state of the world).
    """
    nonce: str = ""
    last_shared: int = 0
    """The number of the last shared response: an older one would come with a nonce that was used before."""
    words: str = ""
    """The client's last words on a rejection."""
    _noted: tuple[frozenset[str], frozenset[str]] = (_NO_NAMES, _NO_NAMES)
    """The names it is subscribed to, and those in scope, as of `note_reads`."""

    @property
    def unsent(self) -> bool:
        """Whether something may be left to send, removals that have to wait apart."""
        return bool(self.marked or self.forced or self.groups or self.half_made or self.owed)

    @property
    def backlog(self) -> int:
        """How many names there are to look at."""
        return len(self.marked) + len(self.forced)

    def upcoming(self) -> tuple[str, ...]:
        """Of those, what the client wants."""
        return tuple(filter(self.wants, self.marked | self.forced))

    @property
    def settled(self) -> bool:
        """Whether everything that was to be sent was also answered, removals that have to wait apart."""
        return self.flight is None and not self.unsent

    @property
    def may_hold_unknown(self) -> bool:
        """Whether the client may hold what nobody knows (state of the world): from an earlier stream, or a table that
        was gone for a time, which it was not told."""
        return not self.incremental and (self.unproven or not self.kind.complete)

    @property
    def _holds_all(self) -> bool:
        """Whether the client keeps what it is sent, named or not, until it is told that it is gone."""
        return self.subscription.wildcard and self.kind.scoped

    @property
    def _tells_of_nothing(self) -> bool:
        """Whether a client that asks for what it refused is told that it has nothing of that name."""
        return self.kind.half_made or (self.incremental and self.kind.absence is not Absence.SILENT)

    @property
    def _scope_failed(self) -> bool:
        """Whether it is not known what is in scope, nor was it ever."""
        return self._holds_all and self.scope.failed

    def wants(self, name: str) -> bool:
        """Whether the client is subscribed to this name."""
        subscription = self.subscription
        return name in subscription.names or (subscription.wildcard and name in self.scope.members)

    def note_reads(self) -> bool:
        """Notes what the client wants, for `reads`. Whether that is something else than before."""
        names = self.subscription.names
        members = self.scope.members if self.subscription.wildcard else _NO_NAMES
        if (names, members) == self._noted:  # which are the same objects, as a rule
            return False
        self._noted = names, members
        return True

    @property
    def reads(self) -> tuple[Reads, ...]:
        """All that the client wants, as of `note_reads`. What it holds beside that stays as it is until this is
        another, so that at rest nothing is to be done about it."""
        return tuple((self.kind.type_url, some) for some in self._noted if some)

    def mark(self, names: Set[str]) -> bool:
        """Has those looked at that the client holds or wants. Whether there are any."""
        held, subscribed = self.held, self.subscription.names
        members = self.scope.members if self.subscription.wildcard else frozenset()
        if len(names) > MANY:
            names = {*in_common(names, held), *in_common(names, subscribed), *in_common(names, members)}
        found = False
        for name in names:
            if name in held or name in subscribed or name in members:
                self.marked.add(name)
                found = True
        return found

    def subscribe(self, change: Change, scope: Callable[[], Scope]) -> None:
        """Takes over a changed subscription. `scope` gives all that is in scope, where that matters."""
        opened = change.opened
        self.subscription, before = change.after, self.subscription
        if self.on_demand:
            # What is asked for comes into the scope, which only an open wildcard has.
            self.subscription = Subscription(wildcard=True, named=True)
            opened = opened or not before.wildcard
        if opened and self.kind.scoped:
            self._take_scope(scope())
            self.marked |= self.scope.members
            self.owed = not self.scope.failed  # an empty answer would take everything away
            self.lost = self.lost and replace(self.lost, owing=False)
        self.forced |= change.asked
        if self.refused_versions:
            known = self.scope.members if before.wildcard else _NO_NAMES
            self._forget_refusals_of(change.asked - known)
        if change.dropped:
            self._forget_unwanted()

    def give_back(self, names: Iterable[str], asked: Iterable[str]) -> None:
        """On demand: `names` are asked for no longer, of which none is `asked` for again since."""
        self.returned.difference_update(asked)
        self.returned.update(names)
        self.forced.update(names)

    def adopt(self, initial: dict[str, str]) -> None:
        """Takes over what the client says it holds from an earlier stream, by version."""
        self.brought = bool(initial)
        self.held.update((name, build_foreign(name, version)) for name, version in initial.items())
        self.marked.update(initial)
        self.forced.difference_update(initial)
        self.owed = self.owed and not initial

    def recall_refused(self, refused: Mapping[str, Refusal]) -> None:
        """Takes over what the client refused on an earlier stream. What of it is not wanted any more is forgotten."""
        self.refused.update(refused)
        self.marked.update(refused)

    def recall(self, known: tuple[Resource, ...] | None) -> None:
        """Takes over what a client that came with a complete set is known to hold; None: it is not known."""
        if known is not None:
            self.unproven = False
            self.held.update((resource.name, resource) for resource in known)
            self.marked.update(self.held)

    def rescope(self, scope: Scope) -> None:
        """Marks what comes into scope and what leaves it. If the scope could not be derived, nothing leaves it."""
        if scope is self.scope or not self._holds_all:
            return
        if scope.failed:
            # What is in it is; what is not may be all the same.
            if fresh := scope.members - self.scope.members:
                self.marked |= fresh
                self.scope = replace(self.scope, members=self.scope.members | fresh)
            return
        self.marked |= scope.members ^ self.scope.members
        for name in [name for name in self.doomed if name in scope.members and name not in self.scope.members]:
            del self.doomed[name]  # should it go again it waits anew
        self._take_scope(scope)

    def _take_scope(self, scope: Scope) -> None:
        if self.scope.failed:
            # Nothing was taken away meanwhile, nor was an empty answer given.
            self.marked.update(self.held, self.unanswered)
            self.owed = True
        self.scope = scope

    def take(self, find: Callable[[str], Found]) -> Push | None:
        """The next thing to send, None if there is nothing. What is taken no longer counts as unsent."""
        if self.half_made:
            removed, self.half_made = tuple(sorted(self.half_made)), set()
            return Push(removed=removed)
        while self.groups:
            group = self._current(self.groups.pop(), find)
            if group:
                self.owed = self.owed and self.incremental  # else it is a whole set
                return Push(changed=group)
        if self.unproven:
            return self._take_all(find)
        push = self._gather(find)
        if not (push.changed or push.removed or self.owed):
            return None
        self.owed = False
        return push

    def take_removals(self, names: Set[str]) -> Push | None:
        """Those of the removals that had to wait."""
        removed = tuple(sorted(name for name in names if name in self.held))
        for name in names:
            del self.doomed[name]
        return Push(removed=removed) if removed else None

    def accept(self, push: Push) -> None:
        """The client has all of this now. What it has unsubscribed from meanwhile is not kept track of.

        What left the scope meanwhile is: a client of everything holds it until it is told that it is gone.
        """
        self.unproven = False
        if self.returned:
            self.returned.difference_update([one.name for one in push.changed if one.name not in self.forced])
        for resource in push.changed:
            if self.on_demand and resource.missing:
                continue
            refusal = self.refused.get(resource.name)
            if refusal is not None and refusal.version == resource.version:  # else it refuses another one still
                del self.refused[resource.name]
            if self._holds_all or self.wants(resource.name):
                self.held[resource.name] = resource
        for name in push.removed:
            self._drop(name)
        if self.doubted:
            self.doubted.difference_update([resource.name for resource in push.changed])

    def refuse(self, push: Push, message: str) -> tuple[Resource, ...]:
        """The client took nothing of this, or not all. The culprits, as far as they are known.

        The other parts are sent again, apart. Nothing else of the type is sent before that has ended.
        """
        self.words = message
        if push.changed and not self.unproven:  # then all is looked at again anyway
            self._remove_again(push)
        culprits = push.changed
        if self.unproven:
            culprits = singled_out(push.changed, message) or push.changed
        elif len(push.changed) > 1:
            culprits = singled_out(push.changed, message)
            self.groups.extend(reversed(split(push.changed, message, culprits)))
        for resource in culprits:
            self._refuse(resource, message)
        if self.kind.half_made and self.incremental:
            parts = maybe_half_made(push.changed, message)
            self.half_made.update(one.name for one in parts if one.name not in self.held)
        if not push.changed and not self.unproven:
            for name in push.removed:  # there is no other version of that to come back to
                if self.incremental:
                    self._drop(name)
                else:
                    self.refused[name] = Refusal(version=_NONE, message=message)
                    self.doomed.pop(name, None)
        return culprits

    def _refuse(self, resource: Resource, message: str) -> None:
        if self.on_demand and resource.missing:
            return
        if not (self._holds_all or self.wants(resource.name)):
            return  # it was dropped meanwhile
        if not self.unproven:  # then all is looked at again with the next change
            self.marked.add(resource.name)  # if the answer came late it may be gone
        held = self.held.get(resource.name)
        again = held is not None and held.version == resource.version
        if not (again and resource.name in self.refused):  # else it is a newer version that it must not be sent
            self.refused[resource.name] = Refusal(version=resource.version, message=message, needs=resource.needs)
        if self.on_demand:
            if not again and (not self._surely_has(resource.name) or resource.name in self.returned):
                self.forced.add(resource.name)  # whoever waits for it hears that there is none, or of what it has
            else:
                self.returned.discard(resource.name)

    def give_up_waiting(self) -> None:
        """No answer came: what was sent counts as not held, and is sent again with whatever is new.

        The client may have taken it all the same. So what it held before is sent again too if that is what it is to
        have by then. What is gone by then is removed: until it is sent again it counts as held in a version of the
        client's own, which has none. A complete set is followed by another, whatever is in it.
        """
        if self.flight is not None:
            doubted, owed = frozenset(self.doubted), self.owed
            unknown = [resource.name for resource in self.flight.push.changed if resource.name not in self.held]
            for resource in self.flight.push.changed:
                if resource.missing:
                    self.forced.add(resource.name)
                    continue
                self.marked.add(resource.name)
                held = self.held.get(resource.name)
                known = held is not None and held.version == resource.version
                if known or resource.name in self.returned or (self.on_demand and not self.has_some(resource.name)):
                    self.forced.add(resource.name)  # it was an answer, and no news, or may have been
                self._doubt(resource)
            self._remove_again(self.flight.push)
            self.lost = replace(
                self.flight,
                doubted=frozenset(self.doubted - doubted),
                supposed=frozenset(name for name in unknown if name in self.held),
                owing=self.owed and not owed,
            )
            self.flight = None

    def take_answered(self, nonce: str) -> Flight | None:
        """The response that this answers, which is no longer waited for. None: it answers none, or an old one."""
        flight = self.flight or self.lost
        if flight is None or flight.nonce != nonce:
            return None
        self.flight = self.lost = None
        self.doubted -= flight.doubted
        for name in flight.supposed:
            if name in self.held and not self.has_some(name):
                del self.held[name]
        self.owed = self.owed and not flight.owing
        return flight

    def note_refused(self, flight: Flight) -> None:
        """State of the world: a set is refused, which is not to be sent again while the culprit is looked for."""
        if not self.groups:
            self.refused_versions.clear()
        self.refused_versions[flight.version] = frozenset(resource.name for resource in flight.push.changed)

    def _forget_refusals_of(self, asked: Set[str]) -> None:
        for version in [version for version, names in self.refused_versions.items() if not names.isdisjoint(asked)]:
            del self.refused_versions[version]

    def has_some(self, name: str) -> bool:
        """Whether the client has any version of this: not so if it was sent one, and the answer never came."""
        held = self.held.get(name)
        return held is not None and held.version != ""

    def has_unknown(self, name: str) -> bool:
        """Whether the client refuses this, and may have another version of it that nobody knows."""
        return name in self.refused and name in self.held and not self.has_some(name)

    def _surely_has(self, name: str) -> bool:
        """Whether the client has what is `held`."""
        return self.has_some(name) and name not in self.doubted

    def _drop(self, name: str) -> None:
        self.held.pop(name, None)
        self.doubted.discard(name)

    def _doubt(self, resource: Resource) -> None:
        """The client may have this, or what is held, if anything is.

        If nothing is, this counts as held in a version that nothing has, so that it is removed in its turn once it is
        gone. A complete set is followed by another, whatever is in it.
        """
        if not (self._holds_all or self.wants(resource.name)):
            return
        held = self.held.get(resource.name)
        if held is not None and held.version != resource.version:
            self.doubted.add(resource.name)
        elif held is None and self.incremental and self.kind.removal is not Removal.NEVER:
            self.held[resource.name] = replace(build_foreign(resource.name, ""), needs=resource.needs)
        elif held is None and self.kind.complete:
            self.owed = True

    def _remove_again(self, push: Push) -> None:
        self.marked.update(push.removed)
        self.doubted.update(name for name in push.removed if name in self.held)
        if self.on_demand:
            # Of what it does not hold either, a name that it gave back.
            self.give_back([name for name in push.removed if name not in self.held and name not in self.forced], ())
        elif self.incremental:
            # An answer, that there is none.
            names = self.subscription.names
            self.forced.update(name for name in push.removed if name in names and name not in self.held)

    def _current(self, group: tuple[Resource, ...], find: Callable[[str], Found]) -> tuple[Resource, ...]:
        kept: list[Resource] = []
        for resource in group:
            if resource.missing:
                kept.append(resource)
                continue
            now = find(resource.name).resource if self.wants(resource.name) else None
            if now is not None and self._is_for(now, resource):
                kept.append(resource)
                self.marked.discard(resource.name)
                self.forced.discard(resource.name)
            else:
                self.marked.add(resource.name)
                if self.on_demand and (not self._surely_has(resource.name) or resource.name in self.returned):
                    self.forced.add(resource.name)  # whoever waits for it hears what has become of it
                # Of clusters and listeners Envoy takes the good ones of a response that it refuses.
                self._doubt(resource)
        return tuple(kept)

    def _is_for(self, now: Resource, sent: Resource) -> bool:
        """Whether what was sent is what the client is to have now: this, or what it holds while it refuses this."""
        if now.version == sent.version:
            return True
        refusal = self.refused.get(sent.name)
        return sent is self.held.get(sent.name) and refusal is not None and refusal.version == now.version

    def _take_all(self, find: Callable[[str], Found]) -> Push | None:
        if not self.unsent:
            return None
        self.refused.clear()
        self.marked |= self.held.keys() | self.subscription.names
        self.marked |= self.scope.members if self.subscription.wildcard else frozenset()
        complete = not self._scope_failed
        complete = complete and not any(found.failed and found.resource is None for found in map(find, self.marked))
        push = self._gather(find)
        self.owed = False
        return push if complete else None

    def _gather(self, find: Callable[[str], Found]) -> Push:
        changed: list[Resource] = []
        removed: list[str] = []
        asked = self.forced if self.on_demand else frozenset()
        unwanted = FAILED if self._scope_failed else ABSENT
        names = sorted(self.marked | self.forced)
        for name in names:
            found = find(name) if self.wants(name) else unwanted
            if found.resource is not None or (found.failed and self.wants(name)):
                self.doomed.pop(name, None)
            if found.resource is not None:
                self.unanswered.discard(name)
                if (resource := self._due(name, found.resource)) is not None:
                    changed.append(resource)
                    continue
            elif not found.failed:
                self._miss(name, changed, removed)
                continue
            held = self.held.get(name)
            if found.failed and held is None and name in self.forced and not self.on_demand:
                self.unanswered.add(name)
            if name in self.returned:
                removed += [name] if held is None or (held.foreign and not found.failed) else []
            elif name in asked:
                changed.append(build_missing(name))
            elif not self.has_some(name) and name in self.forced and name in self.refused and self._tells_of_nothing:
                removed.append(name)  # it refused it, on an earlier stream, say, and asks for it again
        self.marked.clear()
        self.forced = {name for name in asked if name in self.held and name not in self.returned} & set(removed)
        if self.returned:
            self.returned.intersection_update([resource.name for resource in changed])
        return Push(changed=tuple(changed), removed=tuple(removed))

    def _due(self, name: str, resource: Resource) -> Resource | None:
        held = self.held.get(name)
        refusal = self.refused.get(name)
        forced = name in self.forced
        if refusal is not None and refusal.version == resource.version:
            return held if forced and held is not None and held.packed and held.version != refusal.version else None
        self.refused.pop(name, None)
        if held is None or held.version != resource.version or name in self.doubted:
            return resource
        if held.foreign:
            self.held[name] = resource
        return resource if forced else None

    def _miss(self, name: str, changed: list[Resource], removed: list[str]) -> None:
        held = self.held.get(name)
        if held is not None and name in self.refused and self.refused[name].version == _NONE:
            return
        self.refused.pop(name, None)
        asked = name in self.forced or name in self.unanswered
        self.unanswered.discard(name)
        may_have = held is not None and (not held.missing or name in self.doubted)
        if self.on_demand:
            if held is not None or name in self.returned:
                removed.append(name)  # what was asked is answered next
            elif asked:
                changed.append(build_missing(name))
        elif asked and self.kind.absence is Absence.ALIAS and name in self.subscription.names and not may_have:
            changed.append(build_missing(name))
        elif (asked or (held is not None and held.foreign)) and self.kind.removal is not Removal.LAST:
            if self.kind.absence is not Absence.SILENT:
                removed.append(name)
        elif asked and held is None:
            removed.append(name)
        elif may_have:
            match self.kind.removal:
                case Removal.AT_ONCE:
                    removed.append(name)
                case Removal.LAST:
                    self.doomed.setdefault(name, None)
                case Removal.NEVER:
                    pass

    def _forget_unwanted(self) -> None:
        unwanted = [name for name in self.held if not self.wants(name)]
        kept = _NONE if self._holds_all else None
        for name in [name for name, one in self.refused.items() if one.version != kept and not self.wants(name)]:
            del self.refused[name]
        if self._holds_all:
            self.marked.update(unwanted)  # it has them until it is told that they are gone
            return
        for name in unwanted:
            del self.held[name]
        for marks in (self.marked, self.forced, self.unanswered, self.doubted):
            marks.intersection_update([name for name in marks if self.wants(name)])
        self.doomed = {name: since for name, since in self.doomed.items() if self.wants(name)}
