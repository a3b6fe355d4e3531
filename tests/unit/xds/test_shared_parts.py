"""What several resources are made of is worked out once, and whatever it depends on still counts for each of them."""

from __future__ import annotations

from collections import Counter

import pytest

from model.asker import Asker
from model.changes import changed_slots
from model.mesh import Mesh
from model.problems import ObjectRef
from model.services import Service
from model.view import View
from xds.read_memo import KnownAsker, ReadMemo
from xds.shared_parts import SharedParts

WORK: Counter[str] = Counter()


def world(**contents: str) -> Mesh:
    return Mesh(
        services={
            name: Service(ref=ObjectRef(kind="Service", name=name), external_name=content)
            for name, content in sorted(contents.items())
        }
    )


def asker(pod: str = "p", app: str = "x") -> KnownAsker:
    return KnownAsker(Asker(namespace="n", pod=pod, service_account="s", labels={"app": app}))


def content(view: View, name: str) -> str:
    """The content of a service, in upper case; what begins with `label` is the asker's."""
    WORK[name] += 1
    service = view.service(name)
    text = service.external_name if service else "none"
    if text == "broken":
        raise ValueError(name)
    return f"{text} {view.labels['app']}" if text.startswith("label") else text.upper()


def both(view: View, _: None) -> str:
    """A part of parts."""
    WORK["both"] += 1
    return f"{view.shared(content, 'a')} {view.shared(content, 'b')}"


class World:
    """A memo of one resource, which is a pod's own and has the shared part of parts in it."""

    def __init__(self, **contents: str) -> None:
        WORK.clear()
        self.mesh = world(**contents)
        self.parts = SharedParts(mesh=self.mesh, limit=100)
        self.memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=self.mesh, limit=100, sharing=self.parts.of)

    def get(self, who: KnownAsker) -> str:
        def build(view: View, before: str | None) -> str:
            WORK["built"] += 1
            return f"{view.pod}: {view.shared(both, None)}"

        return self.memo.get(("type", "name"), who, build)

    def becomes(self, **contents: str) -> bool:
        """Whether the resource is marked."""
        WORK.clear()
        mesh = world(**contents)
        slots = self.parts.advance(mesh, changed_slots(self.mesh, mesh))
        self.mesh = mesh
        return bool(self.memo.advance(mesh, slots))


def test_a_part_is_worked_out_once_for_all_who_are_alike_in_what_it_reads() -> None:
    at = World(a="one", b="two")
    assert [at.get(asker(pod)) for pod in ("p", "q")] == ["p: ONE TWO", "q: ONE TWO"]
    assert WORK == {"built": 2, "both": 1, "a": 1, "b": 1}


def test_a_part_of_parts_is_worked_out_again_of_those_that_did_not_change() -> None:
    at = World(a="one", b="two")
    at.get(asker())
    assert at.becomes(a="one", b="three")
    assert at.get(asker()) == "p: ONE THREE"
    assert WORK == {"built": 1, "both": 1, "b": 1}


def test_what_no_part_reads_marks_nothing() -> None:
    at = World(a="one", b="two")
    at.get(asker())
    assert not at.becomes(a="one", b="two", c="three")


def test_an_outcome_that_stays_the_same_ends_the_work_there() -> None:
    at = World(a="one", b="two")
    at.get(asker())
    assert at.becomes(a="ONE", b="two")
    assert at.get(asker()) == "p: ONE TWO"
    assert WORK == {"a": 1}


def test_who_differs_in_what_a_part_reads_gets_another() -> None:
    at = World(a="label", b="two")
    assert at.get(asker(app="x")) == "p: label x TWO"
    assert at.get(asker(app="y")) == "p: label y TWO"
    assert at.get(asker(app="x")) == "p: label x TWO"


def test_who_differs_in_what_a_part_reads_only_now_gets_another_too() -> None:
    at = World(a="label", b="two")
    assert at.get(asker(app="x")) == at.get(asker(app="x"))
    at.becomes(a="one", b="two")
    assert {at.get(asker(app=app)) for app in ("x", "y")} == {"p: ONE TWO"}
    at.becomes(a="label", b="two")
    assert [at.get(asker(app=app)) for app in ("x", "y", "z")] == [f"p: label {app} TWO" for app in ("x", "y", "z")]


def test_a_part_that_fails_is_tried_again_once_what_it_read_has_changed() -> None:
    at = World(a="broken", b="two")
    for _ in range(2):
        with pytest.raises(ValueError, match="a"):
            at.get(asker())
    assert WORK["a"] == 1
    at.becomes(a="one", b="two")
    assert at.get(asker()) == "p: ONE TWO"


def test_without_anybody_to_share_with_the_work_is_done_on_the_spot() -> None:
    mesh = world(a="one", b="two")
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=mesh, limit=100)
    assert memo.get(("type", "name"), asker(), lambda view, _: view.shared(both, None)) == "ONE TWO"
    assert memo.advance(world(a="one", b="three"))


def test_parts_that_were_pushed_out_count_as_changed() -> None:
    WORK.clear()
    mesh = world(a="one", b="two")
    parts = SharedParts(mesh=mesh, limit=2)
    memo: ReadMemo[tuple[str, str], str] = ReadMemo(mesh=mesh, limit=100, sharing=parts.of)
    assert memo.get(("type", "name"), asker(), lambda view, _: view.shared(both, None)) == "ONE TWO"
    slots = parts.advance(mesh, frozenset())
    assert memo.advance(mesh, slots)
    later = world(a="three", b="two")
    memo.advance(later, parts.advance(later, changed_slots(mesh, later)))
    assert memo.get(("type", "name"), asker(), lambda view, _: view.shared(both, None)) == "THREE TWO"
