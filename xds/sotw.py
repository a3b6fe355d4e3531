"""The state-of-the-world variant: how a request is read, how a response is composed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2b

from xds.channel import Channel
from xds.memo import Scope
from xds.push import Push
from xds.resource import Resource
from xds.shared_responses import Response
from xds.subscription import add_names, replace_names
from xds.violation import check_names
from xds.wire import SotwRequest, join_sotw


def subscribe(channel: Channel, request: SotwRequest, *, first: bool, scope: Callable[[], Scope]) -> None:
    """Applies the names of a request. One that crossed a response of ours is known by its old nonce: it may add names,
    but what it leaves out may still be wanted. If it was not, and is again, the client has nothing of it any more."""
    left_out, channel.left_out = channel.left_out, set()
    if first:
        change = replace_names(None, request.names)
        channel.brought = bool(request.version)
        channel.unproven = channel.kind.complete and channel.brought
        if not change.after.names:
            channel.claimed = request.version
    elif request.nonce == channel.nonce:
        change = replace_names(channel.subscription, request.names)
    else:
        change = add_names(channel.subscription, request.names)
        channel.left_out = (left_out | channel.subscription.names).difference(request.names)
    if again := left_out.intersection(request.names):
        change = replace(change, asked=change.asked | again)
    check_names(change.asked)
    channel.subscribe(change, scope)


def version_of(resources: Iterable[Resource]) -> str:
    """The version of a response: a hash of what is in it, in any order."""
    digest = blake2b(digest_size=8)
    for name, version in sorted((resource.name, resource.version) for resource in resources):
        digest.update(f"{name}\0{version}\0".encode())
    return digest.hexdigest()


def contents(channel: Channel, push: Push) -> tuple[Resource, ...]:
    """What a response that tells this push has in it: everything, for a type where a resource left out is gone."""
    if not channel.kind.complete:
        return push.changed
    gone = set(push.removed)
    held = {name: resource for name, resource in channel.held.items() if name not in gone}
    held.update((resource.name, resource) for resource in push.changed)
    return tuple(held.values())


def compose(type_url: str, resources: tuple[Resource, ...]) -> Response:
    """The response, without a nonce."""
    version = version_of(resources)
    packed = (resource.packed for resource in resources if resource.packed)
    return Response(version=version, raw=join_sotw(version=version, type_url=type_url, packed=packed))
