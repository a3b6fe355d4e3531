"""List and watch without I/O: versions that never go back, gaps that a list closes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.kubernetes.collection import Change, Collection, Lost, Next, WentBack
from sources.kubernetes.events import Bookmark, Changed, Deleted, Json, Refusal


def item(name: str, version: int) -> Json:
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version)}}


def listed(version: int = 10, **names: int) -> Collection:
    collection = Collection()
    collection.begin_list(str(version))
    collection.apply_list({f"shop/{name}": str(each) for name, each in names.items()}, str(version))
    return collection


def test_a_list_says_what_vanished() -> None:
    collection = listed(a=3, b=4)
    assert collection.next is Next.WATCH
    collection.distrust()
    assert collection.next is Next.LIST
    collection.begin_list("20")
    assert collection.apply_list({"shop/b": "4", "shop/c": "15"}, "20") == ("shop/a",)
    assert dict(collection.versions) == {"shop/b": "4", "shop/c": "15"}


def test_events_move_it_on() -> None:
    collection = listed()
    assert collection.apply_event(Changed(item=item("a", 11))) == Change(key="shop/a", item=item("a", 11))
    assert collection.apply_event(Deleted(item=item("a", 12))) == Change(key="shop/a", item=None)
    assert collection.apply_event(Bookmark(version="30")) is None
    assert (collection.version, dict(collection.versions)) == ("30", {})


@pytest.mark.parametrize("event", [Changed(item=item("a", 10)), Deleted(item=item("a", 9)), Bookmark(version="3")])
def test_what_is_from_before_is_not_applied(event: Changed | Deleted | Bookmark) -> None:
    collection = listed(a=8)
    assert collection.apply_event(event) is None
    assert (collection.version, dict(collection.versions)) == ("10", {"shop/a": "8"})


def test_what_says_no_version_does_not_take_ours_away() -> None:
    # A watch from version '' would begin with what is there now: what was deleted in the gap would stay for ever.
    collection = listed(a=8)
    nameless = {"metadata": {"name": "a", "namespace": "shop"}}
    assert collection.apply_event(Bookmark(version="")) is None
    assert collection.apply_event(Changed(item=nameless)) == Change(key="shop/a", item=nameless)
    assert collection.version == "10"


@pytest.mark.parametrize(("code", "expired"), [(410, True), (500, False)])
def test_an_error_event_ends_a_watch(code: int, expired: bool) -> None:
    collection = listed()
    with pytest.raises(Lost) as lost:
        collection.apply_event(Refusal(code=code, message="no"))
    assert (lost.value.expired, collection.next) == (expired, Next.LIST)


@pytest.mark.parametrize(
    ("refusal", "following"),
    [
        (Refusal(code=410), Next.LIST),
        (Refusal(code=504, message="Timeout: Too large resource version: 9, current: 8"), Next.LIST),
        (Refusal(code=429, message="slow down"), Next.WATCH),
        (Refusal(code=403), Next.WATCH),
    ],
)
def test_a_watch_that_is_refused(refusal: Refusal, following: Next) -> None:
    collection = listed()
    with contextlib.suppress(Lost):
        collection.apply_refusal(refusal)
    assert collection.next is following


def test_a_list_that_goes_back_is_believed_the_second_time() -> None:
    collection = listed(version=100, a=50)
    with pytest.raises(WentBack):
        collection.begin_list("20")
    collection.begin_list("21")
    assert collection.apply_list({"shop/b": "5"}, "21") == ("shop/a",)
    assert collection.version == "21"
    with pytest.raises(WentBack):
        collection.begin_list("20")


def test_a_server_that_is_behind_has_another_history() -> None:
    collection = listed(version=100)
    collection.apply_probe("100")
    assert collection.next is Next.WATCH
    collection.apply_probe("99")
    assert collection.next is Next.LIST


def test_versions_that_are_no_numbers_are_followed() -> None:
    collection = Collection()
    collection.begin_list("b")
    collection.apply_list({}, "b")
    assert collection.apply_event(Changed(item={"metadata": {"name": "x", "resourceVersion": "a"}})) is not None
    collection.begin_list("0")


WRITES = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20)


@given(WRITES, st.integers(0, 20), st.integers(0, 5))
def test_with_repeated_events_it_is_what_the_server_has(writes: list[tuple[str, bool]], start: int, again: int) -> None:
    """Whatever the list had already, and however far back a watch begins again."""
    history = []
    server: list[dict[str, str]] = [{}]
    for version, (name, there) in enumerate(writes, 1):
        event = Changed(item=item(name, version)) if there else Deleted(item=item(name, version))
        history.append(event)
        after = {key: each for key, each in server[-1].items() if key != f"shop/{name}"}
        server.append({**after, f"shop/{name}": str(version)} if there else after)
    begin = min(start, len(writes))
    collection = Collection()
    collection.begin_list(str(begin))
    collection.apply_list(server[begin], str(begin))
    for event in history[max(0, begin - again) :]:
        collection.apply_event(event)
    assert dict(collection.versions) == server[-1]
    assert collection.has(server[-1], str(len(writes)))
