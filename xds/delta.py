"""The incremental variant: how a request is read, how a response is composed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

from xds.channel import Channel
from xds.memo import Scope
from xds.push import Push
from xds.shared_responses import Response
from xds.subscription import change_names
from xds.violation import check_names
from xds.wire import DeltaRequest, join_delta


def subscribe(
    channel: Channel,
    request: DeltaRequest,
    given_back: Set[str] = frozenset(),
    *,
    first: bool,
    scope: Callable[[], Scope],
) -> None:
    """Applies the subscription part of a request, which counts whatever its nonce.

    `given_back`: of what it unsubscribes from, the names that were asked for on demand.
    """
    before = None if first else channel.subscription
    change = change_names(before, request.subscribe, request.unsubscribe)
    check_names((*change.asked, *request.initial))
    channel.subscribe(change, scope)
    if channel.on_demand:
        held = (name for name in request.unsubscribe if name in channel.held)
        channel.give_back({*given_back, *held}, request.subscribe)
    if first:
        channel.adopt(dict(request.initial))


def compose(type_url: str, push: Push) -> Response:
    """The response, without a nonce."""
    return Response(
        version="", raw=join_delta(type_url=type_url, entries=_entries(push), removed=sorted(set(push.removed)))
    )


def _entries(push: Push) -> Iterator[bytes]:
    for resource in push.changed:
        yield resource.head
        yield resource.packed
        yield resource.tail
