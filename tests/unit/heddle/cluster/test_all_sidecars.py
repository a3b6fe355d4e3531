"""How far an object is, over all replicas."""

from __future__ import annotations

from collections.abc import Mapping

from heddle.cluster.all_sidecars import AllSidecars
from heddle.cluster.peers import Others, PeerState
from heddle.cluster.replica_progress import Acknowledgements, RejectedAt
from model.asker import Asker
from model.problems import ObjectRef
from model.traffic import DestinationRule, TrafficPolicy
from protos.type_urls import CLUSTER
from sources.kubernetes.object_status import InForce, ObservedStatus
from xds.state import RejectedResource, StreamProgress

REF = ObjectRef(kind="DestinationRule", namespace="shop", name="web")
HOST = "web.shop.svc.cluster.local"
RULE = DestinationRule(ref=REF, host=HOST, policy=TrafficPolicy())
OBSERVED = ObservedStatus(ref=REF, path="/x", api_version="v1", uid="u", generation=3)
ASKER = Asker(namespace="shop", pod="web-1", service_account="web")
REFUSED = RejectedAt(asker=ASKER, type_url=CLUSTER, resource=f"outbound|80||{HOST}", words="no")


def own(*generations: int) -> tuple[StreamProgress, ...]:
    return tuple(StreamProgress(asker=ASKER, acknowledged_generation=each, rejected=()) for each in generations)


def held(generation: int = 3, since: int = 40, uid: str = "u") -> Mapping[ObjectRef, InForce]:
    return {REF: InForce(ref=REF, uid=uid, generation=generation, since=since, change=1)}


def state(name: str = "b", *, steps: tuple[tuple[int, int], ...] = ((40, 2),), **more: object) -> PeerState:
    return PeerState(replica=name, acknowledged=Acknowledgements(steps=steps), **{"objects": held(), **more})  # type: ignore[arg-type]


def test_sidecars_of_all_replicas_count_by_their_own_generations() -> None:
    others = Others(states=(state("b", steps=((39, 1), (40, 2))), state("c", objects=held(since=7), steps=((7, 4),))))
    found = AllSidecars("a", own(5, 4), others).delivery(OBSERVED, 5, RULE, "istio-system")
    assert (found.sidecars, found.acknowledged, found.replicas) == (9, 7, 3)
    assert (found.behind, found.unasked, found.everywhere) == ((), (), False)


def test_a_replica_that_has_an_older_one_or_none_is_behind_whatever_its_sidecars_have() -> None:
    for objects in ({}, held(generation=2), held(uid="another")):
        for steps in ((), ((99, 3),)):
            others = Others(states=(state(objects=objects, steps=steps),))
            found = AllSidecars("a", own(5), others).delivery(OBSERVED, 5, RULE, "istio-system")
            assert (found.acknowledged, found.behind, found.everywhere) == (1, ("b",), False)
    newer = Others(states=(state(objects=held(generation=4)),))
    assert AllSidecars("a", own(5), newer).delivery(OBSERVED, 5, RULE, "istio-system").everywhere


def test_a_rejection_elsewhere_names_its_replica() -> None:
    others = Others(states=(state(rejections=(REFUSED,)),), unasked=("z",))
    found = AllSidecars("a", own(5), others).delivery(OBSERVED, 5, RULE, "istio-system")
    (rejection,) = found.rejections
    assert (rejection.replica, rejection.sidecar, rejection.words) == ("b", "shop/web-1", "no")
    assert (found.unasked, found.replicas) == (("z",), 3)
    mine = RejectedResource(name=f"outbound|80||{HOST}", version="1", message="mine")
    stream = StreamProgress(asker=ASKER, acknowledged_generation=5, rejected=((CLUSTER, mine),))
    found = AllSidecars("a", (stream,), Others()).delivery(OBSERVED, 5, RULE, "istio-system")
    assert [each.replica for each in found.rejections] == ["a"]
    assert AllSidecars("a", (stream,), Others()).delivery(OBSERVED, 5, None, "x").rejections == ()


def test_a_rejected_cluster_of_an_address_is_its_service_s() -> None:
    address = "tcp|10.96.0.1:80"
    mine = RejectedResource(name=address, version="1", message="no", needs=frozenset({f"outbound|80||{HOST}"}))
    stream = StreamProgress(asker=ASKER, acknowledged_generation=5, rejected=((CLUSTER, mine),))
    theirs = RejectedAt(asker=ASKER, type_url=CLUSTER, resource=address, words="no", assignment=f"outbound|80||{HOST}")
    others = Others(states=(state(rejections=(theirs,)),))
    found = AllSidecars("a", (stream,), others).delivery(OBSERVED, 5, RULE, "istio-system")
    assert [(each.replica, each.resource) for each in found.rejections] == [("a", address), ("b", address)]


def test_where_not_all_rejections_are_told_nothing_is_said_of_the_others() -> None:
    others = Others(states=(state(untold=1),))
    assert AllSidecars("a", own(5), others).delivery(OBSERVED, 5, RULE, "istio-system").unasked == ("b",)
    others = Others(states=(state(untold=1, rejections=(REFUSED,)),))
    assert AllSidecars("a", own(5), others).delivery(OBSERVED, 5, RULE, "istio-system").unasked == ()
