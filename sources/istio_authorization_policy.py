"""Istio's AuthorizationPolicy. What Heddle cannot do or read of one never lets more pass: see ADR 11."""

from __future__ import annotations

import difflib

from model.policies import Action, AuthorizationPolicy, Rule
from model.problem_codes import ProblemCode
from sources.fields import Fields
from sources.istio_authorization_rule import parse_rule
from sources.kinds import Kind, Metadata
from sources.labels import parse_selector

MAX_RULES = 1000
DRY_RUN = "istio.io/dry-run"

ACTIONS = ("ALLOW", "DENY", "AUDIT", "CUSTOM")
_SCOPE = ("action", "selector")
_ELSEWHERE = ("targetRef", "targetRefs")
_FIELDS = (*_SCOPE, *_ELSEWHERE, "rules", "provider")


def parse_authorization_policy(fields: Fields, metadata: Metadata) -> AuthorizationPolicy | None:
    """The object's value, None after an error. Without `spec`, or with an empty one, nothing is allowed."""
    if _is_dry_run(metadata):
        fix = f"Remove the annotation {DRY_RUN} to enforce the policy, or the policy itself."
        fields.problem(ProblemCode.HALF_APPLIED_POLICY, f"{DRY_RUN} is not implemented yet", fix)
    spec = fields.child("spec")
    if spec is None:
        return None if fields.report.failed else AuthorizationPolicy(ref=metadata.ref, created=metadata.created)
    action = spec.choice("action", ACTIONS, "ALLOW")
    if action not in (Action.ALLOW, Action.DENY):
        _undone(spec, "action", f"action {action}")
    for name in ("provider", *_ELSEWHERE):
        if spec.node(name) is not None:
            _undone(spec, name, name)
    selector = parse_selector(spec)
    rules = _rules(spec, metadata.ref.namespace)
    spec.finish()
    if spec.report.failed:
        return None
    return AuthorizationPolicy(
        ref=metadata.ref, selector=selector, action=Action(action), rules=rules, created=metadata.created
    )


def parse_refusal(fields: Fields, metadata: Metadata) -> AuthorizationPolicy | None:
    """A policy that was refused, as one that admits nobody to the same workloads.

    None unless it certainly allows and it is certain for whom: a policy that denies, one that is not to be enforced,
    one for something else than sidecars, one whose action or selector may be misspelt.
    """
    spec = fields.child("spec")
    if spec is None or _is_dry_run(metadata) or not _says_its_scope(spec):
        return None
    if spec.choice("action", ACTIONS, "ALLOW") != Action.ALLOW:
        return None
    return AuthorizationPolicy(ref=metadata.ref, selector=parse_selector(spec), created=metadata.created)


def _is_dry_run(metadata: Metadata) -> bool:
    return metadata.annotations.get(DRY_RUN, "").lower() in ("true", "1", "t")


def _undone(spec: Fields, name: str, what: str) -> None:
    fix = "Remove it, or say the same in other words."
    spec.problem(ProblemCode.HALF_APPLIED_POLICY, f"{what} is not implemented yet", fix, field=name)


def _says_its_scope(spec: Fields) -> bool:
    names = spec.names()
    if any(name in names for name in _ELSEWHERE) or any(name in names and not spec.has(name) for name in _SCOPE):
        return False
    if any(_may_mean_scope(name, spec) for name in names if name not in _FIELDS):
        return False
    selector = spec.child("selector")
    labels = selector.child("matchLabels") if selector is not None else None
    # A selector whose labels were lost would be for the whole namespace.
    whole = labels is not None and bool(labels.names()) and all(map(labels.has, labels.names()))
    return whole or not spec.has("selector")


def _may_mean_scope(name: str, spec: Fields) -> bool:
    """Whether an unknown field may be the action or the selector that is missing, or a part of the latter."""
    close = difflib.get_close_matches(name.lower()[:80], _FIELDS, 1)
    return close[0] in _SCOPE and not spec.has(close[0]) if close else not spec.has("selector")


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
    parse_stand_in=parse_refusal,
)
