"""The planner: single decisions as examples, whole rollouts as a simulation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.local.pod_plan import Create, Delete, PresentPod, Relabel, plan_pods, workload_revision
from model.pods import Container, PodTemplate, Workload, WorkloadKind
from model.problems import ObjectRef


def workload(kind: WorkloadKind = WorkloadKind.DEPLOYMENT, *, replicas: int = 1, **template: object) -> Workload:
    made = PodTemplate(containers=(Container(name="app", command=("true",)),), **template)  # type: ignore[arg-type]
    return Workload(
        kind=kind, ref=ObjectRef(kind=kind.value, namespace="shop", name="web"), replicas=replicas, template=made
    )


def present(of: Workload, name: str, *, order: int = 0, ready: bool = True, terminating: bool = False) -> PresentPod:
    return PresentPod(
        namespace=of.ref.namespace,
        name=name,
        owner=of.ref,
        revision=workload_revision(of),
        order=order,
        labels=of.template.labels,
        annotations=of.template.annotations,
        ready=ready,
        terminating=terminating,
    )


@dataclass
class Simulation:
    """A world in which every planned step succeeds, one pod at a time."""

    pods: list[PresentPod] = field(default_factory=list)
    made: int = 0
    serving: list[int] = field(default_factory=list)

    def run(self, wanted: tuple[Workload, ...]) -> None:
        for _ in range(400):
            self.serving.append(sum(pod.ready for pod in self.pods))
            actions = plan_pods(wanted, self.pods)
            for action in actions:
                match action:
                    case Create(workload=of, name=name):
                        self.made += 1
                        name = name or f"{of.ref.name}-{self.made}"
                        self.pods.append(present(of, name, order=self.made, ready=False))
                    case Delete(name=name):
                        self.pods = [
                            replace(pod, terminating=True, ready=False) if pod.name == name else pod
                            for pod in self.pods
                        ]
                    case Relabel():
                        raise AssertionError("nothing to relabel here")
            if not self.advance() and not actions:
                return
        raise AssertionError("it never comes to rest")

    def advance(self) -> bool:
        """The first pod that is on its way gets there."""
        for pod in self.pods:
            if pod.terminating:
                self.pods.remove(pod)
                return True
            if not pod.ready:
                self.pods[self.pods.index(pod)] = replace(pod, ready=True)
                return True
        return False


def test_missing_pods_are_created_and_surplus_ones_end() -> None:
    web = workload(replicas=2)
    assert plan_pods([web], []) == (Create(workload=web, revision=workload_revision(web)),) * 2
    three = [present(web, f"web-{n}", order=n) for n in range(3)]
    assert plan_pods([web], three) == (Delete(namespace="shop", name="web-2"),)


def test_of_surplus_pods_those_that_do_not_serve_go_first() -> None:
    web = workload(replicas=1)
    pods = [present(web, "old", order=1, ready=False), present(web, "new", order=2)]
    assert plan_pods([web], pods) == (Delete(namespace="shop", name="old"),)


def test_pods_whose_manifest_is_gone_end_and_are_ended_once() -> None:
    web = workload()
    assert plan_pods([], [present(web, "a")]) == (Delete(namespace="shop", name="a"),)
    assert plan_pods([], [present(web, "a", terminating=True)]) == ()


def test_a_rollout_keeps_the_old_pod_until_the_new_one_serves() -> None:
    old = workload(labels={"version": "1"})
    new = workload(labels={"version": "2"})
    assert plan_pods([new], [present(old, "a")]) == (Create(workload=new, revision=workload_revision(new)),)
    assert plan_pods([new], [present(old, "a"), present(new, "b", ready=False, order=1)]) == ()
    assert plan_pods([new], [present(old, "a"), present(new, "b", order=1)]) == (Delete(namespace="shop", name="a"),)


def test_a_rollout_replaces_an_old_pod_that_never_served_at_once() -> None:
    old, new = workload(labels={"version": "1"}), workload(labels={"version": "2"})
    planned = plan_pods([new], [present(old, "a", ready=False)])
    assert set(map(type, planned)) == {Create, Delete}


@given(before=st.integers(0, 9), after=st.integers(0, 9), kind=st.sampled_from(list(WorkloadKind)[:2]))
def test_every_rollout_ends_as_asked_and_a_deployment_never_serves_with_fewer(
    before: int, after: int, kind: WorkloadKind
) -> None:
    old = workload(kind, replicas=before, labels={"version": "1"})
    new = workload(kind, replicas=after, labels={"version": "2"})
    world = Simulation()
    world.run((old,))
    assert len(world.pods) == before
    world.serving.clear()
    world.run((new,))
    assert [pod.revision for pod in world.pods] == [workload_revision(new)] * after
    if kind is WorkloadKind.DEPLOYMENT:
        assert min(world.serving) >= min(before, after)
    else:
        assert min(world.serving) >= min(before, after) - 1
        assert sorted(pod.name for pod in world.pods) == [f"web-{n}" for n in range(after)]


def test_a_stateful_set_starts_in_order() -> None:
    web = workload(WorkloadKind.STATEFUL_SET, replicas=3)
    assert [action.name for action in plan_pods([web], []) if isinstance(action, Create)] == ["web-0"]
    assert plan_pods([web], [present(web, "web-0", ready=False)]) == ()
    assert [a.name for a in plan_pods([web], [present(web, "web-0")]) if isinstance(a, Create)] == ["web-1"]


def test_a_stateful_set_shrinks_from_its_end_one_at_a_time() -> None:
    web = workload(WorkloadKind.STATEFUL_SET, replicas=1)
    pods = [present(web, f"web-{n}", order=n) for n in range(12)]
    assert plan_pods([web], pods) == (Delete(namespace="shop", name="web-11"),)
    pods[11] = replace(pods[11], terminating=True)
    assert plan_pods([web], pods) == ()


def test_a_stateful_set_replaces_a_pod_that_never_served() -> None:
    old = workload(WorkloadKind.STATEFUL_SET, replicas=2, labels={"version": "1"})
    new = workload(WorkloadKind.STATEFUL_SET, replicas=2, labels={"version": "2"})
    assert plan_pods([new], [present(old, "web-0", ready=False)]) == (Delete(namespace="shop", name="web-0"),)


def test_a_bare_pod_is_relabelled_in_place() -> None:
    old = workload(WorkloadKind.POD, labels={"version": "1"})
    new = workload(WorkloadKind.POD, labels={"version": "2"}, annotations={"note": "x"})
    assert plan_pods([new], [present(old, "web")]) == (
        Relabel(namespace="shop", name="web", labels={"version": "2"}, annotations={"note": "x"}),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"service_account": "other"},
        {"labels": {"sidecar.istio.io/inject": "false"}},
        {"annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "80"}},
    ],
)
def test_a_bare_pod_is_made_anew_when_more_than_its_labels_changed(change: dict[str, object]) -> None:
    old, new = workload(WorkloadKind.POD), workload(WorkloadKind.POD, **change)
    assert plan_pods([new], [present(old, "web")]) == (Delete(namespace="shop", name="web"),)
    assert plan_pods([new], [present(old, "web", terminating=True)]) == ()
    assert [action.name for action in plan_pods([new], []) if isinstance(action, Create)] == ["web"]


def test_a_name_that_another_workload_has_is_waited_for() -> None:
    deployed = workload(WorkloadKind.DEPLOYMENT)
    bare = workload(WorkloadKind.POD)
    other = replace(present(deployed, "web"), owner=deployed.ref)
    assert not any(isinstance(a, Create) for a in plan_pods([deployed, bare], [other]))
