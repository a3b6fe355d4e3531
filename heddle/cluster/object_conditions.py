"""An object's conditions: whether Heddle uses it, whether another one is in its way, and how far the sidecars are.

A function of values; `status_writer` writes what it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from sources.kubernetes.object_status import Condition, ObservedStatus

ACCEPTED = "Accepted"
"""False: the object, or the part that the message names, is not in force."""
CONFLICTED = "Conflicted"
"""True: another object is in force for the same thing."""
PROGRAMMED = "Programmed"
"""True once every sidecar that was connected had acknowledged the object's present generation."""

MAX_MESSAGE = 1024
_MOST_NAMED = 3
_CONFLICTS = (
    ProblemCode.CONFLICTING_HOSTS,
    ProblemCode.CONFLICTING_POLICIES,
    ProblemCode.CONFLICTING_SIDECARS,
    ProblemCode.CONFLICTING_SERVERS,
    ProblemCode.CONFLICTING_PROTOCOLS,
    ProblemCode.DUPLICATE_SUBSET,
    ProblemCode.DUPLICATE_OBJECT,
)
_NOT_WHOLLY = (
    ProblemCode.CONFLICTING_HOSTS,
    ProblemCode.CONFLICTING_POLICIES,
    ProblemCode.CONFLICTING_SIDECARS,
    ProblemCode.CONFLICTING_SERVERS,
    ProblemCode.CONFLICTING_PROTOCOLS,
    ProblemCode.DUPLICATE_OBJECT,
    ProblemCode.UNKNOWN_GATEWAY,
    ProblemCode.HOST_NOT_ADMITTED,
    ProblemCode.NO_HTTP_PORT,
    ProblemCode.UNKNOWN_CREDENTIAL,
    ProblemCode.INVALID_CREDENTIAL,
)
"""Errors of an object that was read which keep it, or a part of it, from every sidecar: that all acknowledged says
nothing about those. With any other it does what it says, be it that a destination is not there."""


class Refusal(StrEnum):
    """What is in force of an object whose present generation was refused, as people are told it."""

    EARLIER = "This generation was refused; an earlier one stays in force for as long as the control planes know it."
    STAND_IN = "This generation was refused, and no good one is known; what is in force instead admits nobody."
    NONE = "This generation was refused, and no other is in force."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A sidecar's NACK of something that was made of the object; `words` are Envoy's.

    `replica` is the control plane that the sidecar is connected to, '' where there is only one.
    """

    sidecar: str
    replica: str = ""
    resource: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far the object's present generation is: `acknowledged` of all `sidecars` that are connected.

    Those of the control planes in `unasked`, by name, are not known; those in `behind` have not read this generation
    yet. There are `replicas` in all.
    """

    sidecars: int
    acknowledged: int
    rejections: tuple[Rejection, ...] = ()
    replicas: int = 1
    unasked: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()

    @property
    def everywhere(self) -> bool:
        """Whether nothing is missing, as far as is known."""
        return self.acknowledged == self.sidecars and not self.behind


def build_conditions(
    observed: ObservedStatus, problems: Sequence[Problem], delivery: Delivery, refusal: Refusal | None = None
) -> tuple[Condition, ...]:
    """The conditions that the object should have. `problems` are its own; of several errors the first is told.
    `refusal` None: the present generation was read.

    `since` is left empty where the status differs from what is there: that is for the writer's clock.
    """
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    found = (_accepted(problems, errors), _conflicted(problems), _programmed(observed, errors, delivery, refusal))
    return tuple(_dated(replace(each, observed_generation=observed.generation), observed) for each in found)


def is_settled(observed: ObservedStatus, wanted: Sequence[Condition]) -> bool:
    """Whether nothing needs to be written. How many sidecars there were when all had acknowledged may be outdated."""
    held = tuple(observed.condition(each.type) for each in wanted)
    return observed.observed_generation == observed.generation and is_same(held, wanted)


def is_same(some: Sequence[Condition | None], others: Sequence[Condition | None]) -> bool:
    """Whether they say the same, whenever they began to, and however many sidecars there were."""
    return tuple(map(_comparable, some)) == tuple(map(_comparable, others))


