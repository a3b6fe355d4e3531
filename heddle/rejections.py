"""What sidecars refuse although it was taken for good here, as problems of the objects that it was made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from heddle.cluster.replica_progress import RejectedAt
from heddle.culprits import Culprits
from heddle.delivery import kind_of
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from sources.kinds import Object

_FIX = (
    "change what Envoy's words are about; a sidecar keeps the last version that it took, "
    "and does without the resource if it never took one"
)


def to_problems(rejections: Iterable[RejectedAt], culprits: Callable[[], Culprits]) -> tuple[Problem, ...]:
    """One for each refused resource and object that it was made of, however many sidecars refuse it.

    A resource that no object is known for has one without an object. `culprits` is asked only if there are any.
    """
    alike: defaultdict[tuple[str, str], list[RejectedAt]] = defaultdict(list)
    for each in rejections:
        alike[each.type_url, each.resource].append(each)
    return tuple(problem for same in alike.values() for problem in _of_one(same, culprits()))


def _of_one(same: list[RejectedAt], culprits: Culprits) -> list[Problem]:
    """Of one resource. What it was made of can differ with the sidecar: each object counts those that concern it."""
    refused_by: defaultdict[Object | None, list[RejectedAt]] = defaultdict(list)
    for rejected in same:
        for made_of in culprits.of(rejected) or (None,):
            refused_by[made_of].append(rejected)
    return [_to_problem(made_of, rejected) for made_of, rejected in refused_by.items()]


def _to_problem(made_of: Object | None, rejected: list[RejectedAt]) -> Problem:
    first = min(rejected, key=lambda each: (each.asker.namespace, each.asker.pod))
    others = len({(each.asker.namespace, each.asker.pod) for each in rejected}) - 1
    who = f"sidecar {first.asker.pod}.{first.asker.namespace}"
    if others:
        who += f" and {others} more"
    what = f"the {kind_of(first.type_url)} {first.resource}{' that is made of it' if made_of is not None else ''}"
    return Problem(
        severity=Severity.ERROR,
        code=ProblemCode.REJECTED_BY_SIDECAR,
        message=f"{who} refuse{'' if others else 's'} {what}: {first.words}",
        fix=_FIX,
        object=made_of.ref if made_of is not None else None,
        position=made_of.position if made_of is not None else None,
    )
