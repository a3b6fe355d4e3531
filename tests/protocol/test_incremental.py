"""After any series of changes the memo answers every asker as a fresh process would, and has marked what differs.

The histories are of every kind of object that can matter. That they are enough is tested too: they tell if the changes
of any one thing that a view reads are not marked.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import model.recorded_reads
import model.view
import translators
import xds.memo
from model.changes import changed_slots
from model.mesh import Mesh
from sources.manifests import parse_documents
from sources.registry import KINDS
from tests.protocol.changing_mesh import MATTERING, WITHOUT_INFLUENCE, File, captured_pods, idle_files
from tests.protocol.every_asker import askers
from tests.protocol.histories import EVERYTHING, FOCUSES, Focus, History
from tests.protocol.remembered_answers import RememberedAnswers, check, fresh_answers

EXAMPLES = 6
"""Histories of each focus: enough to tell of every question whose changes are not marked. Other seeds need up to 8."""
NEVER_ASKED = {"pods"}
"""Fields of the mesh that no view reads: what they say reaches others through what is derived of them."""


def run(focus: Focus, test: Callable[[History], None], *phases: Phase) -> None:
    """The same histories whatever the test."""
    bounded = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=phases or tuple(Phase),
        suppress_health_check=[HealthCheck.too_slow],
    )
    seed(0)(bounded(given(focus.histories)(test)))()


@pytest.mark.parametrize("focus", FOCUSES, ids=lambda focus: focus.name)
def test_incremental_equals_fresh(focus: Focus) -> None:
    run(focus, check)


@pytest.mark.soak
@given(st.one_of(*(focus.histories for focus in FOCUSES)))
@settings(max_examples=2000, deadline=None)
def test_incremental_equals_fresh_after_very_many_histories(history: History) -> None:
    check(history)


@pytest.mark.parametrize("focus", [focus for focus in FOCUSES if focus.questions], ids=lambda focus: focus.name)
def test_every_question_is_one_whose_changes_are_marked(focus: Focus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very same histories tell if the changes of any one question mark nobody."""
    untold = set(focus.questions)

    def look(history: History) -> None:
        untold.difference_update(told_by(history, untold, monkeypatch))

    run(focus, look, Phase.generate)
    assert untold == set()


def told_by(history: History, questions: set[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The questions for which the property does not hold of this history, if their changes mark nobody."""
    if not questions:
        return set()
    known, store = askers(), history.begin()
    broken = {question: RememberedAnswers(store.mesh, known) for question in sorted(questions)}
    before = store.mesh
    for mesh in history.meshes(store):
        changed, due = changed_slots(before, mesh), fresh_answers(mesh, known)
        for question, remembered in tuple(broken.items()):
            marked = frozenset(slot for slot in changed if slot[0] != question)
            monkeypatch.setattr(xds.memo, "changed_slots", lambda before, after, marked=marked: marked)
            try:
                remembered.advance(mesh, due)
            except AssertionError:
                del broken[question]
        before = mesh
    return questions - broken.keys()


def test_a_view_asks_nothing_else_of_the_mesh() -> None:
    asked = {question for module in (model.view, model.recorded_reads) for question in questions_in(module.__file__)}
    in_focus = [question for focus in FOCUSES for question in focus.questions]
    assert sorted(in_focus) == sorted((asked - {"asker"}) | {"has_sidecars"})  # which `view_of` puts down itself
    assert {field.name for field in fields(Mesh)} - asked - {"has_sidecars"} == NEVER_ASKED


def test_the_mesh_is_read_by_asking_alone() -> None:
    """What derives has a view and no mesh, and of a view's own code `_ask` alone looks into that."""
    sources = [Path(model.view.__file__), *Path(*translators.__path__).glob("*.py")]
    assert [path.name for path in sources if "._mesh" in path.read_text()] == []
    assert Path(model.recorded_reads.__file__).read_text().count("._mesh") == 1
    assert "answer(self._mesh, " in inspect.getsource(model.recorded_reads.RecordedReads._ask)


def questions_in(file: str) -> set[str]:
    """What is asked by `_ask("QUESTION", ...)`. The question stands there as it is, so that this can be told."""
    calls = [
        node
        for node in ast.walk(ast.parse(Path(file).read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_ask"
    ]
    questions = [call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)]
    assert len(questions) == len(calls)
    return {str(question) for question in questions}


def test_every_kind_changes_or_has_no_influence() -> None:
    assert sorted(kind for _, kind in KINDS) == sorted((*MATTERING, *WITHOUT_INFLUENCE))


@given(st.one_of(*MATTERING.values(), captured_pods, idle_files))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_nothing_of_what_changes_is_refused(file: File) -> None:
    name, text = file
    assert parse_documents(name, text.encode()).problems == ()


@given(EVERYTHING.histories, st.lists(idle_files, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_the_other_kinds_leave_the_mesh_the_very_same(history: History, idle: list[File]) -> None:
    """Nor do ConfigMaps but the mesh's own. Everything anybody gets is derived from the mesh."""
    store = history.begin()
    before = store.mesh
    for come in (True, False):
        for name, text in idle:
            store.replace_file(name, text.encode() if come else None)
            assert store.mesh is before
