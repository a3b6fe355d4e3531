"""Derived resources, each derived once for all the sidecars that are alike in what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import betterproto2

from model.changes import changed_slots
from model.mesh import EMPTY, Mesh
from model.names import is_address_cluster
from model.on_demand import Wanted
from model.view import View
from protos.encoder import encode
from protos.type_urls import CLUSTER, VIRTUAL_HOST
from xds.events import DerivationFailed
from xds.read_memo import KnownAsker, ReadMemo
from xds.resource import Resource, build_resource
from xds.shared_names import share
from xds.shared_parts import SharedParts
from xds.shared_responses import SharedResponses

Derive: TypeAlias = Callable[[str, str, View], betterproto2.Message | None]
"""(type URL, name, view) to the message; None: there is no such resource."""
Names: TypeAlias = Callable[[str, View], Collection[str]]
"""(type URL, view) to the names in scope."""

Answering: TypeAlias = Callable[[str, View], Wanted | None]
"""(a name that was asked for, a host of VHDS or the cluster of an address, view) to what answers; None: nothing."""
Mentions: TypeAlias = Callable[[betterproto2.Message], frozenset[str]]
"""A message to what it needs: see `Resource.needs`."""

DEFAULT_LIMIT = 500_000
"""Some hundred times a mesh of 1,000 services; only clients that invent names come near it."""
ASKED_LIMIT = 50_000
"""Names that clients ask for, 2 KB each. Alike clients share theirs."""
STRANGE_LIMIT = 20_000
"""Of those, names for which nobody answers, or that only pass through; and the virtual hosts of these, 5 KB each."""
ABSENT_LIMIT = 120_000
"""Names of other types that lead to nothing, 1.4 KB each: more than one stream may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name leads to. `failed`: it could not be derived; `resource` is then the last good one, if any."""

    resource: Resource | None
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scope:
    """All names of a type that an asker gets without naming them. `failed`: as with `Found`."""

    members: frozenset[str] = frozenset()
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What may differ in a new snapshot: names by type, and the types whose scope may, and for which `asked` names
    others may answer. `everything`: that is not all, for more was forgotten than can be named."""

    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    everything: bool = False


_Named: TypeAlias = tuple[str, str]
"""A type URL and a name."""

LONGEST_NAME = 1024
"""Nothing has a longer name: whoever asks for one is told so, and it is not remembered."""

ABSENT = Found(resource=None)
FAILED = Found(resource=None, failed=True)


