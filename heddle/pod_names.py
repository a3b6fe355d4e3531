"""How commands name a pod: `POD`, `pod/POD`, `deploy/NAME`, `sts/NAME`, `POD.NAMESPACE`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

_WORKLOAD_KINDS = {
    "deploy": "Deployment",
    "deployment": "Deployment",
    "deployments": "Deployment",
    "sts": "StatefulSet",
    "statefulset": "StatefulSet",
    "statefulsets": "StatefulSet",
}
_POD_KINDS = ("pod", "pods", "po")


class NoSuchPod(Exception):
    """Nothing, or more than one thing, fits; the text says what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEntry:
    """What choosing needs to know. `workload` is the name of what made the pod."""

    namespace: str
    name: str
    workload: str
    ready: bool


def add_pod_arguments(parser: argparse.ArgumentParser) -> None:
    """`POD` and `-n NAMESPACE`, the same everywhere."""
    parser.add_argument("pod", metavar="POD", help="POD, deploy/NAME, sts/NAME or POD.NAMESPACE")
    parser.add_argument("-n", "--namespace", help="default: `default`, or wherever the name is the only one")


def choose_pod(wanted: str, namespace: str | None, pods: Iterable[PodEntry]) -> PodEntry:
    """The one pod meant; of a workload's pods a ready one, the first by name. Raises NoSuchPod."""
    known = sorted(pods, key=lambda pod: (not pod.ready, pod.namespace, pod.name))
    kind, slash, rest = wanted.partition("/")
    if slash and kind.lower() not in (*_WORKLOAD_KINDS, *_POD_KINDS):
        raise NoSuchPod(f"{kind!r} is no kind that has pods: pod/, deploy/ or sts/")
    by_workload = bool(slash) and kind.lower() in _WORKLOAD_KINDS
    name = rest if slash else wanted

    def named(pod: PodEntry, name: str) -> bool:
        return (pod.workload if by_workload else pod.name) == name

    found = [pod for pod in known if named(pod, name)]
    if not found and namespace is None and "." in name:
        name, _, namespace = name.rpartition(".")
        found = [pod for pod in known if named(pod, name)]
    if namespace is not None:
        found = [pod for pod in found if pod.namespace == namespace]
    elif any(pod.namespace == "default" for pod in found):
        found = [pod for pod in found if pod.namespace == "default"]
    namespaces = {pod.namespace for pod in found}
    if len(namespaces) > 1:
        raise NoSuchPod(f"{wanted} is in the namespaces {', '.join(sorted(namespaces))}: say which with -n")
    if not found:
        where = f" in namespace {namespace}" if namespace else ""
        there = ", ".join(f"{pod.name} -n {pod.namespace}" for pod in known[:20])
        raise NoSuchPod(f"no pod fits {wanted!r}{where}; there are: {there or 'none'}")
    return found[0]
