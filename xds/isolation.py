"""Finding the culprit in a response that was refused as a whole.

Envoy refuses every resource of a response for one that breaks a constraint. The parts are sent apart until the
culprits stand alone: with n resources and one culprit in about 2 log2(n) responses, in 2 if Envoy names it.
"""

from __future__ import annotations

from xds.resource import Resource


def split(refused: tuple[Resource, ...], message: str) -> tuple[tuple[Resource, ...], ...]:
    """At least two parts, each smaller than the whole: what `message` does not name and what it does, else halves."""
    named = tuple(resource for resource in refused if resource.name in message)
    if named and len(named) < len(refused):
        others = tuple(resource for resource in refused if resource.name not in message)
        return others, named
    middle = len(refused) // 2
    return refused[:middle], refused[middle:]
