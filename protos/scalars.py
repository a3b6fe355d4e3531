"""From one Python value to its bytes on the wire, one function a protobuf type.

Every function rejects what does not fit its type (ValueError for a number out of range, TypeError or
AttributeError for another kind of value): a wrong number must not become a different one on the wire.
Source: the protobuf encoding guide, https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import betterproto2 as bp

SMALL = 1 << 14
"""Numbers below this have their varint in `VARINTS`: lengths, ports, enums and weights nearly always do."""


def _spell_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


VARINTS: tuple[bytes, ...] = tuple(_spell_varint(value) for value in range(SMALL))
"""The varint of every number from 0 to SMALL - 1."""


def varint(value: int) -> bytes:
    """The varint of a number that is known to be in 0..2**64-1, such as a length."""
    return VARINTS[value] if value < SMALL else _spell_varint(value)


def _integer(name: str, low: int, high: int) -> Callable[[int], bytes]:
    def encode(value: int) -> bytes:
        if 0 <= value < SMALL:
            return VARINTS[value]
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range for {name}")
        # A negative number is sent as its 64-bit two's complement, whatever the width of its type.
        return _spell_varint(value & 0xFFFF_FFFF_FFFF_FFFF)

    return encode


def _zigzag(name: str, bits: int) -> Callable[[int], bytes]:
    limit = 1 << (bits - 1)

    def encode(value: int) -> bytes:
        if not -limit <= value < limit:
            raise ValueError(f"{value} is out of range for {name}")
        return varint(value << 1 if value >= 0 else (value << 1) ^ -1)

    return encode


def _boolean(value: bool) -> bytes:
    if value is not True and value is not False:
        raise TypeError(f"a bool is wanted, not a {type(value).__name__}")
    return b"\x01" if value else b"\x00"


def _delimited_string(value: str) -> bytes:
    data = value.encode()
    return varint(len(data)) + data


def _delimited_bytes(value: bytes) -> bytes:
    return varint(len(value)) + value


ENCODERS: Mapping[str, Callable[[Any], bytes]] = {
    bp.TYPE_BOOL: _boolean,
    bp.TYPE_ENUM: _integer("enum", -(1 << 31), (1 << 31) - 1),
    bp.TYPE_INT32: _integer("int32", -(1 << 31), (1 << 31) - 1),
    bp.TYPE_INT64: _integer("int64", -(1 << 63), (1 << 63) - 1),
    bp.TYPE_UINT32: _integer("uint32", 0, (1 << 32) - 1),
    bp.TYPE_UINT64: _integer("uint64", 0, (1 << 64) - 1),
    bp.TYPE_SINT32: _zigzag("sint32", 32),
    bp.TYPE_SINT64: _zigzag("sint64", 64),
    bp.TYPE_FIXED32: struct.Struct("<I").pack,
    bp.TYPE_FIXED64: struct.Struct("<Q").pack,
    bp.TYPE_SFIXED32: struct.Struct("<i").pack,
    bp.TYPE_SFIXED64: struct.Struct("<q").pack,
    bp.TYPE_FLOAT: struct.Struct("<f").pack,
    bp.TYPE_DOUBLE: struct.Struct("<d").pack,
    bp.TYPE_STRING: _delimited_string,
    bp.TYPE_BYTES: _delimited_bytes,
}
"""How a value of each scalar type is written after its key; strings and bytes carry their length."""

INLINE: frozenset[str] = frozenset({bp.TYPE_ENUM, bp.TYPE_INT32, bp.TYPE_INT64, bp.TYPE_UINT32, bp.TYPE_UINT64})
"""The types whose small values are just `VARINTS[value]`."""


def wire_type(proto_type: str) -> int:
    """The three bits that tell a reader how a value of this type is delimited."""
    match proto_type:
        case bp.TYPE_DOUBLE | bp.TYPE_FIXED64 | bp.TYPE_SFIXED64:
            return 1
        case bp.TYPE_STRING | bp.TYPE_BYTES | bp.TYPE_MESSAGE | bp.TYPE_MAP:
            return 2
        case bp.TYPE_FLOAT | bp.TYPE_FIXED32 | bp.TYPE_SFIXED32:
            return 5
        case _ if proto_type in ENCODERS:
            return 0
        case _:
            raise NotImplementedError(f"no wire type is known for {proto_type!r}")


def key(number: int, proto_type: str) -> bytes:
    """The key in front of a field's value."""
    return varint(number << 3 | wire_type(proto_type))


def wrapped(proto_type: str) -> Callable[[Any], bytes]:
    """An encoder of google.protobuf wrappers (`UInt32Value`, ...) from bare values; it adds the length."""
    scalar = ENCODERS[proto_type]
    tag = key(1, proto_type)

    def encode(value: object) -> bytes:
        data = scalar(value)
        return varint(len(tag) + len(data)) + tag + data if value else b"\x00"

    return encode


_MAX_DURATION_SECONDS = 315_576_000_000  # google/protobuf/duration.proto
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_int64 = ENCODERS[bp.TYPE_INT64]
_int32 = ENCODERS[bp.TYPE_INT32]


def _seconds_and_nanos(seconds: int, nanos: int) -> bytes:
    data = b"\x08" + _int64(seconds) if seconds else b""
    if nanos:
        data += b"\x10" + _int32(nanos)
    return VARINTS[len(data)] + data


def duration(value: timedelta) -> bytes:
    """A google.protobuf.Duration, with its length.

    Raises ValueError beyond the 10,000 years that the type allows. A negative span with a fraction is
    written as duration.proto asks, both parts negative, where the library writes -0.5 s as 0.5 s; and
    centuries keep their microseconds, where the library loses them in a float.
    """
    seconds, micros = value.days * 86_400 + value.seconds, value.microseconds
    if seconds < 0 and micros:
        seconds, micros = seconds + 1, micros - 1_000_000
    if not -_MAX_DURATION_SECONDS <= seconds <= _MAX_DURATION_SECONDS:
        raise ValueError(f"{value} is out of range for google.protobuf.Duration")
    return _seconds_and_nanos(seconds, micros * 1_000)


def timestamp(value: datetime) -> bytes:
    """A google.protobuf.Timestamp, with its length. Raises ValueError for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    since = value - _EPOCH
    return _seconds_and_nanos(since.days * 86_400 + since.seconds, since.microseconds * 1_000)
