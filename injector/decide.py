"""Whether a pod gets a sidecar, and why, or why not.

The order is Istio's, as the selectors of its webhooks have it: what a namespace says decides, and a pod's own
revision counts only where its namespace says nothing; a pod may always decline. Our own label stands where Istio has
`istio-injection`, so that both meshes can share a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from injector.names import INJECT_LABEL, ISTIO_NAMESPACE_LABEL, REVISION_LABEL
from injector.obstacles import Obstacle, find_obstacle
from injector.pod_values import Json, annotations_of, labels_of
from injector.settings import InjectionSettings
from model.pods import FALSE, INJECT, TRUE

_YES, _NO = frozenset(TRUE), frozenset(FALSE)


class Why(StrEnum):
    """What decided, besides the obstacles."""

    ASKED = "Asked"
    NAMESPACE = "NamespaceEnabled"
    POD = "PodEnabled"
    NOT_ASKED = "NotAsked"
    SYSTEM_NAMESPACE = "SystemNamespace"
    NAMESPACE_DISABLED = "NamespaceDisabled"
    POD_DISABLED = "PodDisabled"
    OTHER_REVISION = "OtherRevision"
    ISTIO = "LeftToIstio"
    UNKNOWN_VALUE = "UnknownValue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer. `message` is one sentence, `fix` what to do if another answer was wanted.

    `surprising`: the pod was to have a sidecar, by its labels or its namespace's, and gets none.
    """

    inject: bool
    why: Why | Obstacle
    message: str
    fix: str = ""
    surprising: bool = False


def decide(
    pod: Json,
    *,
    namespace: str,
    namespace_labels: Mapping[str, str],
    settings: InjectionSettings,
    asked: bool = False,
) -> Decision:
    """The decision on a pod of the right shape that nobody has injected yet (`original_pod`).

    `asked`: somebody wants it injected, whatever its namespace says.
    """
    if namespace == settings.system_namespace or namespace in settings.excluded_namespaces:
        message = f"pods in the namespace {namespace} are never injected"
        return _no(Why.SYSTEM_NAMESPACE, message, "Run the workload in a namespace of its own.")
    declined = _pod_declines(pod)
    if declined is not None:
        return declined
    wanted = _pod_revision(pod, settings) if asked else _labels_say(pod, namespace, namespace_labels, settings)
    if not wanted.inject:
        return wanted
    found = find_obstacle(pod)
    if found is not None:
        obstacle, message, fix = found
        return Decision(inject=False, why=obstacle, message=message, fix=fix, surprising=True)
    return wanted


def _pod_declines(pod: Json) -> Decision | None:
    labels, annotations = labels_of(pod), annotations_of(pod)
    for name, said in ((INJECT, labels.get(INJECT, annotations.get(INJECT))), (INJECT_LABEL, labels.get(INJECT_LABEL))):
        if said is None or said.lower() in _YES | {"", "enabled"}:
            continue
        if said.lower() in _NO | {"disabled"}:
            return _no(Why.POD_DISABLED, f"the pod says {name}: {said}", f"Remove {name} from the pod's template.")
        # Istio does not inject then either.
        message = f"the pod says {name}: {said[:80]!r}, which is neither yes nor no"
        return _no(Why.UNKNOWN_VALUE, message, f'Write {name}: "true" or "false".', surprising=True)
    return None


