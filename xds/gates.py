"""What has to wait for what on one stream (make before break), and for how long at most.

Source: the xDS protocol, "Eventual consistency considerations"; Envoy acknowledges clusters once they are warm, which
takes their endpoints and secrets: those never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from xds.channel import Channel
from xds.kinds import CLUSTER, KINDS, ROUTE, VIRTUAL_HOST, Kind
from xds.memo import Found
from xds.pending import changes_what_is_held, needs_any, unsent_news

PATIENCE = timedelta(seconds=5)
"""A route waits so long at most for a cluster that was sent: one that cannot warm must not stop all others."""
HELD_AT_MOST = timedelta(seconds=30)
"""And so long in all, for clusters that were not sent yet too: a client may never answer on clusters again."""


Finder: TypeAlias = Callable[[Kind], Callable[[str], Found]]
"""How the resources of a type are looked up."""


class Gates:
    """The waiting of one stream."""

    __slots__ = ("_arriving_since", "_began_at", "_behind", "_busy", "_channels", "_held_since")

    def __init__(self, channels: Mapping[str, Channel], busy: Mapping[str, Channel], began_at: datetime) -> None:
        """Of the stream that began then. `busy`: those of its channels that may have something doomed, or unsent."""
        self._channels = channels
        self._busy = busy
        self._began_at = began_at
        self._arriving_since: datetime | None = None
        self._held_since: dict[str, datetime] = {}
        """Since when a type waits for clusters."""
        self._behind: set[str] = set()
        """The types that wait for clusters which were not sent yet."""

    def observe(self, now: datetime) -> None:
        """To be called before the others, whenever something may have changed, and once clusters were sent."""
        clusters = self._channels.get(CLUSTER.type_url)
        if clusters is None or not _arriving(clusters):
            self._arriving_since = None
        elif self._arriving_since is None:
            self._arriving_since = now
        for type_url in [one for one in self._held_since if not self._channels[one].unsent]:
            self.pass_through(type_url)
        for channel in self._busy.values():
            if channel.doomed:
                kept = self.keeps(channel.kind)
                for name in channel.doomed:
                    if kept is None or name in kept:
                        channel.doomed[name] = None  # what is kept for a refusal has not waited for an answer

    def may_send(self, channel: Channel, now: datetime, finder: Finder) -> bool:
        """Whether what is unsent of a type that names clusters may be sent: no new cluster is on its way, or for too
        long. That ends no wait for one that was not even sent yet, which has a bound of its own."""
        if not channel.kind.routes or self._arriving_since is None:
            return True
        type_url = channel.kind.type_url
        if now - self._held_since.setdefault(type_url, now) >= HELD_AT_MOST:
            return True
        self._behind.discard(type_url)
        if now - self._arriving_since < PATIENCE:
            return False
        if self._is_behind(channel, finder):
            self._behind.add(type_url)
            return False
        return True

    def pass_through(self, type_url: str) -> None:
        """What was unsent of this type is sent now: what comes next waits anew."""
        self._held_since.pop(type_url, None)
        self._behind.discard(type_url)

    def _is_behind(self, channel: Channel, finder: Finder) -> bool:
        """Whether it may lead from what works to a cluster that was not sent yet."""
        # Which clusters a table or a listener names is not known.
        if not (channel.held if channel.kind == VIRTUAL_HOST else changes_what_is_held(channel)):
            return False
        news = unsent_news(self._channels[CLUSTER.type_url], finder(CLUSTER))
        return bool(news) and (channel.kind != VIRTUAL_HOST or needs_any(channel, news, finder(channel.kind)))

    def removable(self, kind: Kind, now: datetime) -> frozenset[str]:
        """What is no longer wanted and may be removed: everything that could name it has been acknowledged, or was not
        for too long."""
        channel = self._channels[kind.type_url]
        kept = self.keeps(kind)
        if kept is None or channel.flight is not None or channel.unsent:
            return frozenset()
        waiting = {name: since or now for name, since in channel.doomed.items() if name not in kept}
        channel.doomed.update(waiting)
        if self._namers_settled(channel, now):
            return frozenset(waiting)
        return frozenset(name for name, since in waiting.items() if now - since >= PATIENCE)

    def _namers_settled(self, channel: Channel, now: datetime) -> bool:
        """Whether the client has everything that could name what is in this channel, and said so."""
        if channel.brought and now - self._began_at < PATIENCE:
            # It may hold what it has not spoken of yet. There are no virtual hosts apart in the state of the world.
            namers = [kind for kind in KINDS.values() if kind.routes and kind != channel.kind]
            if any(one.type_url not in self._channels for one in namers if channel.incremental or one != VIRTUAL_HOST):
                return False
        return all(one.settled and not (one.kind == ROUTE and one.doomed) for one in self._namers(channel.kind))

    def keeps(self, kind: Kind) -> frozenset[str] | None:
        """What the client may need as long as it refuses something, for it stays on an older one. None: anything."""
        needed: set[str] = set()
        for channel in self._namers(kind):
            for name in channel.refused:
                if name in channel.doubted:
                    return None
                if (held := channel.held.get(name)) is None:
                    if channel.may_hold_unknown:
                        return None
                    continue
                # Which clusters a table or a listener names is not known, nor what a client has from an earlier stream.
                if channel.kind != VIRTUAL_HOST or (held.foreign and held.version):
                    return None
                needed |= held.needs
        return frozenset(needed)

    def keeps_all(self, channel: Channel) -> bool:
        """Whether nothing of what is no longer wanted may go before the client takes what it refuses."""
        kept = self.keeps(channel.kind)
        return kept is None or channel.doomed.keys() <= kept

    def opens_at(self) -> datetime | None:
        """When the next wait ends for want of patience; None if nothing waits."""
        waiting: list[datetime] = []
        if self._arriving_since:
            routes = [(url, one) for url, one in self._channels.items() if one.kind.routes]
            for url in [url for url, one in routes if one.unsent and one.flight is None]:
                opens = self._arriving_since + PATIENCE
                held = self._held_since.get(url)
                at_most = opens if held is None else held + HELD_AT_MOST
                waiting.append(at_most if url in self._behind else min(opens, at_most))
        for channel in self._channels.values():
            since = [at for at in channel.doomed.values() if at is not None]
            if since and channel.flight is None and not channel.unsent:
                kept = self.keeps(channel.kind)
                waiting += [] if kept is None else [min(since) + PATIENCE]
        return min(waiting, default=None)

    def _namers(self, kind: Kind) -> list[Channel]:
        return [channel for channel in self._channels.values() if channel.kind.routes and channel.kind != kind]


def _arriving(clusters: Channel) -> bool:
    flight = clusters.flight
    if flight is None:
        return False
    return clusters.unsent or not all(clusters.has_some(resource.name) for resource in flight.push.changed)
