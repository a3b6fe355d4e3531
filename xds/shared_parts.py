"""Parts of derived resources that several of them need: worked out once, see `View.shared`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from model.changes import Slot
from model.mesh import Mesh
from model.recorded_reads import SHARED, SharedPart, Sharing, Work
from model.view import View
from xds.read_memo import KnownAsker, ReadMemo

_Subject: TypeAlias = tuple[Work, Hashable]


class SharedParts:
    """The parts of the present snapshot; parts may be made of parts."""

    __slots__ = ("_memo",)

    def __init__(self, *, mesh: Mesh, limit: int) -> None:
        self._memo: ReadMemo[_Subject, SharedPart] = ReadMemo(mesh=mesh, limit=limit, sharing=self.of)

    def of(self, asker: KnownAsker) -> Sharing:
        """The parts as this asker has them."""

        def find(work: Work, key: Hashable) -> SharedPart:
            def build(view: View, before: SharedPart | None) -> SharedPart:
                value: object = None
                error: Exception | None = None
                try:
                    value = work(view, key)
                except Exception as raised:  # whoever needs the part raises it again
                    error = raised
                attributes = frozenset(str(argument) for question, argument in view.reads if question == "asker")
                part = SharedPart(value, attributes, error)
                return before if before == part else part

            return self._memo.get((work, key), asker, build)

        return find

    def advance(self, mesh: Mesh, changed: frozenset[Slot]) -> frozenset[Slot] | None:
        """Makes `mesh` the present snapshot. `changed`, and the parts that may differ; None: any may."""
        stale = self._memo.advance(mesh, changed)
        slots = set(changed)
        while stale:
            fresh: set[Slot] = {(SHARED, subject) for subject in stale}
            slots |= fresh
            stale = self._memo.mark(fresh)
        return None if stale is None else frozenset(slots)
