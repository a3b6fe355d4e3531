"""Finding the culprit in a response that was refused as a whole.

Envoy refuses every resource of a response for one that breaks a constraint. The parts are sent apart until the
culprits stand alone: with n resources and one culprit in about 2 log2(n) responses, in 2 if Envoy names it.
"""

from __future__ import annotations

from xds.resource import Resource

_OF_EACH = "Error adding/updating cluster(s) "
"""Before Envoy's words on each cluster that it refused; it took all others of the response."""


def split(refused: tuple[Resource, ...], message: str) -> tuple[tuple[Resource, ...], ...]:
    """At least two parts, each smaller than the whole: what `message` does not name and what it does, else halves."""
    named = tuple(resource for resource in refused if resource.name in message)
    if named and len(named) < len(refused):
        others = tuple(resource for resource in refused if resource.name not in message)
        return others, named
    middle = len(refused) // 2
    return refused[:middle], refused[middle:]


def singled_out(refused: tuple[Resource, ...], message: str) -> tuple[Resource, ...]:
    """Those clusters that Envoy looked at one by one and refused.

    They are not to be sent again to be sure: Envoy 1.40 keeps some of them half made, takes the very same for known the
    next time, and says that it has them.
    """
    if not message.startswith(_OF_EACH):
        return ()
    return tuple(resource for resource in refused if f" {resource.name}: " in message)
