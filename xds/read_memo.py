"""Results that are good for as long as what they read from the mesh, and from the asker, has not changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from model.asker import Asker
from model.changes import Slot, changed_slots
from model.mesh import Mesh
from model.recorded_reads import Reads, Sharing, still_holds
from model.view import View, view_of

T = TypeVar("T")
S = TypeVar("S", bound=tuple[Hashable, Hashable])
"""What a result is of: a type URL and a name, say."""
Attributes: TypeAlias = tuple[str, ...]


class KnownAsker:
    """An asker whose attributes can be looked up by, which is what makes alike sidecars share a result."""

    __slots__ = ("_values", "asker")

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self._values: dict[Attributes, tuple[Hashable, ...]] = {}

    def values(self, attributes: Attributes) -> tuple[Hashable, ...]:
        """The asker's values of these attributes."""
        found = self._values.get(attributes)
        if found is None:
            found = self._values[attributes] = tuple(_hashable(self.asker.attribute(name)) for name in attributes)
        return found


@dataclass(slots=True, eq=False)
class _Variant(Generic[S, T]):
    subject: S
    key: tuple[Attributes, tuple[Hashable, ...]]
    reads: Reads
    value: T
    fresh: bool = True


@dataclass(slots=True, eq=False)
class _Entry(Generic[S, T]):
    attributes: dict[Attributes, int] = field(default_factory=dict)
    """Which attributes of the asker variants read, and how many variants read just those."""
    variants: dict[tuple[Attributes, tuple[Hashable, ...]], _Variant[S, T]] = field(default_factory=dict)


class ReadMemo(Generic[S, T]):
    """At most `limit` results; the subjects that are older go first, and count as changed at the next `advance`.

    So do those of which a result is `void`, as names that lead to nothing have, beyond `most_void` of these: they push
    out nothing else. `sharing` gives an asker's views the parts that they share with others; see `View.shared`.
    """

    __slots__ = (
        "_entries", "_evicted", "_is_void", "_limit", "_mesh", "_most_void", "_overflowed", "_readers", "_sharing",
        "_size", "_void",
    )  # fmt: skip

    def __init__(
        self,
        *,
        mesh: Mesh,
        limit: int,
        sharing: Callable[[KnownAsker], Sharing | None] = lambda asker: None,
        is_void: Callable[[T], bool] = lambda value: False,
        most_void: int = 0,
    ) -> None:
        self._mesh = mesh
        self._sharing = sharing
        self._limit = limit
        self._is_void = is_void
        self._most_void = most_void
        self._void: OrderedDict[_Variant[S, T], None] = OrderedDict()
        self._size = 0
        self._entries: dict[S, _Entry[S, T]] = {}
        self._readers: dict[Slot, set[_Variant[S, T]]] = {}
        self._evicted: set[S] = set()
        self._overflowed = False

    def __len__(self) -> int:
        return self._size

    def advance(self, mesh: Mesh, changed: Iterable[Slot] | None = None) -> frozenset[S] | None:
        """Makes `mesh` the present snapshot; the subjects whose results may differ in it, for some asker.

        `changed` is what the snapshots answer differently, if that is known already. None: any result may differ, for
        more have gone since the last snapshot than are kept.
        """
        gone, self._evicted = self._evicted, set()
        stale = self.mark(changed_slots(self._mesh, mesh) if changed is None else changed)
        self._mesh = mesh
        overflowed, self._overflowed = self._overflowed, False
        return None if overflowed else stale | gone

    def mark(self, changed: Iterable[Slot]) -> frozenset[S]:
        """The subjects whose results read something of `changed`, and were not marked yet."""
        stale: set[S] = set()
        for slot in changed:
            for variant in self._readers.get(slot, ()):
                if variant.fresh:
                    variant.fresh = False
                    stale.add(variant.subject)
        return frozenset(stale)

    def mark_all(self) -> None:
        """Every result may differ."""
        for entry in self._entries.values():
            for variant in entry.variants.values():
                variant.fresh = False

    def get(self, subject: S, asker: KnownAsker, build: Callable[[View, T | None], T]) -> T:
        """The result for this asker. `build` gets the result that was good before, to fall back on, or None."""
        before: _Variant[S, T] | None = None
        entry = self._entries.get(subject)
        if entry is not None:
            for attributes in entry.attributes:
                variant = entry.variants.get((attributes, asker.values(attributes)))
                if variant is None:
                    continue
                if variant.fresh:
                    return variant.value
                before = variant
        sharing = self._sharing(asker)
        if before is not None and still_holds(before.reads, self._mesh, asker.asker, sharing):
            before.fresh = True
            return before.value
        view = view_of(self._mesh, asker.asker, sharing)
        value = build(view, before.value if before is not None else None)
        if before is not None:
            self._forget(before)
        self._keep(subject, asker, view.reads, value)
        return value

    def _keep(self, subject: S, asker: KnownAsker, reads: Mapping[Slot, object], value: T) -> None:
        attributes = tuple(sorted(str(argument) for question, argument in reads if question == "asker"))
        variant = _Variant(subject, (attributes, asker.values(attributes)), reads, value)
        outdated = self._entries[subject].variants.get(variant.key) if subject in self._entries else None
        if outdated is not None:
            self._forget(outdated)
        entry = self._entries.setdefault(subject, _Entry())
        entry.attributes[attributes] = entry.attributes.get(attributes, 0) + 1
        entry.variants[variant.key] = variant
        for slot in reads:
            if slot[0] != "asker":
                self._readers.setdefault(slot, set()).add(variant)
        self._size += 1
        if self._is_void(value):
            self._void[variant] = None
            if len(self._void) > self._most_void:
                self._evict(next(iter(self._void)))  # which is quick in an OrderedDict alone, however many were before
        while self._size > self._limit:
            self._evict(*next(iter(self._entries.values())).variants.values())

    def _evict(self, *variants: _Variant[S, T]) -> None:
        """Of one subject."""
        for variant in variants:
            self._forget(variant)
        self._evicted.add(variants[0].subject)
        if len(self._evicted) > self._limit:
            self._evicted.clear()
            self._overflowed = True

    def _forget(self, variant: _Variant[S, T]) -> None:
        entry = self._entries.get(variant.subject)
        if entry is None or entry.variants.get(variant.key) is not variant:
            return  # pushed out while parts of it were worked out
        del entry.variants[variant.key]
        self._void.pop(variant, None)
        attributes = variant.key[0]
        entry.attributes[attributes] -= 1
        if not entry.attributes[attributes]:
            del entry.attributes[attributes]
        if not entry.variants:
            del self._entries[variant.subject]
        for slot in variant.reads:
            readers = self._readers.get(slot)
            if readers is not None:
                readers.discard(variant)
                if not readers:
                    del self._readers[slot]
        self._size -= 1


def _hashable(value: object) -> Hashable:
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    if not isinstance(value, Hashable):
        raise TypeError(f"an asker's attribute is a {type(value).__name__}, which cannot be looked up by")
    return value
