"""Messages to protobuf's JSON form: what the library's `to_dict` gives, several times faster.

The library resolves the type hints of a class for every message anew, and validates every level again. Here what a
class needs is looked up once.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache, partial
from typing import Any as AnyValue

import betterproto2 as bp
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.message_pool import default_message_pool

from protos.metadata import metadata

_ToJson = Callable[[AnyValue], AnyValue]
_INT64 = (bp.TYPE_INT64, bp.TYPE_UINT64, bp.TYPE_SINT64, bp.TYPE_FIXED64, bp.TYPE_SFIXED64)


def to_json_value(message: bp.Message) -> AnyValue:
    """The value that `json.dumps` takes; a mapping, but for messages such as `Duration`, which are a text.

    What is packed into an `Any` is unfolded; KeyError for a class that is not Envoy's.
    """
    if type(message) is Any:
        return _unfold(message)
    if type(message).to_dict is not bp.Message.to_dict:
        return message.to_dict()
    found = {}
    for name, cased, presence, convert in _fields(type(message)):
        value = getattr(message, name)
        if value is not None if presence else value:
            found[cased] = convert(value)
    return found


def _unfold(packed: Any) -> dict[str, AnyValue]:
    if not packed.type_url:
        return {"@type": ""}
    cls = default_message_pool.url_to_type[packed.type_url]
    inner = to_json_value(cls.parse(packed.value))
    if cls.to_dict is not bp.Message.to_dict:
        inner = {"value": inner}
    return {"@type": packed.type_url, **inner}


@cache
def _fields(cls: type[bp.Message]) -> tuple[tuple[str, str, bool, _ToJson], ...]:
    """For each field its name here and in JSON, whether its zero is sent too, and what makes JSON of its value."""
    found = []
    for name, meta in metadata(cls).meta_by_field_name.items():
        cased = str(bp.Casing.CAMEL(name)).rstrip("_")
        presence = bool(meta.optional) or (meta.proto_type == bp.TYPE_MESSAGE and not meta.repeated)
        found.append((name, cased, presence, _converter(meta)))
    return tuple(found)


def _converter(meta: bp.FieldMetadata) -> _ToJson:
    if meta.proto_type == bp.TYPE_MAP:
        assert meta.map_meta is not None
        key, value = (_of_one(part) for part in meta.map_meta)
        return partial(_of_map, key, value)
    one = _of_one(meta)
    return partial(_of_list, one) if meta.repeated else one


def _of_one(meta: bp.FieldMetadata) -> _ToJson:
    match meta.proto_type:
        case bp.TYPE_MESSAGE if meta.unwrap is not None:
            return partial(_of_wrapped, meta.unwrap())
        case bp.TYPE_MESSAGE:
            return to_json_value
        case bp.TYPE_ENUM:
            return _of_enum
        case bp.TYPE_BYTES:
            return _of_bytes
        case bp.TYPE_FLOAT | bp.TYPE_DOUBLE:
            return _of_float
        case proto_type if proto_type in _INT64:
            return str
        case _:
            return _as_it_is


def _as_it_is(value: AnyValue) -> AnyValue:
    return value


def _of_list(one: _ToJson, values: AnyValue) -> AnyValue:
    return [one(value) for value in values]


def _of_map(key: _ToJson, value: _ToJson, values: AnyValue) -> AnyValue:
    return {key(name): value(item) for name, item in values.items()}


def _of_wrapped(wrapper: AnyValue, value: AnyValue) -> AnyValue:
    return wrapper.from_wrapped(value).to_dict()


def _of_enum(value: AnyValue) -> AnyValue:
    return (value.proto_name or value.name) if value.name else value.value


def _of_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _of_float(value: float) -> float | str:
    if value != value:
        return "NaN"
    return ("Infinity" if value > 0 else "-Infinity") if value in (float("inf"), float("-inf")) else value
