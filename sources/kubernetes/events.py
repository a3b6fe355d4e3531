"""Bytes of an API server to values: pages of a list, and the events of a watch. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from sources.kubernetes import protobuf

Json: TypeAlias = dict[str, Any]
"""A decoded object. Not checked: who reads it looks at the type of what it takes."""

_DEPTH_KEPT = 80
"""Deeper than a manifest may be (64), so that what is cut off is refused by the parser; far from Python's own bound."""
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]')


class Garbled(ValueError):
    """What came is not what an API server sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list. `version` is that of the whole list; `token` asks for the next part, '' after the last."""

    items: Sequence[Json]
    version: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """An object was added or changed."""

    item: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """An object is gone; `item` is what it was last."""

    item: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """Everything up to this version was sent."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The server cannot go on, or refused a request. `code` is an HTTP status."""

    code: int
    reason: str = ""
    message: str = ""


Event: TypeAlias = Changed | Deleted | Bookmark | Refusal


class LineSplitter:
    """Whole lines of a stream that comes in pieces. Raises Garbled for one that is longer than `limit` bytes."""

    def __init__(self, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that end in `piece`, without their ends."""
        head, newline, tail = piece.partition(b"\n")
        self._rest.append(head)
        self._size += len(head)
        if self._size > self._limit:
            raise Garbled(f"an event has more than {self._limit} bytes")
        if not newline:
            return []
        first = b"".join(self._rest)
        *lines, last = tail.split(b"\n")
        self._rest, self._size = [last], len(last)
        return [line for line in (first, *lines) if line.strip()]


def parse_page(body: bytes) -> Page:
    """One answer to a list request. Raises Garbled."""
    decoded = _decode(body)
    metadata, items = decoded.get("metadata"), decoded.get("items") or []
    if not isinstance(metadata, dict) or not isinstance(items, list):
        raise Garbled("the answer is no list of objects")
    return Page(
        items=[_checked(item) for item in items],
        version=str(metadata.get("resourceVersion") or ""),
        token=str(metadata.get("continue") or ""),
    )


def parse_event(line: bytes) -> Event:
    """One line of a watch. Raises Garbled."""
    decoded = _decode(line)
    kind, item = decoded.get("type"), decoded.get("object")
    if not isinstance(item, dict):
        raise Garbled(f"an event of type {str(kind)[:40]!r} without an object")
    match kind:
        case "ADDED" | "MODIFIED":
            return Changed(item=_checked(item))
        case "DELETED":
            return Deleted(item=_checked(item))
        case "BOOKMARK":
            return Bookmark(version=version_of(item))
        case "ERROR":
            return _refusal(item, 500)
        case _:
            raise Garbled(f"an event of type {str(kind)[:40]!r}")


def parse_refusal(status: int, body: bytes) -> Refusal:
    """What an answer other than 200 says."""
    try:
        return _refusal(_decode(body), status)
    except Garbled:
        return Refusal(code=status, message=body[:200].decode(errors="replace"))


def version_of(item: Mapping[str, Any]) -> str:
    """The `resourceVersion` of an object, '' if it has none."""
    metadata = item.get("metadata")
    return str(metadata.get("resourceVersion") or "") if isinstance(metadata, dict) else ""


def key_of(item: Mapping[str, Any]) -> str:
    """`NAMESPACE/NAME`, or `NAME` of what is in no namespace."""
    metadata = item["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def _checked(item: object) -> Json:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise Garbled("an object without a name")
    return item  # type: ignore[return-value]  # a mapping with a name, as was looked up above


def _refusal(item: Json, status: int) -> Refusal:
    code = item.get("code")
    return Refusal(
        code=code if isinstance(code, int) else status,
        reason=str(item.get("reason") or ""),
        message=str(item.get("message") or "")[:400],
    )


def _decode(text: bytes) -> Json:
    if text.startswith(protobuf.MAGIC):
        return _decode_protobuf(text)
    try:
        decoded = orjson.loads(text)
    except ValueError:
        decoded = _decode_oddities(text)
    if not isinstance(decoded, dict):
        raise Garbled("it is no JSON object")
    return decoded


def _decode_protobuf(body: bytes) -> Json:
    try:
        decoded = protobuf.decode(body)
    except ValueError as error:
        raise Garbled(str(error)) from None
    if decoded is None:
        raise Garbled("it is protobuf of a kind that was not asked for")
    return decoded


def _decode_oddities(text: bytes) -> object:
    """JSON that the faster decoder does not take: nested too deep, half a surrogate pair, numbers without bound."""
    try:
        try:
            return json.loads(text)
        except RecursionError:
            return json.loads(_cut_deep(text))
    except ValueError as error:
        raise Garbled(f"it is no JSON: {error}") from None


def _cut_deep(text: bytes) -> bytes:
    """`text` with null for whatever is nested deeper than _DEPTH_KEPT: one such object must not hide the others."""
    kept, depth, start = [], 0, 0
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
            if depth == _DEPTH_KEPT + 1:
                kept.append(text[start : token.start()] + b"null")
        elif mark in (b"}", b"]"):
            if depth == _DEPTH_KEPT + 1:
                start = token.end()
            depth -= 1
    kept.append(text[start:])
    return b"".join(kept)
