"""Go's durations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
        ("1s", timedelta(seconds=1)),
        ("1h2m3.5s", timedelta(hours=1, minutes=2, seconds=3.5)),
        ("300ms", timedelta(milliseconds=300)),
        ("1.5h", timedelta(minutes=90)),
        (".5s", timedelta(milliseconds=500)),
        ("5.s", timedelta(seconds=5)),
        ("7us", timedelta(microseconds=7)),
        ("7µs", timedelta(microseconds=7)),
        ("7μs", timedelta(microseconds=7)),
        ("1999ns", timedelta(microseconds=1)),
        ("-1s", timedelta(seconds=-1)),
        ("+1s", timedelta(seconds=1)),
        ("1s1h", timedelta(hours=1, seconds=1)),
    ],
)
def test_what_go_accepts(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "1.5",
        "s",
        ".s",
        "1 s",
        "1d",
        "1S",
        "one",
        "1s ",
        "--1s",
        "1e3s",
        "1,5s",
        "٣s",
        "3000000h",
        "-",
        "1" * 300 + "s",
    ],
)
def test_what_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration|is longer"):
        parse_duration(text)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from([("h", 3600), ("m", 60), ("s", 1)])), min_size=1, max_size=5
    )
)
def test_parts_add_up(parts: list[tuple[int, tuple[str, int]]]) -> None:
    text = "".join(f"{count}{unit}" for count, (unit, _) in parts)
    seconds = sum(count * size for count, (_, size) in parts)
    assert parse_duration(text) == timedelta(seconds=seconds)


@given(st.integers(0, 10**15))
def test_fractions_are_exact_to_the_microsecond(microseconds: int) -> None:
    whole, rest = divmod(microseconds, 10**6)
    assert parse_duration(f"{whole}.{rest:06d}s") == timedelta(microseconds=microseconds)


@given(st.text(max_size=12))
def test_any_text_is_a_span_or_refused(text: str) -> None:
    try:
        assert isinstance(parse_duration(text), timedelta)
    except ValueError:
        assert text != "0"
