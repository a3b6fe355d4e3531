"""Rules on order: make before break, warming, and what happens when it takes too long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.protocol.conversation import BROKEN, CDS, EDS, LDS, RDS, VHDS, Talk
from tests.protocol.on_demand import ON_DEMAND, OnDemandTalk
from tests.protocol.test_on_demand import opened

WORLD = {CDS: {"a": "1"}, EDS: {"a": "1"}, LDS: {"l": "1"}, RDS: {"80": "to a"}}
both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def settled(delta: bool, **more: str) -> Talk:
    """A client that has all of WORLD."""
    talk = Talk(delta, WORLD)
    for url, names in ((CDS, ()), (EDS, ("a",)), (LDS, ()), (RDS, ("80",))):
        talk.says(url, *names)
        talk.hears(url, WORLD[url])
    return talk


@both
def test_r40_types_are_pushed_make_before_break_and_stale_clusters_go_last(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"b": "1"}, EDS: {"a": "1", "b": "1"}, LDS: {"l": "2"}, RDS: {"80": "to b"}})
    talk.hears(CDS, {"b": "1"} if delta else {"a": "1", "b": "1"}, accept=False)
    talk.says(EDS, "b")
    talk.hears(EDS, {"b": "1"})
    talk.silence()
    talk.accepts(CDS)
    talk.hears(LDS, {"l": "2"})
    talk.hears(RDS, {"80": "to b"}, accept=False)
    talk.silence()
    assert not talk.stream.acknowledged(2)
    talk.accepts(RDS)
    talk.hears(CDS, {} if delta else {"b": "1"}, removed=("a",) if delta else ())
    talk.silence()
    assert talk.stream.acknowledged(2)


@both
def test_r40_the_time_a_removal_has_waited_ends_when_the_cluster_comes_back(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "b": "1"}})
    talk.hears(CDS, {"b": "1"} if delta else {"a": "1", "b": "1"})
    talk.becomes({CDS: {"a": "1"}, RDS: {"80": "still to a"}})
    talk.hears(RDS, {"80": "still to a"}, accept=False)
    talk.silence()
    talk.passes(seconds=1)
    talk.becomes({CDS: {"a": "1", "b": "1"}})
    talk.silence()
    talk.accepts(RDS)
    talk.silence()
    talk.passes(hours=1)
    talk.becomes({CDS: {"b": "1"}, RDS: {"80": "to b"}})
    talk.hears(RDS, {"80": "to b"}, accept=False)
    talk.silence()
    talk.accepts(RDS)
    talk.hears(CDS, {} if delta else {"b": "1"}, removed=("a",) if delta else ())


@both
def test_r40_a_route_does_not_wait_for_a_cluster_for_ever(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "b": "1"}, RDS: {"80": "to b"}})
    talk.hears(CDS, {"b": "1"} if delta else {"a": "1", "b": "1"}, accept=False)
    talk.silence()
    wake = talk.stream.wake_at()
    assert wake is not None
    talk.passes(seconds=(wake - talk.now).total_seconds())
    talk.hears(RDS, {"80": "to b"})


@both
def test_r40_a_route_that_changes_later_has_waited_since_the_cluster_was_sent(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"c": "1"}, LDS: {"l": "1"}})
    talk.says(LDS)
    talk.hears(LDS, {"l": "1"})
    talk.says(CDS)
    talk.hears(CDS, {"c": "1"}, accept=False)
    assert talk.stream.is_quiet(), "nothing else is looked at"
    talk.passes(seconds=4.9)
    talk.becomes({LDS: {"l": "2"}})
    talk.silence()
    talk.passes(seconds=0.1)
    talk.hears(LDS, {"l": "2"})
    talk.silence()


@both
def test_r40_a_route_does_not_wait_once_the_cluster_is_refused(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "b": "1"}, RDS: {"80": "to b"}})
    talk.hears(CDS, {"b": "1"} if delta else {"a": "1", "b": "1"}, accept=False)
    talk.refuses(CDS)
    talk.hears(RDS, {"80": "to b"})


@both
def test_r40_a_route_does_not_wait_for_clusters_that_only_change(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "2"}, RDS: {"80": "also to a"}})
    talk.hears(CDS, {"a": "2"}, accept=False)
    talk.hears(EDS, {"a": "1"})
    talk.hears(RDS, {"80": "also to a"})


@both
def test_r40_a_cluster_stays_while_the_route_that_leaves_it_is_refused(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"b": "1"}, RDS: {"80": "to b"}})
    talk.hears(CDS, {"b": "1"} if delta else {"a": "1", "b": "1"})
    talk.hears(RDS, {"80": "to b"}, accept=False)
    talk.refuses(RDS)
    talk.passes(minutes=1)
    talk.silence()
    talk.becomes({RDS: {"80": "to b, well"}})
    talk.hears(RDS, {"80": "to b, well"})
    talk.hears(CDS, {} if delta else {"b": "1"}, removed=("a",) if delta else ())


@pytest.mark.parametrize("to_another", [False, True])
@pytest.mark.parametrize("url", [LDS, RDS])
def test_r40_sotw_a_cluster_stays_while_what_may_lead_to_it_since_an_earlier_stream_is_refused(
    url: str, to_another: bool
) -> None:
    """What that is the client does not say."""
    talk = settled(False)
    clusters, routes = talk.accepted[CDS], talk.accepted[url]
    name = "80" if url == RDS else "l"
    talk.reconnect(to_another=to_another)
    talk.sotw_says(CDS, version=clusters)
    talk.silence()
    talk.becomes({url: {name: "wrong"}})
    talk.sotw_says(url, *(["80"] if url == RDS else []), version=routes)
    talk.hears(url, {name: "wrong"}, accept=False)
    talk.refuses(url)
    talk.becomes({CDS: {"b": "1"}})
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.passes(minutes=1)
    talk.silence()
    talk.becomes({url: {name: "right"}})
    talk.hears(url, {name: "right"})
    talk.hears(CDS, {"b": "1"})
    talk.silence()


@both
def test_r40_a_removal_waits_for_an_answer_but_not_for_ever(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {}, RDS: {"80": "to nobody"}})
    talk.hears(RDS, {"80": "to nobody"}, accept=False)
    talk.silence()
    talk.passes(seconds=6)
    talk.hears(CDS, removed=("a",) if delta else ())


@both
def test_r40_a_cluster_that_comes_back_before_it_went_is_not_removed(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {}, RDS: {"80": "to nobody"}})
    talk.hears(RDS, {"80": "to nobody"}, accept=False)
    talk.becomes({CDS: {"a": "1"}, RDS: {"80": "to a"}})
    talk.accepts(RDS)
    talk.hears(RDS, {"80": "to a"})
    talk.silence()
    assert talk.stream.acknowledged(3)


@both
def test_r40_who_comes_back_keeps_a_cluster_until_it_has_spoken_of_what_may_name_it(delta: bool) -> None:
    talk = settled(delta)
    had = {url: heard.versions for url, heard in talk.last.items()}
    talk.becomes({CDS: {"b": "1"}, EDS: {"b": "1"}, RDS: {"80": "to b"}})
    talk.reconnect()

    def comes_back(url: str, *names: str) -> None:
        if delta:
            talk.delta_says(url, *names, initial=had[url])
        else:
            talk.sotw_says(url, *names)

    comes_back(CDS)
    talk.hears(CDS, {"b": "1"} if delta else {"a": "1", "b": "1"})
    talk.silence()
    comes_back(LDS)
    talk.silence()
    comes_back(RDS, "80")
    talk.hears(RDS, {"80": "to b"})
    if delta:
        talk.silence()
        talk.delta_says(VHDS, "*")
        talk.hears(VHDS)
    talk.hears(CDS, {} if delta else {"b": "1"}, removed=("a",) if delta else ())


@both
def test_r40_who_comes_back_and_says_nothing_more_keeps_a_cluster_for_a_while_only(delta: bool) -> None:
    talk = settled(delta)
    had = talk.last[CDS].versions
    talk.becomes({CDS: {}})
    talk.reconnect()
    talk.says(CDS) if not delta else talk.delta_says(CDS, initial=had)
    talk.silence()
    talk.passes(seconds=5)
    talk.hears(CDS, removed=("a",) if delta else ())


@both
def test_r40_a_route_waits_for_a_cluster_that_waits_for_another(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "slow": "1"}})
    talk.hears(CDS, {"slow": "1"} if delta else {"a": "1", "slow": "1"}, accept=False)
    talk.passes(seconds=4.9)
    talk.becomes({CDS: {"a": "1", "slow": "1", "new": "1"}, RDS: {"80": "to new"}})
    talk.silence()
    talk.passes(seconds=10)
    talk.silence()
    talk.accepts(CDS)
    talk.hears(CDS, {"new": "1"} if delta else {"a": "1", "slow": "1", "new": "1"}, accept=False)
    talk.silence()
    assert talk.stream.wake_at() == talk.now + timedelta(seconds=5)
    talk.passes(seconds=5)
    talk.hears(RDS, {"80": "to new"})


def behind_another(delta: bool) -> Talk:
    """A client that has not answered on a new cluster yet."""
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "slow": "1"}})
    talk.hears(CDS, {"slow": "1"} if delta else {"a": "1", "slow": "1"}, accept=False)
    return talk


@both
@pytest.mark.parametrize("never", ["underivable", "refused"])
def test_r40_no_route_waits_for_a_cluster_that_will_not_be_sent(never: str, delta: bool) -> None:
    talk = settled(delta)
    if never == "refused":
        talk.becomes({CDS: {"a": "1", "bad": "1"}})
        assert talk.next() is not None
        talk.refuses(CDS)
        talk.silence()
    bad = {"bad": "1" if never == "refused" else BROKEN}
    talk.becomes({CDS: {"a": "1", "slow": "1", **(bad if never == "refused" else {})}})
    talk.hears(CDS, {"slow": "1"} if delta else {"a": "1", "slow": "1"}, accept=False)
    talk.becomes({CDS: {"a": "1", "slow": "1", **bad}, RDS: {"80": "to a as well"}})
    if never == "refused":
        talk.stream.reassign(talk.asker)
    talk.silence()
    talk.passes(seconds=5)
    talk.hears(RDS, {"80": "to a as well"})


@both
def test_r40_a_route_waits_for_a_cluster_that_comes_back_while_its_removal_is_on_its_way(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "x": "1"}})
    assert talk.next() is not None
    talk.accepts(CDS)
    talk.becomes({CDS: {"a": "1"}})
    talk.hears(CDS, {} if delta else {"a": "1"}, removed=("x",) if delta else (), accept=False)
    talk.becomes({CDS: {"a": "1", "x": "1"}, RDS: {"80": "to x"}})
    talk.silence()
    talk.passes(seconds=6)
    talk.silence()
    talk.accepts(CDS)
    talk.hears(CDS, {"x": "1"} if delta else {"a": "1", "x": "1"})
    talk.hears(RDS, {"80": "to x"})


@both
def test_r40_who_comes_back_with_routes_waits_for_a_cluster_behind_another(delta: bool) -> None:
    talk = settled(delta)
    had = {url: heard.versions for url, heard in talk.last.items()}
    talk.reconnect()
    talk.becomes({CDS: {"a": "1", "slow": "1"}})
    talk.says(CDS) if not delta else talk.delta_says(CDS, initial=had[CDS])
    talk.hears(CDS, {"slow": "1"} if delta else {"a": "1", "slow": "1"}, accept=False)
    talk.becomes({CDS: {"a": "1", "slow": "1", "new": "1"}, RDS: {"80": "to new"}})
    talk.says(RDS, "80") if not delta else talk.delta_says(RDS, "80", initial=had[RDS])
    talk.silence()
    talk.passes(seconds=6)
    talk.silence()
    talk.accepts(CDS)
    talk.hears(CDS, {"new": "1"} if delta else {"a": "1", "slow": "1", "new": "1"})
    talk.hears(RDS, {"80": "to new"})


@both
def test_r43_the_table_of_a_new_listener_waits_for_no_cluster_behind_another(delta: bool) -> None:
    talk = behind_another(delta)
    talk.becomes({CDS: {"a": "1", "slow": "1", "new": "1"}, RDS: {"80": "to a", "81": "to a"}})
    talk.says(RDS, "81")
    talk.silence()
    talk.passes(seconds=5)
    talk.hears(RDS, {"81": "to a"})


@pytest.mark.parametrize("leads", ["to a cluster behind another", "to others"])
def test_r40_virtual_hosts_wait_for_a_cluster_behind_another_if_one_of_them_leads_there(leads: str) -> None:
    world = {CDS: {"base-a": "1"}, VHDS: {"base80": "uses base-a"}}
    talk = OnDemandTalk(world=world, asker=replace(ON_DEMAND, on_demand=False))
    for url in (CDS, VHDS):
        talk.delta_says(url)
        talk.hears(url, world[url])
    talk.becomes({CDS: {"base-a": "1", "base-slow": "1"}})
    talk.hears(CDS, {"base-slow": "1"}, accept=False)
    hosts = {"base80": "uses base-a", "base81": "uses base-slow"}
    hosts["base80"] = "uses base-new" if leads == "to a cluster behind another" else "uses base-a as well"
    talk.becomes({CDS: {"base-a": "1", "base-slow": "1", "base-new": "1"}, VHDS: hosts})
    talk.delta_says(VHDS, "82/none")
    talk.silence()
    talk.passes(seconds=5)
    if leads == "to others":
        talk.hears(VHDS, hosts, missing=("82/none",))
    else:
        talk.silence()
        wake = talk.stream.wake_at()
        assert wake is not None
        assert wake > talk.now, "nothing is to be looked at before the cluster was sent, or for too long"
    talk.accepts(CDS)
    talk.hears(CDS, {"base-new": "1"})
    if leads != "to others":
        talk.hears(VHDS, hosts, missing=("82/none",))
    talk.silence()


def test_r32_on_demand_a_host_and_that_there_is_none_of_the_asked_name_come_together() -> None:
    world = {CDS: {"base": "1"}, VHDS: {"base80": "1"}}
    talk = opened(OnDemandTalk(world=world))
    talk.becomes({CDS: {"base": "1", "base-slow": "1"}})
    talk.hears(CDS, {"base-slow": "1"}, accept=False)
    talk.becomes({CDS: {**talk.world[CDS], "new": "1"}, VHDS: {"base80": "1", "80/new": "uses new"}})
    talk.delta_says(VHDS, "80/new:80")
    talk.passes(seconds=5)
    talk.silence()
    talk.accepts(CDS)
    talk.hears(CDS, {"new": "1"})
    talk.hears(VHDS, {"80/new": "uses new"}, missing=("80/new:80",))


def test_r62_the_first_virtual_hosts_come_though_a_cluster_of_theirs_waits_for_another() -> None:
    world = {CDS: {"base-a": "1", "base-slow": "1"}, VHDS: {"base80": "uses base-a"}}
    talk = OnDemandTalk(world=world, asker=replace(ON_DEMAND, on_demand=False))
    talk.delta_says(CDS)
    talk.hears(CDS, world[CDS], accept=False)
    talk.becomes({CDS: {**world[CDS], "base-new": "1"}, VHDS: {"base80": "uses base-new"}})
    talk.delta_says(VHDS)
    talk.silence()
    talk.passes(seconds=5)
    talk.hears(VHDS, {"base80": "uses base-new"})


@both
@pytest.mark.parametrize("news", ["of the one on its way", "of others"])
def test_r40_a_route_waits_for_clusters_that_are_never_answered_for_half_a_minute_at_most(
    delta: bool, news: str
) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "slow": "0"}})
    assert talk.next() is not None
    talk.becomes({LDS: {"l": "2"}})
    clusters = {"a": "1", "slow": "0"}
    for waited in range(100):
        heard = talk.next()
        if heard is not None and heard.type_url == LDS:
            break
        if waited % 4 == 1:
            clusters["slow" if news == "of the one on its way" else f"new{waited}"] = str(waited)
            talk.becomes({CDS: clusters})
        talk.passes(seconds=1)
    assert waited in ((5,) if news == "of the one on its way" else (30, 31))


@both
def test_r40_in_a_mesh_that_changes_all_the_time_each_listener_waits_for_its_cluster(delta: bool) -> None:
    talk = settled(delta)
    clusters = {"a": "1"}
    for number in range(20):
        clusters[f"c{number}"] = "1"
        talk.becomes({CDS: clusters, LDS: {"l": f"to c{number}"}})
        talk.hears(CDS, {f"c{number}": "1"} if delta else clusters, accept=False)
        talk.silence()
        talk.passes(seconds=2)
        talk.silence()
        talk.accepts(CDS)
        talk.hears(LDS, {"l": f"to c{number}"}, accept=False)
        talk.becomes({LDS: {"l": f"still to c{number}"}})
        talk.accepts(LDS)


@both
def test_r40_a_cluster_that_came_back_meanwhile_and_goes_again_waits_anew(delta: bool) -> None:
    talk = settled(delta)
    with_x = {CDS: {"a": "1", "x": "1"}, RDS: {"80": "to x"}}
    talk.becomes(with_x)
    talk.hears(CDS, {"x": "1"} if delta else with_x[CDS])
    talk.hears(RDS, {"80": "to x"})
    talk.becomes({CDS: {"a": "1"}, RDS: {"80": "to a"}})
    talk.hears(RDS, {"80": "to a"}, accept=False)
    talk.silence()
    talk.passes(seconds=1)
    talk.becomes({CDS: {"a": "1", "n": "1"}})
    talk.hears(CDS, {"n": "1"} if delta else {"a": "1", "n": "1", "x": "1"}, accept=False)
    talk.accepts(RDS)
    talk.silence()
    talk.becomes({CDS: {"a": "1", "n": "1", "x": "1"}, RDS: {"80": "to x"}})
    talk.passes(seconds=5)
    talk.hears(RDS, {"80": "to x"})
    talk.becomes({LDS: {"l": "2"}})
    talk.hears(LDS, {"l": "2"}, accept=False)
    talk.becomes({CDS: {"a": "1", "n": "1"}, RDS: {"80": "to a"}})
    talk.hears(RDS, {"80": "to a"}, accept=False)
    talk.accepts(CDS)
    talk.silence()


def test_r40_a_cluster_that_comes_back_and_cannot_be_derived_is_not_removed() -> None:
    talk = Talk(True, {CDS: {"a": "1", "b": "1"}})
    talk.delta_says(CDS)
    had = talk.hears(CDS, {"a": "1", "b": "1"}).versions
    talk.becomes({CDS: {"a": "1"}})
    talk.memo = talk.new_memo()
    talk.reconnect(to_another=True)
    talk.delta_says(CDS, initial=had)
    talk.silence()
    talk.passes(seconds=1)
    talk.becomes({CDS: {"a": "1", "b": BROKEN}})
    talk.silence()
    talk.passes(seconds=5)
    talk.silence()


@both
def test_r40_a_cluster_behind_one_that_is_never_answered_is_sent_and_then_its_route(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "1", "slow": "1"}})
    talk.hears(CDS, {"slow": "1"} if delta else {"a": "1", "slow": "1"}, accept=False)
    talk.becomes({CDS: {"a": "1", "slow": "1", "new": "1"}, RDS: {"80": "to new"}})
    talk.passes(seconds=29)
    talk.silence()
    talk.passes(seconds=1)
    talk.hears(CDS, {"new": "1", "slow": "1"} if delta else {"a": "1", "slow": "1", "new": "1"}, accept=False)
    talk.silence()
    talk.passes(seconds=5)
    talk.hears(RDS, {"80": "to new"})


@both
def test_r40_each_removal_waits_for_itself(delta: bool) -> None:
    world = {CDS: {"a": "1", "x": "1", "y": "1"}, RDS: {"80": "to y", "81": "to x"}}
    talk = Talk(delta, world)
    talk.says(CDS)
    talk.hears(CDS, world[CDS])
    talk.says(RDS, "80", "81")
    talk.hears(RDS, world[RDS])
    talk.becomes({CDS: {"a": "1", "y": "1"}, RDS: {"80": "to y", "81": "to a"}})
    talk.hears(RDS, {"81": "to a"}, accept=False)
    talk.silence()
    talk.passes(seconds=4.9)
    talk.becomes({CDS: {"a": "1"}, RDS: {"80": "to a", "81": "to a"}})
    talk.silence()
    talk.passes(seconds=0.2)
    talk.hears(CDS, {} if delta else {"a": "1", "y": "1"}, removed=("x",) if delta else ())
    talk.accepts(RDS)
    talk.hears(RDS, {"80": "to a"})
    talk.hears(CDS, {} if delta else {"a": "1"}, removed=("y",) if delta else ())
    talk.silence()


@both
def test_r41_endpoints_follow_a_changed_cluster_though_they_are_unchanged(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "2"}})
    talk.hears(CDS, {"a": "2"}, accept=False)
    talk.hears(EDS, {"a": "1"})
    talk.accepts(CDS)
    talk.silence()


@both
def test_r41_endpoints_follow_after_the_answer_to_those_on_their_way(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({EDS: {"a": "2"}})
    talk.hears(EDS, {"a": "2"}, accept=False)
    talk.becomes({CDS: {"a": "2"}})
    talk.hears(CDS, {"a": "2"}, accept=False)
    talk.silence()
    talk.accepts(EDS)
    talk.hears(EDS, {"a": "2"})


@both
def test_r43_a_route_table_that_a_new_listener_asks_for_is_sent_at_once(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({LDS: {"l": "1", "m": "1"}, RDS: {"80": "to a", "81": "to a"}})
    talk.hears(LDS, {"m": "1"} if delta else {"l": "1", "m": "1"}, accept=False)
    talk.says(RDS, "81")
    talk.hears(RDS, {"81": "to a"})


def test_r40_r62_virtual_hosts_wait_for_clusters_and_follow_their_tables() -> None:
    talk = settled(True)
    talk.delta_says(VHDS)
    talk.hears(VHDS)
    talk.becomes({CDS: {"a": "1", "b": "1"}, VHDS: {"80/b:80": "to b"}})
    talk.hears(CDS, {"b": "1"}, accept=False)
    talk.silence()
    talk.accepts(CDS)
    talk.hears(VHDS, {"80/b:80": "to b"})


@both
def test_a_slow_cluster_does_not_hold_endpoints(delta: bool) -> None:
    talk = settled(delta)
    talk.becomes({CDS: {"a": "2", "b": "1"}})
    talk.hears(CDS, {"a": "2", "b": "1"}, accept=False)
    talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {"a": "2"}})
    talk.hears(EDS, {"a": "2"})
