"""What a replica tells the one that leads: what is counted, and that what is told is what is understood."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.cluster.replica_progress import (
    MOST_REJECTIONS,
    MOST_STEPS,
    BadProgress,
    count_acknowledgements,
    parse_progress,
    to_json,
    to_progress,
)
from model.asker import Asker
from model.pods import ProxyKind
from model.problems import ObjectRef
from protos.type_urls import CLUSTER
from sources.kubernetes.object_status import ObjectStatuses, ObservedStatus
from xds.state import RejectedResource, StreamProgress

GENERATIONS = st.lists(st.integers(min_value=-1, max_value=30), max_size=40)


def stream(generation: int, *rejected: str, labels: dict[str, str] | None = None) -> StreamProgress:
    return StreamProgress(
        asker=Asker(
            namespace="shop", pod="web-1", service_account="web", kind=ProxyKind.GATEWAY, labels=labels or {"a": "b"}
        ),
        acknowledged_generation=generation,
        rejected=tuple(
            (CLUSTER, RejectedResource(name=name, version="1", message=f"[copy]\n: no {name}", needs=frozenset({"e"})))
            for name in rejected
        ),
    )


def observed(name: str, generation: int = 1, uid: str = "u") -> ObservedStatus:
    ref = ObjectRef(kind="VirtualService", namespace="shop", name=name)
    return ObservedStatus(ref=ref, path=f"/{name}", api_version="v1", uid=uid, generation=generation)


def statuses(*names: str) -> ObjectStatuses:
    found = ObjectStatuses()
    found.update({observed(name).ref: observed(name) for name in names}, 5)
    return found


@given(GENERATIONS, st.integers(min_value=-2, max_value=31))
def test_sidecars_are_counted_by_what_they_acknowledged(generations: Sequence[int], asked: int) -> None:
    found = count_acknowledgements([stream(each) for each in generations])
    assert found.sidecars == len(generations)
    assert found.of(asked) == sum(each >= asked for each in generations)


def test_too_many_generations_make_nothing_look_better_than_it_is() -> None:
    count = MOST_STEPS * 2
    found = count_acknowledgements([stream(each) for each in range(count)])
    assert (len(found.steps), found.sidecars) == (MOST_STEPS, count)
    for asked in range(count):
        assert found.of(asked) <= count - asked
    assert found.of(count - 5) == 5


def test_what_is_told_is_understood() -> None:
    told = to_progress("p1", [stream(7, "x"), stream(8)], statuses("a", "b"), known_process="", known_change=0)
    assert parse_progress(json.loads(json.dumps(to_json(told)))) == told
    assert [each.since for each in told.objects] == [5, 5]
    (rejected,) = told.rejections
    assert (rejected.words, rejected.asker.kind, rejected.asker.labels) == ("no x", ProxyKind.GATEWAY, {"a": "b"})
    assert rejected.assignment == "e"
    older = to_json(told)
    del older["rejections"][0]["assignment"]
    assert parse_progress(json.loads(json.dumps(older))).rejections[0].assignment == ""


def test_only_what_is_not_known_is_told() -> None:
    held = statuses("a", "b")
    first = to_progress("p1", [], held, known_process="", known_change=0)
    last = first.objects[-1].change
    assert to_progress("p1", [], held, known_process="p1", known_change=last).objects == ()
    held.update({observed("a").ref: observed("a", generation=2)}, 9)
    (only,) = to_progress("p1", [], held, known_process="p1", known_change=last).objects
    assert (only.ref.name, only.generation, only.since) == ("a", 2, 9)
    # Another process counted otherwise.
    assert len(to_progress("p2", [], held, known_process="p1", known_change=last).objects) == 2


def test_an_answer_is_bounded() -> None:
    streams = [stream(1, *(f"r{number}" for number in range(MOST_REJECTIONS + 3)))]
    told = to_progress("p", streams, statuses(), known_process="", known_change=0)
    assert (len(told.rejections), told.untold) == (MOST_REJECTIONS, 3)


def test_objects_change_in_an_order_and_are_told_in_it() -> None:
    held = statuses("a", "b", "c")
    held.update({observed("a").ref: observed("a", generation=2)}, 6)
    held.update({observed("b").ref: None}, 7)
    held.update({observed("b").ref: observed("b", uid="another")}, 8)
    everything = held.changed_after(0, 100)
    assert [(each.ref.name, each.since) for each in everything] == [("c", 5), ("a", 6), ("b", 8)]
    pages = [held.changed_after(0, 2)]
    pages.append(held.changed_after(pages[0][-1].change, 2))
    assert (*pages[0], *pages[1]) == everything
    assert held.in_force_since(observed("b").ref) == 8


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"process": "p", "acknowledged": [[1]], "untold": 0, "rejections": [], "objects": []},
        {"process": "p", "acknowledged": [], "untold": 0, "rejections": [{}], "objects": []},
        {"process": "p", "acknowledged": [], "untold": 0, "rejections": [3], "objects": []},
        {"process": "p", "acknowledged": [], "untold": 0, "rejections": [], "objects": [["a"]]},
        {"process": "p", "acknowledged": [["x", None]], "untold": 0, "rejections": [], "objects": []},
    ],
)
def test_what_is_no_progress_is_refused(said: object) -> None:
    with pytest.raises(BadProgress):
        parse_progress(said)
