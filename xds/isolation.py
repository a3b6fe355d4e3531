"""Finding the culprit in a response that was refused as a whole.

Envoy refuses every resource of a response for one that breaks a constraint. The parts are sent apart until the
culprits stand alone: with n resources and one culprit in about 2 log2(n) responses, in 2 if Envoy names it.
"""

from __future__ import annotations

from xds.resource import Resource

_CUT_SHORT = "...(truncated)"
"""The end of words that were more than 4 KiB."""
_OF_EACH = "Error adding/updating cluster(s) "
"""Before Envoy's words on each cluster that it refused; it took all others of the response."""


def split(
    refused: tuple[Resource, ...], message: str, culprits: tuple[Resource, ...]
) -> tuple[tuple[Resource, ...], ...]:
    """What is to be sent again, in parts each smaller than the whole: all but the culprits. If there are none, what
    `message` does not name and what it does, else halves."""
    if culprits:
        known = {resource.name for resource in culprits}
        others = tuple(resource for resource in refused if resource.name not in known)
        return (others,) if others else ()
    named = tuple(resource for resource in refused if resource.name in message)
    if named and len(named) < len(refused):
        others = tuple(resource for resource in refused if resource.name not in message)
        return others, named
    middle = len(refused) // 2
    return refused[:middle], refused[middle:]


def is_singled_out(name: str, message: str) -> bool:
    """Whether Envoy looked at clusters one by one, and refused this one."""
    return message.startswith(_OF_EACH) and f" {name}: " in message


def singled_out(refused: tuple[Resource, ...], message: str) -> tuple[Resource, ...]:
    """Those clusters that Envoy looked at one by one and refused, as far as its words go."""
    return tuple(resource for resource in refused if is_singled_out(resource.name, message))


def maybe_half_made(refused: tuple[Resource, ...], message: str) -> tuple[Resource, ...]:
    """Those that Envoy refused one by one, or may have.

    Envoy 1.40 keeps some of them half made: it takes the very same for known the next time, also on another stream, and
    says that it has them. Once it was told to remove them it refuses them again.
    """
    cut_short = message.startswith(_OF_EACH) and message.endswith(_CUT_SHORT)
    return refused if cut_short else singled_out(refused, message)
