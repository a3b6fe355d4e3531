"""What a push becomes: the response, and what has to be sent right after it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from xds import delta, sotw
from xds.channel import Channel
from xds.kinds import CLUSTER, ENDPOINT, ROUTE, SECRET, VIRTUAL_HOST, Kind
from xds.push import Push
from xds.shared_responses import Response, SharedResponses


def compose(channel: Channel, push: Push, shared: SharedResponses, *, incremental: bool) -> Response:
    """The response that tells this push, with the bytes that other streams are sent too where it is in `shared`."""
    type_url = channel.kind.type_url
    if incremental:
        resources = push.changed
        make = partial(delta.compose, type_url, push)
    else:
        resources = sotw.contents(channel, push)
        make = partial(sotw.compose, type_url, resources)
    # Secrets are a stream's own; what is removed is not in the key, and what says that there is none never comes again.
    own = channel.kind == SECRET or (incremental and push.removed)
    own = own or (channel.on_demand and any(resource.missing for resource in push.changed))
    return make() if own else shared.get((type_url, incremental, resources), make)


def mark_followers(channels: Mapping[str, Channel], kind: Kind, push: Push) -> tuple[Channel, ...]:
    """Marks what has to be sent right after this push, changed or not; the channels of which that may be."""
    if kind == CLUSTER and (endpoints := channels.get(ENDPOINT.type_url)):
        # A changed cluster warms anew, and waits for its endpoints without asking for them again.
        # Nor does a second cluster ask for those of another, which it may share.
        wanted = {name for resource in push.changed for name in resource.needs or (resource.name,)}
        endpoints.forced.update(wanted & endpoints.subscription.names)
        return (endpoints,)
    if kind == ROUTE and (hosts := channels.get(VIRTUAL_HOST.type_url)):
        tables = channels[ROUTE.type_url]
        for table in push.changed:
            # The listener of a new table waits for a virtual host; Envoy asks for one on the first table only.
            prefix = f"{table.name}/"
            names = hosts.scope.members | hosts.subscription.names
            members = [name for name in names if name.startswith(prefix) and not hosts.has_unknown(name)]
            hosts.forced.update(sorted(members)[:1] if tables.has_some(table.name) else members)
        return (hosts,)
    return ()


def mark_late(channels: Mapping[str, Channel], kind: Kind) -> None:
    """Marks, of a type that was just subscribed to, what should have followed a push that came before."""
    clusters = channels.get(CLUSTER.type_url)
    if kind == ENDPOINT and clusters is not None and clusters.flight is not None:
        mark_followers(channels, CLUSTER, clusters.flight.push)
