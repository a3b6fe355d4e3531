"""Labels as Kubernetes allows them (source: its apimachinery validation), and the selectors of Istio resources."""

from __future__ import annotations

import re

from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.fields import Fields
from sources.kubernetes_names import is_dns_name

_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def is_label_value(text: str) -> bool:
    """Empty, or 1 to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends."""
    return not text or _QUALIFIED.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """A name like a label's value, perhaps after a DNS name and '/'."""
    prefix, slash, name = text.rpartition("/")
    return _QUALIFIED.fullmatch(name) is not None and (not slash or is_dns_name(prefix))


def parse_labels(fields: Fields, name: str) -> dict[str, str]:
    """The labels in one field, sorted by key. Those that Kubernetes would refuse are reported and left out."""
    found = fields.text_map(name)
    for key, value in tuple(found.items()):
        if is_label_key(key) and is_label_value(value):
            continue
        del found[key]
        what, wrong = ("key", key) if not is_label_key(key) else ("value", value)
        message = f"{wrong[:80]!r} cannot be the {what} of a label"
        fix = "Use up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends."
        inner = fields.child(name)
        if inner is not None:
            inner.problem(ProblemCode.INVALID_NAME, message, fix, field=key)
    return found


def parse_selector(fields: Fields) -> dict[str, str]:
    """The labels in `selector`, sorted; empty if absent.

    A bare mapping of labels, as a Service has it, is named as the mistake it is: it would select everything.
    """
    inner = fields.child("selector")
    if inner is None:
        return {}
    labels = parse_labels(inner, "matchLabels")
    written = inner.child("matchLabels")
    for name in written.names() if written is not None else ():
        if written is not None and not written.has(name):
            # Left out, it would select more than anybody wrote.
            fix = f"Give {name} a value, or remove it."
            written.problem(ProblemCode.MISSING_FIELD, f"the label {name[:80]!r} has no value", fix, field=name)
    inner.later("matchExpressions", severity=Severity.ERROR)
    for name in inner.names():
        if name in ("matchLabels", "matchExpressions"):
            continue
        inner.ignore(name)
        fix = "Put the labels under selector.matchLabels."
        inner.problem(ProblemCode.MISPLACED_FIELD, f"the label {name!r} stands in selector itself", fix, field=name)
    return labels
