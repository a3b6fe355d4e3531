"""What one file contributes: its objects in force, the last good of those that went wrong among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from sources.kinds import Object
from sources.manifests import Parsed

_POLICIES = ("AuthorizationPolicy", "PeerAuthentication")
"""Kinds of which everybody must know whether they are in force."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileState:
    """`objects` in the order of the file, retained ones last."""

    objects: Mapping[ObjectRef, Object]
    problems: tuple[Problem, ...]


def next_state(parsed: Parsed, previous: FileState | None, in_force: Mapping[ObjectRef, Object]) -> FileState:
    """The state after `parsed`. A value equal to the one in force keeps its identity.

    A rejected object stays as it is in force, wherever that came from; a file that is no YAML keeps all it had, and
    one with a document that nobody can name keeps what it does not hold any more: that may be the very object.
    """
    if not parsed.readable:
        return FileState(objects=previous.objects if previous else {}, problems=parsed.problems)
    objects: dict[ObjectRef, Object] = {}
    problems = list(parsed.problems)
    for found in parsed.objects:
        first = objects.get(found.ref)
        if first is not None:
            problems.append(duplicate(found, first))
            continue
        before = in_force.get(found.ref)
        same = before is not None and before.value == found.value
        objects[found.ref] = replace(found, value=before.value) if before is not None and same else found
    for ref in sorted(parsed.rejected - objects.keys()):
        if ref in in_force:
            objects[ref] = in_force[ref]
        if ref.kind in _POLICIES:
            problems = [_with_outcome(problem, ref, kept=ref in in_force) for problem in problems]
    if parsed.nameless and previous is not None:
        objects.update((ref, kept) for ref, kept in previous.objects.items() if ref not in objects)
    return FileState(objects=objects, problems=tuple(problems))


def _with_outcome(problem: Problem, ref: ObjectRef, *, kept: bool) -> Problem:
    if problem.object != ref or problem.severity is not Severity.ERROR:
        return problem
    outcome = "its last good version stays in force" if kept else "no version of it is in force, so it protects nothing"
    return replace(problem, message=f"{problem.message}; {outcome}")


def duplicate(loser: Object, winner: Object) -> Problem:
    """The problem of an object that stands in a second place."""
    return Problem(
        severity=Severity.ERROR,
        code=ProblemCode.DUPLICATE_OBJECT,
        message=f"{loser.ref} stands in {winner.position} too, and that one is in force",
        fix="Remove one of the two, or give it another name.",
        object=loser.ref,
        position=Position(file=loser.position.file, line=loser.position.line),
    )
