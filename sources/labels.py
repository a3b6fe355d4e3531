"""Which workloads an Istio resource is for: `selector.matchLabels`."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.fields import Fields
from sources.kubernetes_names import parse_labels


def parse_selector(fields: Fields) -> dict[str, str]:
    """The labels in `selector`, sorted; empty if absent.

    A bare mapping of labels, as a Service has it, is named as the mistake it is: it would select everything.
    """
    inner = fields.child("selector")
    if inner is None:
        return {}
    labels = parse_labels(inner, "matchLabels")
    inner.later("matchExpressions", severity=Severity.ERROR)
    for name in inner.names():
        if name in ("matchLabels", "matchExpressions"):
            continue
        inner.ignore(name)
        fix = "Put the labels under selector.matchLabels."
        inner.problem(ProblemCode.MISPLACED_FIELD, f"the label {name!r} stands in selector itself", fix, field=name)
    return labels
