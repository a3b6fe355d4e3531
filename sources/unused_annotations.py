"""Annotations that Istio reads and Heddle does not."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from model.problems import Problem, Severity


def annotation_without_effect(name: str, path: str, severity: Severity) -> Problem:
    """What is said of the annotation `name` in the metadata at `path`."""
    return Problem(
        severity=severity,
        code=ProblemCode.NOT_IMPLEMENTED,
        message=f"{name} is not implemented yet and has no effect",
        fix=f"Remove {name}, or expect the object to work as if it were not there.",
        field=f"{path}.annotations['{name}']",
    )
