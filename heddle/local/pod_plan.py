"""What to do so that the pods become those that the manifests ask for: a pure function, asked again after each step.

A Deployment is rolled over: new pods are ready before old ones go, with a quarter more pods than replicas at most (at
least one more). A StatefulSet goes in order, one pod at a time. A bare Pod keeps its process when only its labels
change, and is made anew otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from heddle.local.pod_names import ordinal_name, revision_of
from model.pods import Workload, WorkloadKind, wants_sidecar
from model.problems import ObjectRef

_RUNNERS_BUSINESS = ("sidecar.istio.io/", "traffic.sidecar.istio.io/", "proxy.istio.io/", "inject.istio.io/")
"""Annotations that say how a pod is built, so that a change of them needs a new pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentPod:
    """A pod there is. `order` grows with each pod made; `revision` is that of the workload it was made from."""

    namespace: str
    name: str
    owner: ObjectRef
    revision: str
    order: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ready: bool
    terminating: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Start a pod of `workload`. `name` '' lets chance complete it (a Deployment's)."""

    workload: Workload
    revision: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Take a pod out of service, end it, remove it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabel:
    """Give a running pod other labels and annotations."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


Action = Create | Delete | Relabel


def plan_pods(workloads: Iterable[Workload], pods: Iterable[PresentPod]) -> tuple[Action, ...]:
    """The next steps; none when all is as asked for, or when everything left to do must wait for a pod.

    A pod that is terminating is left alone, but its name is taken until it is gone.
    """
    wanted = {workload.ref: workload for workload in workloads}
    present = sorted(pods, key=lambda pod: pod.order)
    taken = {(pod.namespace, pod.name) for pod in present}
    actions: list[Action] = [_delete(pod) for pod in present if pod.owner not in wanted and not pod.terminating]
    for ref in sorted(wanted):
        workload = wanted[ref]
        own = [pod for pod in present if pod.owner == ref]
        match workload.kind:
            case WorkloadKind.DEPLOYMENT:
                actions.extend(_plan_deployment(workload, [pod for pod in own if not pod.terminating]))
            case WorkloadKind.STATEFUL_SET:
                actions.extend(_plan_stateful_set(workload, own, taken))
            case WorkloadKind.POD:
                actions.extend(_plan_bare_pod(workload, own, taken))
            case _:
                assert_never(workload.kind)
    return tuple(actions)


def workload_revision(workload: Workload) -> str:
    """What a pod must have been made from to be up to date."""
    template = workload.template
    if workload.kind is not WorkloadKind.POD:
        return revision_of((template, workload.service_name))
    fixed = {key: value for key, value in template.annotations.items() if key.startswith(_RUNNERS_BUSINESS)}
    meshed = wants_sidecar(template.labels, template.annotations, host_network=template.host_network)
    return revision_of((replace(template, labels={}, annotations={}), fixed, meshed))


def _plan_deployment(workload: Workload, pods: list[PresentPod]) -> Iterator[Action]:
    revision = workload_revision(workload)
    new = [pod for pod in pods if pod.revision == revision]
    old = [pod for pod in pods if pod.revision != revision]
    surge = max(1, -(-workload.replicas // 4))
    missing = min(workload.replicas - len(new), workload.replicas + surge - len(new) - len(old))
    for _ in range(missing):
        yield Create(workload=workload, revision=revision)
    # What does not serve goes first; of what serves, no more than leaves enough.
    surplus_new = max(0, len(new) - workload.replicas)
    leaving = [pod for pod in old if not pod.ready]
    leaving += sorted(new, key=lambda pod: (pod.ready, -pod.order))[:surplus_new]
    spare = sum(pod.ready for pod in pods if pod not in leaving) - workload.replicas
    leaving += [pod for pod in old if pod.ready][: max(0, spare)]
    yield from map(_delete, leaving)


def _plan_stateful_set(workload: Workload, pods: list[PresentPod], taken: set[tuple[str, str]]) -> Iterator[Action]:
    namespace, revision = workload.ref.namespace, workload_revision(workload)
    by_name = {pod.name: pod for pod in pods}
    names = [ordinal_name(workload.ref.name, ordinal) for ordinal in range(workload.replicas)]
    surplus = [pod for pod in pods if pod.name not in names]
    if surplus:
        last = max(surplus, key=lambda pod: int(pod.name.rpartition("-")[2]))
        if not any(pod.terminating for pod in surplus):
            yield _delete(last)
    for name in names:
        pod = by_name.get(name)
        if pod is None:
            if (namespace, name) not in taken:
                yield Create(workload=workload, revision=revision, name=name)
            return
        if pod.terminating:
            return
        if not pod.ready:
            # Also where it waits for what an edit has just mended: an old one that does not serve is not waited for.
            if pod.revision != revision:
                yield _delete(pod)
            return
    for name in reversed(names):
        if by_name[name].revision != revision:
            yield _delete(by_name[name])
            return


def _plan_bare_pod(workload: Workload, pods: list[PresentPod], taken: set[tuple[str, str]]) -> Iterator[Action]:
    namespace, name, template = workload.ref.namespace, workload.ref.name, workload.template
    revision = workload_revision(workload)
    if not pods:
        if (namespace, name) not in taken:
            yield Create(workload=workload, revision=revision, name=name)
        return
    pod = pods[0]
    if pod.terminating:
        return
    if pod.revision != revision:
        yield _delete(pod)
    elif pod.labels != template.labels or pod.annotations != template.annotations:
        yield Relabel(namespace=namespace, name=name, labels=template.labels, annotations=template.annotations)


def _delete(pod: PresentPod) -> Delete:
    return Delete(namespace=pod.namespace, name=pod.name)
