"""What one file contributes: its objects in force, the last good of those that went wrong among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from sources.kinds import Object
from sources.manifests import Parsed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileState:
    """`objects` in the order of the file, retained ones last. `refused`: those that stand in it and did not come from
    there into force.
    """

    objects: Mapping[ObjectRef, Object]
    problems: tuple[Problem, ...]
    refused: frozenset[ObjectRef] = frozenset()


def next_state(parsed: Parsed, previous: FileState | None, in_force: Mapping[ObjectRef, Object]) -> FileState:
    """The state after `parsed`. A value equal to the one in force keeps its identity.

    A rejected object stays as it is in force, wherever that came from; a file that is no YAML keeps all it had, and
    one with a document that nobody can name, or with a rejected object that nobody knows, keeps what it does not hold
    any more: that may be the very object, with a mistake in its name or namespace. Where
    no good version is in force, the rejected object's stand-in is (ADR 11), or else an earlier one.
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
        objects[found.ref] = _keep_value(found, in_force.get(found.ref))
    refused = parsed.rejected - objects.keys()
    stand_ins = {found.ref: found for found in parsed.stand_ins}
    for ref in sorted(refused):
        before = in_force.get(ref)
        if before is not None and not before.stand_in:
            objects[ref] = before
        elif ref in stand_ins:
            objects[ref] = _keep_value(stand_ins[ref], before)
        elif before is not None:
            objects[ref] = before
    may_be_another = parsed.nameless or any(ref not in in_force for ref in refused)
    if may_be_another and previous is not None:
        objects.update((ref, kept) for ref, kept in previous.objects.items() if ref not in objects)
    return FileState(objects=objects, problems=tuple(problems), refused=refused)


def _keep_value(found: Object, before: Object | None) -> Object:
    if before is not None and before.value == found.value:
        return replace(found, value=before.value)
    return found


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
