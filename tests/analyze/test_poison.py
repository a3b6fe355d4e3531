"""Every poison object gives exactly the findings that its comments announce, each in the line of its comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heddle.analyze import analyze
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity

HERE = Path(__file__).parent
MESH = "mesh.yaml"
CASES = sorted(HERE.glob("poison/*.yaml"))

_ANNOUNCED = re.compile(r"#((?: [A-Z][A-Za-z]+)+)$")


def announced(text: str) -> set[tuple[int, str]]:
    """(line, code) of every comment that is nothing but codes."""
    return {
        (number, code)
        for number, line in enumerate(text.splitlines(), 1)
        if (found := _ANNOUNCED.search(line))
        for code in found[1].split()
    }


def findings(path: Path) -> tuple[Problem, ...]:
    found = analyze({MESH: (HERE / MESH).read_bytes(), path.name: path.read_bytes()})
    assert not [problem for problem in found if problem.position and problem.position.file == MESH]
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_poison_is_found_where_it_is(path: Path) -> None:
    expected = announced(path.read_text())
    assert expected
    found = findings(path)
    assert {(p.position.line, str(p.code)) for p in found if p.position} == expected
    for problem in found:
        assert problem.severity in (Severity.ERROR, Severity.WARNING)
        assert problem.message
        assert problem.fix.endswith((".", "?"))
        assert problem.code in set(ProblemCode)
        assert problem.object is not None
        assert problem.object.name == "case"


def test_there_are_many() -> None:
    assert len(CASES) > 120