def _labels_say(
    pod: Json, namespace: str, namespace_labels: Mapping[str, str], settings: InjectionSettings
) -> Decision:
    ours = namespace_labels.get(INJECT_LABEL)
    istio = namespace_labels.get(ISTIO_NAMESPACE_LABEL)
    revision = namespace_labels.get(REVISION_LABEL)
    if ours is not None and ours.lower() in _NO | {"disabled"}:
        return _namespace_disabled(namespace, f"{INJECT_LABEL}: {ours}", INJECT_LABEL)
    if ours is not None and ours.lower() not in _YES | {"enabled"}:
        message = f"the namespace {namespace} says {INJECT_LABEL}: {ours[:80]!r}, which is neither enabled nor disabled"
        return _no(Why.UNKNOWN_VALUE, message, f"Write {INJECT_LABEL}: enabled.", surprising=True)
    if istio == "enabled" and not settings.take_over_istio_injection:
        message = f"the namespace {namespace} says {ISTIO_NAMESPACE_LABEL}: enabled, which is left to Istio"
        return _no(Why.ISTIO, message, _to_heddle(namespace), surprising=bool(ours) or revision == settings.revision)
    if istio is not None and not ours:
        label = f"{ISTIO_NAMESPACE_LABEL}: {istio}"
        if istio == "enabled":
            return _if_default(Why.NAMESPACE, f"the namespace {namespace} says {label}", settings)
        return _namespace_disabled(namespace, label, ISTIO_NAMESPACE_LABEL)
    if revision is not None:
        return _namespace_revision(namespace, revision, settings)
    if ours:
        return _if_default(Why.NAMESPACE, f"the namespace {namespace} says {INJECT_LABEL}: {ours}", settings)
    return _pod_asks(pod, namespace, settings)


def _namespace_revision(namespace: str, revision: str, settings: InjectionSettings) -> Decision:
    message = f"the namespace {namespace} says {REVISION_LABEL}: {revision}"
    if revision == settings.revision:
        return Decision(inject=True, why=Why.NAMESPACE, message=message)
    return _no(Why.OTHER_REVISION, message, f"To have it here: {_relabel(namespace, settings)}.")


def _pod_asks(pod: Json, namespace: str, settings: InjectionSettings) -> Decision:
    labels = labels_of(pod)
    if REVISION_LABEL in labels:
        return _pod_revision(pod, settings)
    if labels.get(INJECT_LABEL):
        return _if_default(Why.POD, f"the pod says {INJECT_LABEL}: {labels[INJECT_LABEL]}", settings)
    if settings.take_over_istio_injection and labels.get(INJECT, "").lower() in _YES:
        return _if_default(Why.POD, f"the pod says {INJECT}: {labels[INJECT]}", settings)
    message = f"neither the namespace {namespace} nor the pod asks for a sidecar"
    return _no(Why.NOT_ASKED, message, f"Label one of them: {_relabel(namespace, settings)}.")


def _pod_revision(pod: Json, settings: InjectionSettings) -> Decision:
    revision = labels_of(pod).get(REVISION_LABEL)
    if revision is None:
        return Decision(inject=True, why=Why.ASKED, message="it was asked for")
    message = f"the pod says {REVISION_LABEL}: {revision}"
    if revision == settings.revision:
        return Decision(inject=True, why=Why.POD, message=message)
    return _no(Why.OTHER_REVISION, message, f"Write {REVISION_LABEL}: {settings.revision} in the pod's template.")


def _if_default(why: Why, message: str, settings: InjectionSettings) -> Decision:
    if settings.is_default:
        return Decision(inject=True, why=why, message=message)
    message += f", which is for the default revision and not for {settings.revision}"
    return _no(Why.OTHER_REVISION, message, f"Write {REVISION_LABEL}: {settings.revision} instead.")


def _namespace_disabled(namespace: str, label: str, name: str) -> Decision:
    message = f"the namespace {namespace} says {label}"
    return _no(Why.NAMESPACE_DISABLED, message, f"kubectl label namespace {namespace} {name}-")


def _no(why: Why, message: str, fix: str, *, surprising: bool = False) -> Decision:
    return Decision(inject=False, why=why, message=message, fix=fix, surprising=surprising)


def _to_heddle(namespace: str) -> str:
    return f"kubectl label namespace {namespace} {ISTIO_NAMESPACE_LABEL}- {INJECT_LABEL}=enabled --overwrite"


def _relabel(namespace: str, settings: InjectionSettings) -> str:
    label = f"{INJECT_LABEL}=enabled" if settings.is_default else f"{REVISION_LABEL}={settings.revision}"
    return f"kubectl label namespace {namespace} {label} --overwrite"
