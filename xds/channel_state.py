"""The state of a channel as values that may be shown."""

from __future__ import annotations

from xds.channel import Channel
from xds.kinds import SECRET
from xds.state import RejectedResource, TypeState


def type_state(channel: Channel) -> TypeState:
    """What was sent of one type, and what became of it."""
    held = [one for one in channel.held.values() if one.version]  # else it is not known to be
    flight = channel.flight
    pending = () if flight is None else [(one.name, one.version) for one in flight.push.changed]
    gone = () if flight is None else [(name, "") for name in flight.push.removed]
    return TypeState(
        type_url=channel.kind.type_url,
        wildcard=channel.subscription.wildcard and channel.kind.scoped,
        names=tuple(sorted(channel.subscription.names)),
        acknowledged=tuple(one.without_body() if channel.kind == SECRET else one for one in held),
        pending=(*pending, *gone),
        pending_nonce="" if flight is None else flight.nonce,
        rejected=rejected_by(channel),
        rejection=channel.words,
    )


def rejected_by(channel: Channel) -> tuple[RejectedResource, ...]:
    """What the client refuses of one type at present, by name."""
    return tuple(
        RejectedResource(name=name, version=refusal.version, message=refusal.message, needs=refusal.needs)
        for name, refusal in sorted(channel.refused.items())
    )