class Memo:
    """The present snapshot and everything that was derived from it. A failure is reported once for its cause."""

    __slots__ = (
        "_answering",
        "_answers",
        "_derive",
        "_invented",
        "_mentions",
        "_mesh",
        "_names",
        "_parts",
        "_report",
        "_resources",
        "_scopes",
        "responses",
        "snapshot",
    )

    def __init__(
        self,
        *,
        derive: Derive,
        names: Names,
        report: Callable[[DerivationFailed], None],
        answering: Answering = lambda name, view: None,
        mentions: Mentions = lambda message: frozenset(),
        mesh: Mesh = EMPTY,
        limit: int = DEFAULT_LIMIT,
        asked_limit: int = ASKED_LIMIT,
        strange_limit: int = STRANGE_LIMIT,
        absent_limit: int = ABSENT_LIMIT,
    ) -> None:
        """`answering` and `mentions` are what streams on demand need beside what is sent."""
        self._answering = answering
        self._mentions = mentions
        self._derive = derive
        self._names = names
        self._report = report
        self.responses = SharedResponses()
        """What a response has in it says all, so that no snapshot ends it."""
        self.snapshot = 0
        """Counts the snapshots: as long as it stays, everything is found as before."""
        self._mesh = mesh
        parts = self._parts = SharedParts(mesh=mesh, limit=limit)
        self._resources: ReadMemo[_Named, Found] = ReadMemo(
            mesh=mesh, limit=limit, sharing=parts.of, is_void=lambda found: found is ABSENT, most_void=absent_limit
        )
        self._invented: ReadMemo[_Named, Found] = ReadMemo(mesh=mesh, limit=strange_limit, sharing=parts.of)
        self._answers: ReadMemo[_Named, Wanted | None] = ReadMemo(
            mesh=mesh, limit=asked_limit, sharing=parts.of, is_void=_is_strange, most_void=strange_limit
        )
        self._scopes: ReadMemo[_Named, Scope] = ReadMemo(mesh=mesh, limit=limit, sharing=parts.of)

    def advance(self, mesh: Mesh) -> Marks:
        """Makes `mesh` the present snapshot. Nothing is derived before it is asked for."""
        self.snapshot += 1
        by_type: dict[str, set[str]] = {}
        slots = changed_slots(self._mesh, mesh)
        parts, self._mesh = self._parts.advance(mesh, slots), mesh
        if parts is None:
            for memo in (self._resources, self._invented, self._answers, self._scopes):
                memo.mark_all()
        changed = slots if parts is None else parts
        known, invented = self._resources.advance(mesh, changed), self._invented.advance(mesh, changed)
        answers, scopes = self._answers.advance(mesh, changed), self._scopes.advance(mesh, changed)
        for type_url, name in (*(known or ()), *(invented or ())):
            by_type.setdefault(type_url, set()).add(name)
        return Marks(
            names={type_url: frozenset(names) for type_url, names in by_type.items()},
            scopes=frozenset(type_url for type_url, _ in scopes or ()),
            asked=frozenset(name for _, name in answers or ()),
            everything=None in (parts, known, invented, answers, scopes),
        )

    def find(self, type_url: str, name: str, asker: KnownAsker, *, invented: bool = False) -> Found:
        """The resource of that name for this asker; the same object as before if its bytes are the same.

        `invented`: the name is a client's own, so that what is found is kept apart and pushes out nothing else.
        """

        def build(view: View, before: Found | None) -> Found:
            last = before.resource if before else None
            try:
                message = self._derive(type_url, name, view)
                body = None if message is None else encode(message)
            except Exception as error:  # the other resources are served all the same; the report is the outcry
                self._report(DerivationFailed(type_url=type_url, name=name, error=error))
                return Found(resource=last, failed=True)
            if message is None or body is None:
                return ABSENT
            if last is None or last.body != body:
                last = build_resource(type_url, name, body, needs=self._mentions(message))
            return Found(resource=last)

        if len(name) > LONGEST_NAME:
            return ABSENT
        memo = self._invented if invented else self._resources
        return memo.get((type_url, name), asker, build)

    def answering(self, name: str, asker: KnownAsker) -> Wanted | None:
        """What answers for a name that this asker asks for. If it cannot be told, as before, or nothing."""

        type_url = CLUSTER if is_address_cluster(name) else VIRTUAL_HOST

        def build(view: View, before: Wanted | None) -> Wanted | None:
            try:
                return self._answering(name, view)
            except Exception as error:  # as above
                self._report(DerivationFailed(type_url=type_url, name=name, error=error))
                return before

        return None if len(name) > LONGEST_NAME else self._answers.get((type_url, name), asker, build)

    def scope(self, type_url: str, asker: KnownAsker) -> Scope:
        """The names this asker gets unasked; the same object as before if they are the same."""

        def build(view: View, before: Scope | None) -> Scope:
            try:
                members = share(frozenset(self._names(type_url, view)))
            except Exception as error:  # as above
                self._report(DerivationFailed(type_url=type_url, name="", error=error))
                return Scope(members=before.members if before else frozenset(), failed=True)
            if before is not None and before.members is members and not before.failed:
                return before
            return Scope(members=members)

        return self._scopes.get((type_url, ""), asker, build)


def _is_strange(wanted: Wanted | None) -> bool:
    return wanted is None or not wanted.declared
