"""Groups that are kept up to date equal those that are made afresh."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sources.grouping import Groups, differences, regroup


@dataclass(frozen=True, slots=True)
class Value:
    name: str
    rank: int
    keys: frozenset[str]


NAMES = st.sampled_from("abcde")
MAPPINGS = st.dictionaries(NAMES, st.tuples(st.integers(0, 2), st.frozensets(st.sampled_from("xyz")))).map(
    lambda found: {name: Value(name, rank, keys) for name, (rank, keys) in found.items()}
)


def after(groups: Groups[str, Value], before: dict[str, Value], now: dict[str, Value]) -> Groups[str, Value]:
    return regroup(
        groups, *differences(before, now), keys=lambda value: value.keys, order=lambda value: (value.rank, value.name)
    )


@given(st.lists(MAPPINGS, min_size=1, max_size=6))
def test_kept_up_to_date_is_as_made_afresh(steps: list[dict[str, Value]]) -> None:
    groups: Groups[str, Value] = {}
    before: dict[str, Value] = {}
    for step in steps:
        now = {name: before[name] if before.get(name) == value else value for name, value in step.items()}
        last, groups = groups, after(groups, before, now)
        fresh = after({}, {}, now)
        assert list(groups.items()) == list(fresh.items())
        assert list(groups) == sorted(groups)
        for key, values in groups.items():
            assert last.get(key) != values or last[key] is values
        if groups == last:
            assert groups is last
        before = now


@given(MAPPINGS, MAPPINGS)
def test_differences(before: dict[str, Value], now: dict[str, Value]) -> None:
    gone, come = differences(before, now)
    assert gone == [value for name, value in before.items() if now.get(name) is not value]
    assert come == [value for name, value in now.items() if before.get(name) is not value]
    assert differences(before, before) == ([], [])
