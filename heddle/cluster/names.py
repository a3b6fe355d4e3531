"""What an installation is made of, and by which names its parts know each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from injector.settings import REVISION
from sources.kubernetes.resources import CUSTOM_RESOURCES, Resource

if TYPE_CHECKING:
    from sources.kubernetes.events import Json

AUTHORITY_SECRET: Final = "heddle-ca"
LEADER_LEASE: Final = "heddle-leader"
ROOT_CONFIG_MAP: Final = "heddle-root"
ROOT_KEY: Final = "root.pem"
GATEWAY_SECRETS: Final = "-gateway-secrets"
"""How the name of a Role ends that lets Heddle read the Secrets of a namespace."""

PART_OF: Final = "app.kubernetes.io/part-of"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
REVISION_OF: Final = "heddle.io/revision"
NAME: Final = "app.kubernetes.io/name"
HEDDLE: Final = "heddle"

DEFINITIONS: Final = CUSTOM_RESOURCES

_RBAC: Final = "rbac.authorization.k8s.io"
_ADMISSION: Final = "admissionregistration.k8s.io"
MUTATING: Final = Resource(
    kind="MutatingWebhookConfiguration", plural="mutatingwebhookconfigurations", group=_ADMISSION
)
VALIDATING: Final = Resource(
    kind="ValidatingWebhookConfiguration", plural="validatingwebhookconfigurations", group=_ADMISSION
)
INSTALLED: Final[Mapping[str, Resource]] = {
    resource.kind: resource
    for resource in (
        # In the order in which they are deleted, so that nothing waits for what is gone already.
        MUTATING,
        VALIDATING,
        Resource(
            kind="HorizontalPodAutoscaler", plural="horizontalpodautoscalers", group="autoscaling", versions=("v2",)
        ),
        Resource(kind="Deployment", plural="deployments", group="apps"),
        Resource(kind="PodDisruptionBudget", plural="poddisruptionbudgets", group="policy"),
        Resource(kind="Service", plural="services"),
        Resource(kind="RoleBinding", plural="rolebindings", group=_RBAC),
        Resource(kind="Role", plural="roles", group=_RBAC),
        Resource(kind="ClusterRoleBinding", plural="clusterrolebindings", group=_RBAC),
        Resource(kind="ClusterRole", plural="clusterroles", group=_RBAC),
        Resource(kind="ConfigMap", plural="configmaps"),
        Resource(kind="ServiceAccount", plural="serviceaccounts"),
        Resource(kind="NetworkPolicy", plural="networkpolicies", group="networking.k8s.io"),
        Resource(kind="Secret", plural="secrets"),
        Resource(kind="Lease", plural="leases", group="coordination.k8s.io"),
        Resource(kind="Namespace", plural="namespaces"),
    )
}
"""Kinds that the chart makes, and those that the control plane makes for itself."""


def revision_name(revision: str) -> str:
    """The name of a revision's objects, which is also its `istio.io/rev`: `heddle`, or `heddle-canary`."""
    if revision in ("", REVISION):
        return REVISION
    return revision if revision.startswith(f"{REVISION}-") else f"{REVISION}-{revision}"


def injector_name(revision: str) -> str:
    """The MutatingWebhookConfiguration of a revision's name."""
    return f"heddle-injector{_suffix(revision)}"


def validator_name(revision: str) -> str:
    """The ValidatingWebhookConfiguration of a revision's name."""
    return f"heddle-validator{_suffix(revision)}"


def _suffix(revision: str) -> str:
    return "" if revision == REVISION else f"-{revision}"


def labels_of(item: Json) -> Mapping[str, str]:
    """The labels of any object."""
    found: Mapping[str, str] = (item.get("metadata") or {}).get("labels") or {}
    return found


def shown(item: Json) -> str:
    """An object as kubectl names it: `deployment.apps/heddle -n heddle-system`."""
    known = DEFINITIONS if item["kind"] == DEFINITIONS.kind else INSTALLED[item["kind"]]
    kind = f"{known.kind.lower()}.{known.group}" if known.group else known.kind.lower()
    namespace = item["metadata"].get("namespace")
    return f"{kind}/{item['metadata']['name']}" + (f" -n {namespace}" if namespace else "")
