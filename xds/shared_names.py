"""Sets of names, of which a thousand sidecars have a thousand equal ones: each is kept once."""

from __future__ import annotations

from weakref import WeakKeyDictionary, ref

_sets: WeakKeyDictionary[frozenset[str], ref[frozenset[str]]] = WeakKeyDictionary()


def share(names: frozenset[str]) -> frozenset[str]:
    """An equal set that somebody has already, or else this one. It is forgotten with the last who has it.

    The strings go with the set: they are not interned one by one, for in Python 3.12 they would stay for ever, and
    clients invent names.
    """
    known = _sets.get(names)
    found = None if known is None else known()
    if found is None:
        found = names
        _sets[found] = ref(found)
    return found
