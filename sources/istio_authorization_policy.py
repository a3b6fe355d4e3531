"""Istio's AuthorizationPolicy.

A rule that is applied in part is worse than none: what Heddle cannot do here is always an error, and the object
keeps its last good version.
"""

from __future__ import annotations

from model.policies import Action, AuthorizationPolicy, Rule
from model.problem_codes import ProblemCode
from sources.fields import Fields
from sources.istio_authorization_rule import half_applied, parse_rule
from sources.kinds import Kind, Metadata
from sources.labels import parse_selector

MAX_RULES = 1000
DRY_RUN = "istio.io/dry-run"

_ACTIONS = ("ALLOW", "DENY", "AUDIT", "CUSTOM")


def parse_authorization_policy(fields: Fields, metadata: Metadata) -> AuthorizationPolicy | None:
    """The object's value, None after an error. Without `spec`, or with an empty one, nothing is allowed."""
    if metadata.annotations.get(DRY_RUN, "").lower() in ("true", "1", "t"):
        fix = f"Remove the annotation {DRY_RUN} to enforce the policy, or the policy itself."
        fields.problem(
            ProblemCode.HALF_APPLIED_POLICY, f"{DRY_RUN} is not implemented yet: the policy would be enforced", fix
        )
    spec = fields.child("spec")
    if spec is None:
        return None if fields.report.failed else AuthorizationPolicy(ref=metadata.ref, created=metadata.created)
    action = spec.choice("action", _ACTIONS, "ALLOW")
    if action not in (Action.ALLOW, Action.DENY):
        half_applied(spec, "action", f"action {action}")
    for name in ("provider", "targetRef", "targetRefs"):
        if spec.node(name) is not None:
            half_applied(spec, name, name)
    selector = parse_selector(spec)
    rules = _rules(spec, metadata.ref.namespace)
    spec.finish()
    if spec.report.failed:
        return None
    return AuthorizationPolicy(
        ref=metadata.ref, selector=selector, action=Action(action), rules=rules, created=metadata.created
    )


def _rules(spec: Fields, namespace: str) -> tuple[Rule, ...]:
    for misplaced in ("from", "to", "when"):
        if spec.node(misplaced) is not None:
            fix = f"Move {misplaced} into an entry of rules."
            message = f"{misplaced} stands beside rules, not in it"
            spec.problem(ProblemCode.MISPLACED_FIELD, message, fix, field=misplaced)
    entries = spec.each("rules")
    if len(entries) > MAX_RULES:
        message = f"rules has {len(entries)} entries, more than {MAX_RULES}"
        spec.problem(ProblemCode.TOO_LARGE, message, "Join rules that differ in one list only.", field="rules")
        return ()
    return tuple(parse_rule(entry, namespace) for entry in entries)


KIND = Kind(
    group="security.istio.io",
    versions=("v1", "v1beta1"),
    kind="AuthorizationPolicy",
    parse=parse_authorization_policy,
)
