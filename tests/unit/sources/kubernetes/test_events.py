"""Bytes to pages and events, whatever comes."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sources.kubernetes.events import (
    Bookmark,
    Changed,
    Deleted,
    Garbled,
    LineSplitter,
    Refusal,
    parse_event,
    parse_page,
    parse_refusal,
)

ITEM = {"metadata": {"name": "a", "resourceVersion": "7"}}


@given(st.lists(st.binary(min_size=1, max_size=9).filter(lambda line: b"\n" not in line and line.strip())), st.data())
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    splitter, found, rest = LineSplitter(), [], text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += splitter.feed(rest[:size])
        rest = rest[size:]
    assert found == lines


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    splitter = LineSplitter(limit=10)
    splitter.feed(b"123456")
    with pytest.raises(Garbled):
        splitter.feed(b"123456")


@pytest.mark.parametrize(
    ("kind", "item", "event"),
    [
        ("ADDED", ITEM, Changed(item=ITEM)),
        ("MODIFIED", ITEM, Changed(item=ITEM)),
        ("DELETED", ITEM, Deleted(item=ITEM)),
        ("BOOKMARK", {"metadata": {"resourceVersion": "9"}}, Bookmark(version="9")),
        ("ERROR", {"code": 410, "reason": "Expired", "message": "m"}, Refusal(code=410, reason="Expired", message="m")),
    ],
)
def test_events(kind: str, item: object, event: object) -> None:
    assert parse_event(json.dumps({"type": kind, "object": item}).encode()) == event


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"<html>", b'{"type": "ADDED"}', b'{"type": "ADDED", "object": {}}', b'{"type": "X", "object": {}}'],
)
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(Garbled):
        parse_event(line)


def test_pages() -> None:
    page = parse_page(json.dumps({"metadata": {"resourceVersion": "5", "continue": "x"}, "items": [ITEM]}).encode())
    assert (page.version, page.token, list(page.items)) == ("5", "x", [ITEM])
    assert parse_page(b'{"metadata": {}, "items": null}').items == []
    with pytest.raises(Garbled):
        parse_page(b'{"items": []}')


def test_a_refusal_without_a_status_is_told_in_its_own_words() -> None:
    assert parse_refusal(503, b"upstream is away") == Refusal(code=503, message="upstream is away")


@given(st.integers(1, 10_000), st.booleans())
@example(100_000, True)
@example(100_000, False)
def test_any_depth_can_be_read(depth: int, lists: bool) -> None:
    begin, end = (b"[", b"]") if lists else (b'{"a":', b"}")
    deep = begin * depth + b'"}]"' + end * depth
    page = parse_page(b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"},"spec":%s},%s]}' % (
        deep, json.dumps(ITEM).encode(),
    ))  # fmt: skip
    assert page.items[1] == ITEM


@pytest.mark.parametrize(
    ("text", "value"),
    [(rb'"half \ud800"', "half \ud800"), (b"1e400", float("inf")), (b"123456789012345678901", 123456789012345678901.0)],
)
def test_oddities_of_one_object_do_not_hide_the_others(text: bytes, value: object) -> None:
    page = parse_page(b'{"metadata":{},"items":[{"metadata":{"name":"a"},"spec":%s}]}' % text)
    assert page.items[0]["spec"] == value