def _accepted(problems: Sequence[Problem], errors: Sequence[Problem]) -> Condition:
    if errors:
        return Condition(type=ACCEPTED, status="False", reason=str(errors[0].code), message=_tell(errors))
    warnings = [problem for problem in problems if problem.severity is Severity.WARNING]
    message = f"With a warning: {_tell(warnings)}" if warnings else "The object is in force."
    return Condition(type=ACCEPTED, status="True", reason="Accepted", message=message[:MAX_MESSAGE])


def _conflicted(problems: Sequence[Problem]) -> Condition:
    conflicts = [problem for problem in problems if problem.code in _CONFLICTS]
    if conflicts:
        return Condition(type=CONFLICTED, status="True", reason=str(conflicts[0].code), message=_tell(conflicts))
    return Condition(type=CONFLICTED, status="False", reason="NoConflicts")


def _programmed(
    observed: ObservedStatus, errors: Sequence[Problem], delivery: Delivery, refusal: Refusal | None
) -> Condition:
    before = observed.condition(PROGRAMMED)
    if refusal is not None:
        return Condition(type=PROGRAMMED, status="False", reason="NotAccepted", message=str(refusal))
    if any(problem.code in _NOT_WHOLLY for problem in errors):
        message = "The object, or the part that the condition Accepted names, is not in force."
        return Condition(type=PROGRAMMED, status="False", reason="NotAccepted", message=message)
    more = _tell_replicas(delivery)
    if delivery.rejections:
        first = delivery.rejections[0]
        sidecars = len({each.sidecar for each in delivery.rejections})
        at = f" (at {first.replica})" if first.replica else ""
        counted = f"{sidecars} of {delivery.sidecars} sidecars rejected it{more}: {first.sidecar}{at}: "
        return Condition(
            type=PROGRAMMED,
            status="False",
            reason="Rejected",
            message=f"{counted}{first.resource}: {first.words}"[:MAX_MESSAGE],
        )
    if delivery.sidecars and delivery.everywhere and not delivery.unasked:
        message = f"All {delivery.sidecars} connected sidecars have acknowledged it."
        return Condition(type=PROGRAMMED, status="True", reason="Acknowledged", message=message)
    if before is not None and before.status == "True" and before.observed_generation == observed.generation:
        # A sidecar that connects later has not acknowledged anything yet; that is no step back.
        return before
    message = f"{delivery.acknowledged} of {delivery.sidecars} connected sidecars have acknowledged it"
    if not delivery.sidecars:
        message = "No sidecar is connected"
    if not delivery.everywhere:
        status, reason = "False", "Pending"
    else:
        status, reason = "Unknown", "ReplicasNotAsked" if delivery.unasked else "NoSidecars"
    return Condition(type=PROGRAMMED, status=status, reason=reason, message=f"{message}{more}."[:MAX_MESSAGE])


def _tell_replicas(delivery: Delivery) -> str:
    """Why the number of sidecars is not the whole truth."""
    said = ""
    for names, what in ((delivery.unasked, "could not be asked"), (delivery.behind, "have not read it yet")):
        if names:
            named = ", ".join((*names[:_MOST_NAMED], *(("...",) if len(names) > _MOST_NAMED else ())))
            said += f"; {len(names)} of {delivery.replicas} control planes {what} ({named})"
    return said


def _tell(problems: Sequence[Problem]) -> str:
    first = problems[0]
    said = ". ".join(part.rstrip(".") for part in (first.message, first.fix) if part)
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{first.field + ': ' if first.field else ''}{said}.{more}"[:MAX_MESSAGE]


def _dated(condition: Condition, observed: ObservedStatus) -> Condition:
    before = observed.condition(condition.type)
    same = before is not None and before.status == condition.status
    return replace(condition, since=before.since if same and before is not None else "")


def _comparable(condition: Condition | None) -> Condition | None:
    if condition is None:
        return None
    counted = condition.type == PROGRAMMED and condition.status == "True"
    return replace(condition, since="", message="" if counted else condition.message)
