"""`heddle status`: how a finding is printed."""

from __future__ import annotations

import pytest

from heddle.analyze import to_json
from heddle.status import to_line
from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity

OBJECT = ObjectRef(kind="Service", namespace="shop", name="web")


@pytest.mark.parametrize(
    ("ref", "position", "field", "line"),
    [
        (OBJECT, Position(file="a.yaml", line=3), "spec", "error: a.yaml:3: Service/shop/web spec: it is wrong"),
        (OBJECT, None, "", "error: -: Service/shop/web: it is wrong"),
        (None, Position(file="a.yaml", line=3), "", "error: a.yaml:3: it is wrong"),
        (None, Position(file="a.yaml"), "", "error: a.yaml: it is wrong"),
        (None, None, "", "error: -: it is wrong"),
    ],
)
def test_a_finding_names_what_is_known(ref: ObjectRef | None, position: Position | None, field: str, line: str) -> None:
    problem = Problem(
        severity=Severity.ERROR,
        code=ProblemCode.UNREADABLE_FILE,
        message="it is wrong",
        fix="Mend it.",
        object=ref,
        position=position,
        field=field,
    )
    assert to_line(to_json(problem)) == line
