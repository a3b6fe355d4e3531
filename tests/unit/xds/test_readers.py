"""A change visits the streams that read something of it, and those that do not rest."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protos.type_urls import CLUSTER, ENDPOINT
from xds import readers as module
from xds.memo import Marks
from xds.readers import ASKED, Readers, Reads


def reads(type_url: str, *names: str) -> tuple[Reads, ...]:
    return ((type_url, frozenset(names)),)


def test_who_rests_is_visited_for_what_it_reads_alone() -> None:
    readers = Readers(generation=1)
    readers.rests("one", reads(CLUSTER, "a", "b"))
    readers.rests("another", reads(CLUSTER, "b", "c"))
    readers.rests("asking", reads(ASKED, "a"))
    assert readers.concerned(Marks(names={CLUSTER: frozenset({"a", "x"})})) == ["one"]
    assert sorted(readers.concerned(Marks(names={CLUSTER: frozenset({"b"})}))) == ["another", "one"]
    assert readers.concerned(Marks(names={ENDPOINT: frozenset({"a"})})) == []
    assert readers.concerned(Marks(asked=frozenset({"a"}))) == ["asking"]
    assert readers.concerned(Marks()) == []


def test_who_is_busy_is_visited_with_every_change_and_what_it_read_counts_no_more() -> None:
    readers = Readers(generation=1)
    readers.rests("one", reads(CLUSTER, "a"))
    readers.stirs("one")
    assert readers.concerned(Marks()) == ["one"]
    readers.rests("one", reads(CLUSTER, "b"))
    assert readers.concerned(Marks(names={CLUSTER: frozenset({"a"})})) == []
    assert readers.concerned(Marks(names={CLUSTER: frozenset({"b"})})) == ["one"]


@pytest.mark.parametrize("marks", [Marks(everything=True), Marks(scopes=frozenset({CLUSTER}))], ids=["all", "scopes"])
def test_what_may_concern_anybody_visits_those_too_who_read_nothing(marks: Marks) -> None:
    readers = Readers(generation=1)
    readers.rests("one", ())
    readers.rests("another", reads(CLUSTER, "a"))
    readers.stirs("third")
    assert sorted(readers.concerned(marks)) == ["another", "one", "third"]


def test_who_reads_very_much_is_visited_with_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 3)
    readers = Readers(generation=1)
    readers.rests("one", reads(CLUSTER, "a"))
    readers.stirs("one")
    readers.rests("one", reads(CLUSTER, *"abcd"))
    assert readers.concerned(Marks()) == ["one"]
    readers.rests("one", reads(CLUSTER, *"abc"))
    assert readers.concerned(Marks()) == []


def test_names_are_noted_up_to_a_bound_that_alike_streams_count_once_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IN_ALL", 3)
    readers = Readers(generation=1)
    for stream, names in (("one", "ab"), ("alike", "ab"), ("other", "cd")):
        readers.stirs(stream)
        readers.rests(stream, reads(CLUSTER, *names))
    assert readers.concerned(Marks()) == ["other"]
    readers.forget("one")
    readers.forget("alike")
    readers.rests("other", reads(CLUSTER, *"cd"))
    assert readers.concerned(Marks()) == []


names = st.sampled_from("abcdefg")
sets = st.frozensets(names, max_size=4)


class Machine(RuleBasedStateMachine):
    """Against a plain account of who rests with what."""

    def __init__(self) -> None:
        super().__init__()
        self.readers = Readers(generation=1)
        self.resting: dict[str, tuple[Reads, ...]] = {}
        self.busy: set[str] = set()

    @rule(
        stream=st.sampled_from("123"), reads=st.lists(st.tuples(st.sampled_from([CLUSTER, ASKED]), sets), unique=True)
    )
    def rests(self, stream: str, reads: list[Reads]) -> None:
        self.readers.rests(stream, tuple(reads))
        self.busy.discard(stream)
        self.resting[stream] = tuple(reads)

    @rule(stream=st.sampled_from("123"))
    def stirs(self, stream: str) -> None:
        self.readers.stirs(stream)
        self.resting.pop(stream, None)
        self.busy.add(stream)

    @rule(stream=st.sampled_from("123"))
    def ends(self, stream: str) -> None:
        self.readers.forget(stream)
        self.resting.pop(stream, None)
        self.busy.discard(stream)

    @rule(clusters=sets, asked=sets)
    def changes(self, clusters: frozenset[str], asked: frozenset[str]) -> None:
        concerned = self.readers.concerned(Marks(names={CLUSTER: clusters}, asked=asked))
        assert len(concerned) == len(set(concerned))
        certain = {
            stream
            for stream, reads in self.resting.items()
            if any(names & (clusters if type_url == CLUSTER else asked) for type_url, names in reads)
        }
        assert certain | self.busy <= set(concerned)
        assert set(concerned) <= certain | self.busy, "somebody is visited for nothing"

    @invariant()
    def nothing_is_left(self) -> None:
        if not (self.resting or self.busy):
            assert not self.readers._streams
            assert not any(self.readers._by_name.values())
            assert not self.readers._noted


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
