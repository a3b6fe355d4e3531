"""What many streams need is made for the first of them, and the others are handed the very same bytes."""

from __future__ import annotations

import pytest

from model.asker import Asker
from tests.protocol.conversation import CDS, EDS, LDS, Talk, World, hear

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])

WORLD: World = {CDS: {"a": "1", "b": "1"}, LDS: {"l": "1"}, EDS: {"a": "1", "b": "1"}}


def two_clients(delta: bool) -> tuple[Talk, Talk]:
    """Of one server, in different pods."""
    first = Talk(delta, WORLD)
    other = Asker(namespace="n", pod="other", service_account="s", labels={"app": "other"})
    return first, Talk(delta, WORLD, memo_of=first, asker=other)


def same_bytes(talks: tuple[Talk, Talk], type_url: str, *names: str) -> None:
    """The next responses to both are one object, with just these names in it. Both accept it."""
    sent = [talk.stream.next(talk.now) for talk in talks]
    assert sent[0] is not None
    assert sent[0] is sent[1]
    for talk in talks:
        heard = talk.last[type_url] = hear(sent[0], delta=talk.delta)
        assert (heard.type_url, sorted(heard.resources)) == (type_url, sorted(names))
        talk.accepts(type_url)


@both
def test_streams_that_need_the_same_are_handed_the_same_bytes(delta: bool) -> None:
    talks = two_clients(delta)
    for url, names in ((CDS, ("a", "b")), (LDS, ("l",))):
        for talk in talks:
            talk.says(url)
        same_bytes(talks, url, *names)
    for number in range(2, 5):
        changed = {CDS: {"a": str(number), "b": "1"}, LDS: {"l": str(number)}}
        talks[1].follows(talks[0], talks[0].becomes(changed))
        same_bytes(talks, CDS, *(("a",) if delta else ("a", "b")))
        same_bytes(talks, LDS, "l")
    for talk in talks:
        talk.silence()


@both
def test_streams_that_know_different_names_are_handed_the_same_bytes_of_what_both_need(delta: bool) -> None:
    talks = two_clients(delta)
    talks[0].says(EDS, "a", "b")
    talks[0].hears(EDS, {"a": "1", "b": "1"})
    talks[1].says(EDS, "b")
    talks[1].hears(EDS, {"b": "1"})
    for number in range(2, 5):
        talks[1].follows(talks[0], talks[0].becomes({EDS: {"a": "1", "b": str(number)}}))
        same_bytes(talks, EDS, "b")
    for talk in talks:
        talk.silence()
