"""Sets of names, of which a thousand sidecars have a thousand equal ones: each is kept once.

What few streams name differently costs a look-up and nothing else; a set is forgotten with the last that uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from weakref import WeakKeyDictionary, ref

_sets: WeakKeyDictionary[frozenset[str], ref[frozenset[str]]] = WeakKeyDictionary()


def share(names: frozenset[str]) -> frozenset[str]:
    """The set, or an equal one that is there already; of each name there is one string in the process."""
    known = _sets.get(names)
    found = None if known is None else known()
    if found is None:
        found = interned(names)
        _sets[found] = ref(found)
    return found


def interned(names: Iterable[str]) -> frozenset[str]:
    """The names, as the strings that others who name them have."""
    return frozenset(map(sys.intern, names))
