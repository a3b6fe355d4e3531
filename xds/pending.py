"""What a channel has still to send, looked at without sending it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from itertools import chain

from xds.channel import MANY, Channel
from xds.memo import Found
from xds.push import Push
from xds.resource import Resource


def unsent_news(channel: Channel, find: Callable[[str], Found]) -> set[str]:
    """The names that are still to be sent of which the client has nothing, or soon, nor is anything on its way.

    Of more than MANY it is not looked up whether there is anything to send.
    """
    on_its_way = channel.flight.push if channel.flight is not None else Push()
    sent = {resource.name for resource in on_its_way.changed}
    lacking = {name for name in chain(channel.marked, channel.forced) if name not in sent and channel.wants(name)}
    lacking = {name for name in lacking if not channel.has_some(name) or name in on_its_way.removed}
    if len(lacking) <= MANY:
        lacking = {name for name in lacking if _is_acceptable(channel, name, find(name).resource)}
    return lacking | {resource.name for resource in _parts(channel) if not channel.has_some(resource.name)}


def changes_what_is_held(channel: Channel) -> bool:
    """Whether of something that is still to be sent the client has another version."""
    if channel.brought and not channel.held:
        return True  # it does not say of what (state of the world)
    parts = (resource.name for resource in _parts(channel))
    return any(map(channel.has_some, chain(channel.marked, channel.forced, parts)))


def needs_any(channel: Channel, names: Set[str], find: Callable[[str], Found]) -> bool:
    """Whether something that is still to be sent names one of these. Of more than MANY it is not looked up: True."""
    pending = channel.marked | channel.forced
    if len(pending) > MANY:
        return True
    found = [find(name).resource for name in pending if channel.wants(name)]
    pieces = chain(found, _parts(channel))
    return any(resource is not None and not names.isdisjoint(resource.needs) for resource in pieces)


def _is_acceptable(channel: Channel, name: str, resource: Resource | None) -> bool:
    """Whether there is something, and the client has not refused it."""
    refusal = channel.refused.get(name)
    return resource is not None and (refusal is None or refusal.version != resource.version)


def _parts(channel: Channel) -> Iterator[Resource]:
    return chain.from_iterable(channel.groups)
