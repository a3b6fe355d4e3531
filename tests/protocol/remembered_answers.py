"""What a memo answers after each change, beside what a fresh process would; and whether it marked what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from model.mesh import Mesh
from model.on_demand import Wanted
from model.view import view_of
from protos.encoder import encode
from protos.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from tests.protocol.every_asker import ASKED, askers, named_by
from tests.protocol.histories import History
from translators.resources import answering, derive, names_in_scope
from xds.events import DerivationFailed
from xds.memo import Marks, Memo
from xds.read_memo import KnownAsker

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST)
Named: TypeAlias = tuple[str, str]
"""A type URL and a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one asker gets: the names in its scope by type; resources, b'' for one that there is not; and for each host
    or address that a sidecar on demand asks for what answers for it, with its virtual host."""

    scopes: Mapping[str, frozenset[str]]
    resources: Mapping[Named, bytes]
    asked: Mapping[str, tuple[Wanted | None, bytes]]


def fresh_answers(mesh: Mesh, known: Collection[KnownAsker]) -> list[Answers]:
    """What a new process would give each of them, of every name that any of them has or asks for."""
    scopes = []
    for asker in known:
        view = view_of(mesh, asker.asker)
        scopes.append({type_url: frozenset(names_in_scope(type_url, view)) for type_url in TYPES})
    return [
        _fresh_answers(mesh, asker, scope, names)
        for asker, scope, names in zip(known, scopes, all_names(scopes, known), strict=True)
    ]


def all_names(scopes: Collection[Mapping[str, frozenset[str]]], known: Collection[KnownAsker]) -> list[list[Named]]:
    """What each of them asks for: whatever is in scope for one is asked for by the others too."""
    in_scope = {(type_url, name) for scope in scopes for type_url, names in scope.items() for name in names}
    return [
        sorted(in_scope | {(type_url, name) for type_url in TYPES for name in named_by(asker.asker, type_url)})
        for asker in known
    ]


def _fresh_answers(
    mesh: Mesh, asker: KnownAsker, scope: Mapping[str, frozenset[str]], names: Collection[Named]
) -> Answers:
    view = view_of(mesh, asker.asker)

    def body(type_url: str, name: str) -> bytes:
        message = derive(type_url, name, view)
        return b"" if message is None else bytes(encode(message))

    asked = {}
    for name in ASKED if asker.asker.on_demand else ():
        wanted = answering(name, view)
        asked[name] = wanted, body(VIRTUAL_HOST, wanted.name) if wanted else b""
        assert (wanted is None) == (asked[name][1] == b"")
    found = Answers(scopes=scope, resources={named: body(*named) for named in names}, asked=asked)
    for type_url, members in scope.items():
        assert all(found.resources[type_url, name] for name in members), "something is in scope and does not exist"
    return found


class RememberedAnswers:
    """A memo, and what it told each asker last."""

    def __init__(self, mesh: Mesh, known: Collection[KnownAsker]) -> None:
        self.failures: list[DerivationFailed] = []
        self._known = known
        self.memo = Memo(
            derive=derive, names=names_in_scope, report=self.failures.append, answering=answering, mesh=mesh
        )
        self._told = self._tell()

    def advance(self, mesh: Mesh, due: list[Answers]) -> None:
        """Raises AssertionError if the memo does not tell everyone what is due, or marked too little for that."""
        marks = self.memo.advance(mesh)
        missed = [
            each for before, after in zip(self._told, due, strict=True) for each in unmarked(before, after, marks)
        ]
        assert missed == []
        self._told = self._tell()
        assert self._told == due
        assert self.failures == []

    def _tell(self) -> list[Answers]:
        scopes = [{type_url: self.memo.scope(type_url, asker).members for type_url in TYPES} for asker in self._known]
        return [
            Answers(
                scopes=scope,
                resources={(type_url, name): self._body(type_url, name, asker) for type_url, name in names},
                asked={name: self._answer(name, asker) for name in (ASKED if asker.asker.on_demand else ())},
            )
            for asker, scope, names in zip(self._known, scopes, all_names(scopes, self._known), strict=True)
        ]

    def _answer(self, name: str, asker: KnownAsker) -> tuple[Wanted | None, bytes]:
        wanted = self.memo.answering(name, asker)
        if wanted is None:
            return None, b""
        return wanted, self._body(VIRTUAL_HOST, wanted.name, asker, invented=not wanted.declared)

    def _body(self, type_url: str, name: str, asker: KnownAsker, *, invented: bool = False) -> bytes:
        resource = self.memo.find(type_url, name, asker, invented=invented).resource
        return bytes(resource.body) if resource else b""


def unmarked(before: Answers, after: Answers, marks: Marks) -> Iterator[Named]:
    """What differs and is not marked."""
    for type_url in TYPES:
        if before.scopes[type_url] != after.scopes[type_url] and type_url not in marks.scopes:
            yield type_url, ""
    for (type_url, name), body in after.resources.items():
        if before.resources.get((type_url, name), body) != body and name not in marks.names.get(type_url, ()):
            yield type_url, name
    for asked, (wanted, body) in after.asked.items():
        told, had = before.asked[asked]
        if told != wanted and asked not in marks.asked:
            yield VIRTUAL_HOST, asked
        if wanted and told == wanted and had != body and wanted.name not in marks.names.get(VIRTUAL_HOST, ()):
            yield VIRTUAL_HOST, wanted.name


def check(history: History) -> None:
    """Raises AssertionError unless a memo tells everyone the same as a fresh process, and marks what differs."""
    known, store = askers(), history.begin()
    remembered = RememberedAnswers(store.mesh, known)
    for mesh in history.meshes(store):
        remembered.advance(mesh, fresh_answers(mesh, known))
