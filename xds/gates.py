"""What has to wait for what on one stream (make before break), and for how long at most.

Source: the xDS protocol, "Eventual consistency considerations"; Envoy acknowledges clusters once they are warm, which
takes their endpoints and secrets: those never wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from xds.channel import Channel
from xds.kinds import CLUSTER, ROUTE, VIRTUAL_HOST, Kind

PATIENCE = timedelta(seconds=5)
"""A route waits for its cluster this long at most: one that cannot warm must not stop all others."""


class Gates:
    """The waiting of one stream."""

    __slots__ = ("_arriving_since", "_channels")

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels
        self._arriving_since: datetime | None = None

    def observe(self, now: datetime) -> None:
        """To be called before the others, whenever something may have changed, and once clusters were sent."""
        clusters = self._channels.get(CLUSTER.type_url)
        if clusters is None or not _arriving(clusters):
            self._arriving_since = None
        elif self._arriving_since is None:
            self._arriving_since = now
        for channel in self._channels.values():
            # What came back, or is kept for a refusal, has not waited for an answer.
            if channel.doomed_since is not None and (not channel.doomed or self.keeps_all(channel)):
                channel.doomed_since = None

    def may_send(self, kind: Kind, now: datetime) -> bool:
        """Whether a type that names clusters may be sent: no new cluster is on its way, or for too long."""
        return not kind.routes or self._arriving_since is None or now - self._arriving_since >= PATIENCE

    def may_remove(self, kind: Kind, now: datetime) -> bool:
        """Whether what is no longer wanted may be removed: everything that could name it has been acknowledged, or was
        not for too long. What `keeps` says stays all the same."""
        doomed = self._channels[kind.type_url]
        if doomed.flight is not None or doomed.unsent:
            return False
        if self.keeps_all(doomed):
            return False
        if doomed.doomed_since is None:
            doomed.doomed_since = now
        namers = self._namers(kind)
        if all(channel.settled and not (channel.kind == ROUTE and channel.doomed) for channel in namers):
            return True
        return now - doomed.doomed_since >= PATIENCE

    def keeps(self, kind: Kind) -> frozenset[str] | None:
        """What the client may need as long as it refuses something, for it stays on an older one. None: anything."""
        needed: set[str] = set()
        for channel in self._namers(kind):
            for name in channel.refused:
                if name in channel.doubted:
                    return None
                if (held := channel.held.get(name)) is None:
                    continue
                # Which clusters a table or a listener names is not known, nor what a client has from an earlier stream.
                if channel.kind != VIRTUAL_HOST or (held.foreign and held.version):
                    return None
                needed |= held.needs
        return frozenset(needed)

    def keeps_all(self, channel: Channel) -> bool:
        """Whether nothing of what is no longer wanted may go before the client takes what it refuses."""
        kept = self.keeps(channel.kind)
        return kept is None or channel.doomed <= kept

    def opens_at(self) -> datetime | None:
        """When the next wait ends for want of patience; None if nothing waits."""
        waiting: list[datetime] = []
        if self._arriving_since and any(one.kind.routes and one.unsent for one in self._channels.values()):
            waiting.append(self._arriving_since)
        waiting.extend(
            one.doomed_since
            for one in self._channels.values()
            if one.doomed and one.doomed_since and not self.keeps_all(one)
        )
        return min(waiting) + PATIENCE if waiting else None

    def _namers(self, kind: Kind) -> list[Channel]:
        return [channel for channel in self._channels.values() if channel.kind.routes and channel.kind != kind]


def _arriving(clusters: Channel) -> bool:
    flight = clusters.flight
    if flight is None:
        return False
    return clusters.unsent or not all(clusters.has_some(resource.name) for resource in flight.push.changed)
