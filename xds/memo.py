"""Derived resources, each derived once for all the sidecars that are alike in what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import betterproto2

from model.mesh import EMPTY, Mesh
from model.view import View
from protos.encoder import encode
from xds.events import DerivationFailed
from xds.read_memo import KnownAsker, ReadMemo
from xds.resource import Resource, build_resource

Derive: TypeAlias = Callable[[str, str, View], betterproto2.Message | None]
"""(type URL, name, view) to the message; None: there is no such resource."""
Names: TypeAlias = Callable[[str, View], tuple[str, ...]]
"""(type URL, view) to the names in scope, sorted."""

DEFAULT_LIMIT = 500_000
"""Some hundred times a mesh of 1,000 services; only clients that invent names come near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name leads to. `failed`: it could not be derived; `resource` is then the last good one, if any."""

    resource: Resource | None
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scope:
    """All names of a type that an asker gets without naming them. `failed`: as with `Found`."""

    names: tuple[str, ...] = ()
    members: frozenset[str] = frozenset()
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What may differ in a new snapshot: names by type, and the types whose scope may."""

    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()


ABSENT = Found(resource=None)
_EMPTY_SCOPE = Scope()


class Memo:
    """The present snapshot and everything that was derived from it. A failure is reported once for its cause."""

    __slots__ = ("_derive", "_names", "_report", "_resources", "_scopes")

    def __init__(
        self,
        *,
        derive: Derive,
        names: Names,
        report: Callable[[DerivationFailed], None],
        mesh: Mesh = EMPTY,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        self._derive = derive
        self._names = names
        self._report = report
        self._resources: ReadMemo[Found] = ReadMemo(mesh=mesh, limit=limit)
        self._scopes: ReadMemo[Scope] = ReadMemo(mesh=mesh, limit=limit)

    def advance(self, mesh: Mesh) -> Marks:
        """Makes `mesh` the present snapshot. Nothing is derived before it is asked for."""
        by_type: dict[str, set[str]] = {}
        for type_url, name in self._resources.advance(mesh):
            by_type.setdefault(type_url, set()).add(name)
        return Marks(
            names={type_url: frozenset(names) for type_url, names in by_type.items()},
            scopes=frozenset(type_url for type_url, _ in self._scopes.advance(mesh)),
        )

    def find(self, type_url: str, name: str, asker: KnownAsker) -> Found:
        """The resource of that name for this asker; the same object as before if its bytes are the same."""

        def build(view: View, before: Found | None) -> Found:
            last = before.resource if before else None
            try:
                message = self._derive(type_url, name, view)
                body = None if message is None else encode(message)
            except Exception as error:  # the other resources are served all the same; the report is the outcry
                self._report(DerivationFailed(type_url=type_url, name=name, error=error))
                return Found(resource=last, failed=True)
            if body is None:
                return ABSENT
            if last is not None and last.body == body:
                return Found(resource=last)
            return Found(resource=build_resource(type_url, name, body))

        return self._resources.get((type_url, name), asker, build)

    def scope(self, type_url: str, asker: KnownAsker) -> Scope:
        """The names this asker gets unasked; the same object as before if they are the same."""

        def build(view: View, before: Scope | None) -> Scope:
            try:
                names = self._names(type_url, view)
            except Exception as error:  # as above
                self._report(DerivationFailed(type_url=type_url, name="", error=error))
                last = before or _EMPTY_SCOPE
                return Scope(names=last.names, members=last.members, failed=True)
            if before is not None and before.names == names and not before.failed:
                return before
            return Scope(names=names, members=frozenset(names))

        return self._scopes.get((type_url, ""), asker, build)
