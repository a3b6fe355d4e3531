"""The value `meshConfig.mesh`, read as the control plane will read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from model.problems import Problem, Severity
from model.settings import MeshSettings
from sources.fields import Report
from sources.mesh_config import MESH_KEY, parse_mesh_config
from sources.yaml_documents import Node

_FIELD = f"data.{MESH_KEY}"
_VALUE = "meshConfig.mesh"


def read_mesh_config(text: str) -> tuple[MeshSettings | None, Sequence[Problem]]:
    """The settings in the text of a ConfigMap, None if they will not come into force, and what is wrong with them."""
    report = Report(file="")
    settings = parse_mesh_config(Node(text, 1, text, True), report)
    return None if report.failed else settings, report.problems


def find_mesh_faults(mesh: Mapping[str, object]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is wrong with the value, one sentence each: what keeps it from coming into force, and what has no effect."""
    _, problems = read_mesh_config(yaml.safe_dump(dict(mesh)))
    errors = tuple(_told(problem) for problem in problems if problem.severity is Severity.ERROR)
    return errors, tuple(_told(problem) for problem in problems if problem.severity is not Severity.ERROR)


def _told(problem: Problem) -> str:
    message = problem.message.replace(_FIELD, _VALUE)
    return f"{problem.field.replace(_FIELD, _VALUE)}: {message}. {problem.fix}"
