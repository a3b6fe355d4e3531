"""What is in force of an object that was refused: the end of its problems' messages.

Said where everybody must know it, of policies, and where the mistake is ours, of what is not implemented.
"""

from __future__ import annotations

from dataclasses import replace

from model.policies import AuthorizationPolicy
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from sources.kinds import Object

_POLICIES = ("AuthorizationPolicy", "PeerAuthentication")


def with_outcome(problem: Problem, in_force: Object | None, root_namespace: str) -> Problem:
    """`problem` of a refused object, with what is in force of that object now (None: nothing) told if it matters."""
    is_policy = problem.object is not None and problem.object.kind in _POLICIES
    if problem.severity is not Severity.ERROR or not (is_policy or problem.code == ProblemCode.NOT_IMPLEMENTED):
        return problem
    if in_force is None:
        outcome = "no version of the object is in force" + (", so it protects nothing" if is_policy else "")
    elif in_force.stand_in and isinstance(in_force.value, AuthorizationPolicy):
        outcome = f"no good version of the object is known, so it {_describe(in_force.value, root_namespace)}"
    else:
        outcome = "the object's last good version stays in force"
    return replace(problem, message=f"{problem.message}; {outcome}")


def _describe(stand_in: AuthorizationPolicy, root_namespace: str) -> str:
    """A stand-in has no rules. Policies that allow are united, so another one may still admit."""
    whom = "any pod"
    if stand_in.selector:
        whom = f"pods with {', '.join(f'{key}={value}' for key, value in stand_in.selector.items())}"
    where = "the mesh" if stand_in.ref.namespace == root_namespace else f"namespace {stand_in.ref.namespace}"
    return f"admits nobody to {whom} in {where}; only another ALLOW policy can"
