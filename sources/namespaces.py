"""The kinds Namespace and ServiceAccount."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from sources import ignored_fields
from sources.cluster_objects import Namespace, ServiceAccount
from sources.fields import Fields
from sources.kinds import Kind, Metadata
from sources.kubernetes_names import is_dns_label


def parse_namespace(root: Fields, metadata: Metadata) -> Namespace:
    """A Namespace."""
    if not is_dns_label(metadata.ref.name):
        message = f"{metadata.ref.name[:80]!r} is no name for a namespace"
        fix = "Use up to 63 lower-case letters, digits and '-'."
        root.problem(ProblemCode.INVALID_NAME, message, fix, field="metadata")
    root.ignore("spec")
    return Namespace(ref=metadata.ref, labels=metadata.labels)


def parse_service_account(root: Fields, metadata: Metadata) -> ServiceAccount:
    """A ServiceAccount: a name is all that matters of it."""
    root.ignore(*ignored_fields.SERVICE_ACCOUNT)
    return ServiceAccount(ref=metadata.ref)


KINDS = (
    Kind(group="", versions=("v1",), kind="Namespace", parse=parse_namespace, namespaced=False, strict=False),
    Kind(group="", versions=("v1",), kind="ServiceAccount", parse=parse_service_account, strict=False),
)
