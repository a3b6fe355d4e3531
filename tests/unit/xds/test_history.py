"""What workloads used lately: bounded, and of nobody else's word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from model.asker import Asker
from xds.history import LATELY, History, Workload, workload_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = ("n", "a", ())
OTHER = ("n", "b", ())


def test_pods_of_one_workload_are_alike() -> None:
    def pod(**labels: str) -> Asker:
        named = {key.replace("_", "-"): value for key, value in labels.items()}
        return Asker(namespace="n", pod="p", service_account="s", labels=named)

    assert workload_of(pod(app="a", pod_template_hash="1")) == workload_of(pod(app="a", pod_template_hash="2"))
    assert workload_of(pod(app="a")) != workload_of(pod(app="b"))


def test_what_was_used_lately_is_known_and_what_was_used_long_ago_is_not() -> None:
    history = History()
    history.note(ONE, "early", NOW)
    history.note(ONE, "late", NOW + timedelta(hours=1))
    assert history.recent(ONE, NOW + timedelta(hours=1)) == ("early", "late")
    assert history.recent(ONE, NOW + LATELY) == ("late",)
    assert history.recent(OTHER, NOW) == ()


def test_what_it_may_use_is_known_until_then_and_takes_no_room_from_what_it_uses() -> None:
    history = History(most_of_one=2, most=3)
    until = NOW + timedelta(hours=1)
    for name in ("a", "b", "c"):
        history.suppose(ONE, name, until)
    assert history.recent(ONE, NOW) == ("a", "b")
    assert history.recent(ONE, until) == ()
    history.note(ONE, "b", NOW)
    history.suppose(ONE, "b", until)
    assert history.recent(ONE, until) == ("b",)
    history.note(ONE, "c", NOW)
    assert history.recent(ONE, until) == ("b", "c")
    history.suppose(OTHER, "a", until)
    history.suppose(OTHER, "b", until)
    assert history.recent(OTHER, NOW) == ("a",)
    history.suppose(("n", "c", ()), "a", until)
    assert history.recent(("n", "c", ()), NOW) == ()


def test_what_a_workload_used_longest_ago_goes_first() -> None:
    history = History(most_of_one=2)
    for name in ("a", "b", "a", "c"):
        history.note(ONE, name, NOW)
    assert history.recent(ONE, NOW) == ("a", "c")


def test_all_together_are_bounded_and_the_workload_of_longest_ago_goes_first() -> None:
    history = History(most=3)
    history.note(ONE, "a", NOW)
    history.note(OTHER, "a", NOW)
    history.note(OTHER, "b", NOW)
    history.note(("n", "c", ()), "a", NOW)
    assert history.recent(ONE, NOW) == ()
    assert history.recent(OTHER, NOW) == ("a", "b")


def test_500_hosts_of_a_workload_are_kept() -> None:
    history = History()
    names = [f"s{number}" for number in range(501)]
    for name in names[:500]:
        history.note(ONE, name, NOW)
    assert history.recent(ONE, NOW) == tuple(names[:500])
    history.note(ONE, names[500], NOW)
    assert history.recent(ONE, NOW) == tuple(names[1:])


def test_100_000_hosts_are_kept_of_all_workloads_together() -> None:
    history = History()
    workloads: list[Workload] = [("n", f"a{number}", ()) for number in range(200)]
    names = [f"s{number}" for number in range(500)]
    for workload in workloads:
        for name in names:
            history.note(workload, name, NOW)
    assert [workload for workload in workloads if len(history.recent(workload, NOW)) != 500] == []
    history.note(OTHER, "s0", NOW)
    assert history.recent(workloads[0], NOW) == ()
    assert [workload for workload in workloads[1:] if len(history.recent(workload, NOW)) != 500] == []
    assert history.recent(OTHER, NOW) == ("s0",)
