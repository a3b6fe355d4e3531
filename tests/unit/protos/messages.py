"""Hypothesis strategies for any message class, made from the class's own field metadata."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import betterproto2 as bp
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from protos.metadata import metadata

MOST_FIELDS = 6
"""At most so many fields of one message are set; which ones differs from example to example."""


def _integers(low: int, high: int) -> SearchStrategy[int]:
    edges = [n for n in (low, -1, 0, 1, 127, 128, 255, 16383, 16384, high) if low <= n <= high]
    return st.sampled_from(edges) | st.integers(low, high)


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["x" * 127, "x" * 128, "é" * 64, "y" * 16383, "y" * 16384]
)
_bytes = st.binary(max_size=6) | st.sampled_from([b"\x00" * 128, b"\xff" * 16384])

_SCALARS: dict[str, SearchStrategy[Any]] = {
    bp.TYPE_BOOL: st.booleans(),
    bp.TYPE_INT32: _integers(-(1 << 31), (1 << 31) - 1),
    bp.TYPE_SINT32: _integers(-(1 << 31), (1 << 31) - 1),
    bp.TYPE_SFIXED32: _integers(-(1 << 31), (1 << 31) - 1),
    bp.TYPE_INT64: _integers(-(1 << 63), (1 << 63) - 1),
    bp.TYPE_SINT64: _integers(-(1 << 63), (1 << 63) - 1),
    bp.TYPE_SFIXED64: _integers(-(1 << 63), (1 << 63) - 1),
    bp.TYPE_UINT32: _integers(0, (1 << 32) - 1),
    bp.TYPE_FIXED32: _integers(0, (1 << 32) - 1),
    bp.TYPE_UINT64: _integers(0, (1 << 64) - 1),
    bp.TYPE_FIXED64: _integers(0, (1 << 64) - 1),
    bp.TYPE_FLOAT: st.floats(width=32) | st.just(-0.0),
    bp.TYPE_DOUBLE: st.floats() | st.just(-0.0),
    bp.TYPE_STRING: _text,
    bp.TYPE_BYTES: _bytes,
}

# Spans with a fraction are kept positive, and all of them below where a float drops microseconds: outside,
# the library's own encoding is wrong (see `protos.scalars.duration`, whose tests cover that).
_durations = st.builds(
    timedelta, seconds=st.integers(0, 10**8) | st.just(0), microseconds=st.integers(0, 999_999) | st.just(0)
) | st.builds(timedelta, seconds=st.integers(-(10**8), 0))
_timestamps = st.datetimes(timezones=st.just(UTC))


def _value(meta: bp.FieldMetadata, cls: Any, depth: int) -> SearchStrategy[Any]:
    """One value of a field, of the class `cls` where it is a message or an enum."""
    if meta.proto_type == bp.TYPE_ENUM:
        known = st.sampled_from(list(cls))
        return known | st.sampled_from([-1, 77, 20_000, (1 << 31) - 1]).map(cls)
    if meta.proto_type != bp.TYPE_MESSAGE:
        return _SCALARS[meta.proto_type]
    if meta.unwrap is None:
        return messages(cls, depth - 1)
    match meta.unwrap().__name__:
        case "Duration":
            return _durations
        case "Timestamp":
            return _timestamps
        case _:
            return _SCALARS[metadata(meta.unwrap()).meta_by_field_name["value"].proto_type]


@st.composite
def messages(draw: DrawFn, cls: type[bp.Message], depth: int = 3) -> Any:
    """A valid message of the class, nested at most `depth` levels below it."""
    about = metadata(cls)
    names = list(about.meta_by_field_name)
    if depth <= 0:
        names = [name for name in names if about.meta_by_field_name[name].proto_type != bp.TYPE_MESSAGE]
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=MOST_FIELDS)) if names else []
    fields: dict[str, Any] = {}
    groups: set[str] = set()
    for name in chosen:
        meta = about.meta_by_field_name[name]
        if meta.group:
            if meta.group in groups:
                continue
            groups.add(meta.group)
        if meta.map_meta:
            key, value = meta.map_meta
            value_cls = about.cls_by_field[f"{name}.value"]
            strategy: SearchStrategy[Any] = st.dictionaries(
                _SCALARS[key.proto_type], _value(value, value_cls, depth), max_size=2
            )
        else:
            strategy = _value(meta, about.cls_by_field[name], depth)
            if meta.repeated:
                strategy = st.lists(strategy, max_size=3)
        fields[name] = draw(strategy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # deprecated fields have an encoding too
        return cls(**fields)


_SAMPLES: dict[str, Any] = {
    **dict.fromkeys(bp.ALL_INT_TYPES, 300),
    bp.TYPE_BOOL: True,
    bp.TYPE_FLOAT: 0.5,
    bp.TYPE_DOUBLE: 0.1,
    bp.TYPE_STRING: "é",
    bp.TYPE_BYTES: b"\xff\x00",
}
_WRAPPED_SAMPLES = {
    "Duration": timedelta(seconds=3, milliseconds=250),
    "Timestamp": datetime(2001, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
}


def _sample(meta: bp.FieldMetadata, cls: Any) -> Any:
    if meta.proto_type == bp.TYPE_ENUM:
        return max(cls)
    if meta.proto_type != bp.TYPE_MESSAGE:
        return _SAMPLES[meta.proto_type]
    if meta.unwrap is None:
        return cls()
    wrapper = meta.unwrap()
    if wrapper.__name__ in _WRAPPED_SAMPLES:
        return _WRAPPED_SAMPLES[wrapper.__name__]
    return _SAMPLES[metadata(wrapper).meta_by_field_name["value"].proto_type]


def one_of_each_field(cls: type[bp.Message]) -> Iterator[bp.Message]:
    """For every field of the class, a message in which it alone is set, twice if it is repeated."""
    about = metadata(cls)
    for name, meta in about.meta_by_field_name.items():
        if meta.map_meta:
            key, value = meta.map_meta
            sample: Any = {_SAMPLES[key.proto_type]: _sample(value, about.cls_by_field[f"{name}.value"])}
        else:
            sample = _sample(meta, about.cls_by_field[name])
            if meta.repeated:
                sample = [sample, sample]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield cls(**{name: sample})
