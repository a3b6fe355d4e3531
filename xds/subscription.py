"""What a stream wants of one type, and how requests change it.

Source: the xDS protocol, "How the client specifies what resources to return" and "Unsubscribing from resources".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xds.shared_names import share

WILDCARD = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """`wildcard`: everything in scope. `named`: the client has named something at some time, after which a request
    without names no longer means everything."""

    wildcard: bool = False
    names: frozenset[str] = frozenset()
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The subscription after a request. `asked`: the names to answer whether they changed or not.
    `opened`: the wildcard is new. `dropped`: something is no longer wanted."""

    after: Subscription
    asked: frozenset[str] = frozenset()
    opened: bool = False
    dropped: bool = False


def replace_names(before: Subscription | None, names: tuple[str, ...]) -> Change:
    """State of the world: `names` is all that is wanted. `before` None: the first request of its type."""
    explicit = frozenset(names) - {WILDCARD}
    named = bool(names) or (before is not None and before.named)
    wildcard = WILDCARD in names or not named
    old = before or Subscription()
    explicit = old.names if explicit == old.names else share(explicit)
    return Change(
        after=Subscription(wildcard=wildcard, names=explicit, named=named),
        asked=explicit - old.names,
        opened=wildcard and not old.wildcard,
        dropped=(old.wildcard and not wildcard) or bool(old.names - explicit),
    )


def add_names(before: Subscription, names: tuple[str, ...]) -> Change:
    """What may be taken from a state-of-the-world request that crossed a response: the names it adds."""
    if before.wildcard and not before.named and not names:
        return Change(after=before)
    explicit = frozenset(names) - {WILDCARD}
    wildcard = before.wildcard or WILDCARD in names
    return Change(
        after=Subscription(wildcard=wildcard, names=before.names | explicit, named=before.named or bool(names)),
        asked=explicit - before.names,
        opened=wildcard and not before.wildcard,
    )


def change_names(before: Subscription | None, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> Change:
    """Incremental: first what is subscribed to, then what is unsubscribed from; what was never wanted is ignored."""
    added, gone = frozenset(subscribe), frozenset(unsubscribe)
    if before is None and not added:
        return Change(after=Subscription(wildcard=True), opened=True)
    old = before or Subscription()
    if not added and not gone:
        return Change(after=old)
    wildcard = (old.wildcard or WILDCARD in added) and WILDCARD not in gone
    names = ((old.names | added) - gone) - {WILDCARD}
    names = names if old.names else share(names)  # not at each step of a client that names one after another
    # A name taken back while the wildcard stays is answered: the client cannot tell whether it still gets it.
    taken_back = ((old.names | added) & gone) - {WILDCARD} if wildcard else frozenset()
    return Change(
        after=replace(old, wildcard=wildcard, names=names, named=True),
        asked=((added - gone) - {WILDCARD}) | taken_back,
        opened=wildcard and (not old.wildcard or WILDCARD in added),
        dropped=(old.wildcard and not wildcard) or bool(old.names & gone),
    )
