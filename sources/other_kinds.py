"""Kinds that are known and do nothing here: what to say about each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from model.problem_codes import ProblemCode
from model.problems import Severity

_ISTIO_LATER = {
    "networking.istio.io": (
        "EnvoyFilter",
        "ProxyConfig",
        "ServiceEntry",
        "WorkloadEntry",
        "WorkloadGroup",
    ),
    "security.istio.io": ("RequestAuthentication",),
    "telemetry.istio.io": ("Telemetry",),
    "extensions.istio.io": ("TrafficExtension", "WasmPlugin"),
}
_PODS_NOT_RUN = {
    "": ("PodTemplate", "ReplicationController"),
    "apps": ("ControllerRevision", "DaemonSet", "ReplicaSet"),
    "batch": ("CronJob", "Job"),
}
_CORE_WITHOUT_EFFECT = (
    "Binding",
    "ComponentStatus",
    "Endpoints",
    "Event",
    "LimitRange",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ResourceQuota",
)
_KUBERNETES_GROUPS = ("autoscaling", "policy", "extensions", "events", "batch", "apps")
_ISTIO_SUFFIX = ".istio.io"
_KUBERNETES_SUFFIX = ".k8s.io"
_GATEWAY_API = "gateway.networking.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What to report about an object of a kind that nothing reads."""

    severity: Severity
    code: ProblemCode
    message: str
    fix: str


def remark_on(group: str, kind: str, known: Iterable[tuple[str, str]]) -> Remark:
    """What to report about `kind` of `group`, which is none of `known` (group, kind)."""
    shown = f"{kind[:80]} ({group[:80]})" if group else kind[:80]
    if kind in _ISTIO_LATER.get(group, ()) or group == _GATEWAY_API:
        return Remark(
            severity=Severity.WARNING,
            code=ProblemCode.NOT_IMPLEMENTED,
            message=f"the kind {shown} is not implemented yet; the object has no effect",
            fix="Remove it, or expect the mesh to work as if it were not there.",
        )
    if kind in _PODS_NOT_RUN.get(group, ()):
        return Remark(
            severity=Severity.WARNING,
            code=ProblemCode.NOT_RUN,
            message=f"{shown} is not run: its pods will not exist",
            fix="Use a Deployment, a StatefulSet or a Pod.",
        )
    if (group == "" and kind in _CORE_WITHOUT_EFFECT) or (
        group != "" and (group in _KUBERNETES_GROUPS or group.endswith(_KUBERNETES_SUFFIX))
    ):
        return Remark(
            severity=Severity.INFO,
            code=ProblemCode.NOT_RUN,
            message=f"{shown} has no effect here",
            fix="Nothing to do: a cluster would use it.",
        )
    everything = {*known, *((g, k) for g, kinds in _ISTIO_LATER.items() for k in kinds)}
    ours = group == "" or group.endswith(_ISTIO_SUFFIX)
    meant = sorted(f"{k} ({g})" if g else k for g, k in everything if k == kind)
    if not meant and ours:
        close = difflib.get_close_matches(kind[:80], sorted(k for g, k in everything if g == group), 1)
        meant = close[:1]
    fix = f"Did you mean {meant[0]}?" if meant else "Nothing to do if another program reads it."
    return Remark(
        severity=Severity.ERROR if ours and meant else Severity.WARNING if ours or meant else Severity.INFO,
        code=ProblemCode.UNKNOWN_KIND,
        message=f"nothing here reads the kind {shown}",
        fix=fix,
    )
