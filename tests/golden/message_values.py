"""Messages as plain values, the way Envoy's own YAML writes them, with what is packed into an `Any` unfolded."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeAlias

import betterproto2
from envoy_data_plane.google.protobuf import Any, Struct, Value
from envoy_data_plane.message_pool import default_message_pool

from protos.metadata import metadata

Plain: TypeAlias = "Mapping[str, Plain] | list[Plain] | str | int | float | bool | None"


def to_plain(message: betterproto2.Message) -> Plain:
    """Every field that is set, in the order of the message's definition."""
    match message:
        case Any(type_url=type_url, value=value):
            inner = to_plain(default_message_pool.url_to_type[type_url].parse(value))
            return {"@type": type_url.removeprefix("type.googleapis.com/"), **_mapping(inner)}
        case Struct(fields=fields):
            return {name: _struct_value(value) for name, value in fields.items()}
    found = {name: getattr(message, name) for name in metadata(type(message)).meta_by_field_name}
    optional = {name for name, meta in metadata(type(message)).meta_by_field_name.items() if meta.optional}
    return {
        name: _plain(value) for name, value in found.items() if (value is not None if name in optional else bool(value))
    }


def _plain(value: object) -> Plain:
    match value:
        case betterproto2.Message():
            return to_plain(value)
        case betterproto2.Enum():
            return value.name or value.value
        case bool() | int() | float() | str():
            return value
        case bytes():
            return _text(value)
        case timedelta():
            return f"{value.total_seconds():g}s"
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case _:
            raise TypeError(f"no plain form for a {type(value).__name__}")


def _struct_value(value: Value) -> Plain:
    if value.struct_value is not None:
        return to_plain(value.struct_value)
    if value.list_value is not None:
        return [_struct_value(item) for item in value.list_value.values]
    return next((item for item in (value.string_value, value.number_value, value.bool_value) if item is not None), None)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _mapping(value: Plain) -> Mapping[str, Plain]:
    if not isinstance(value, Mapping):
        raise TypeError("a message is a mapping")
    return value
