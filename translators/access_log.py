"""Access logs to the sidecar's own output, in text or JSON."""

from __future__ import annotations

import json
import re

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import DataSource, JsonFormatOptions, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StderrAccessLog, StdoutAccessLog
from envoy_data_plane.google.protobuf import ListValue, NullValue, Struct, Value

from model.settings import MeshSettings
from protos.encoder import to_any

FIELDS: tuple[tuple[str, str], ...] = (
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
)
"""The fields of Istio's default format, in its order. Source: Istio, "Envoy Access Logs", default format. It has a
cluster's own name, which is its service's, but for those learnt by address: here is what Envoy counts it under."""

_GROUPS = ("method", "path", "protocol")
_QUOTED = frozenset(
    (
        "upstream_transport_failure_reason",
        "x_forwarded_for",
        "user_agent",
        "request_id",
        "authority",
        "upstream_host",
    )
)
_LITERAL_PERCENT = re.compile(r"%%|%[A-Z0-9_]+(?:\([^()]*\))?(?::[0-9]+)?%")


def build_access_logs(settings: MeshSettings) -> list[AccessLog]:
    """The mesh's access log, or none where no stream is set."""
    if not settings.access_log_file:
        return []
    written = _build_format(settings)
    log: StdoutAccessLog | StderrAccessLog
    # A sidecar's own streams may belong to somebody else, so that it cannot open them again by their path: Envoy
    # would refuse the whole listener.
    match settings.access_log_file:
        case "/dev/stderr":
            name, log = "envoy.access_loggers.stderr", StderrAccessLog(log_format=written)
        case _:
            name, log = "envoy.access_loggers.stdout", StdoutAccessLog(log_format=written)
    return [AccessLog(name=name, typed_config=to_any(log))]


def default_text_format() -> str:
    """One line a request or connection, as Istio's documentation shows it."""
    commands = dict(FIELDS)
    request = " ".join(commands[name] for name in _GROUPS)
    rest = [f'"{command}"' if name in _QUOTED else command for name, command in FIELDS[len(_GROUPS) + 1 :]]
    return f'[{commands["start_time"]}] "{request}" {" ".join(rest)}\n'


def _build_format(settings: MeshSettings) -> SubstitutionFormatString:
    if settings.access_log_json:
        return SubstitutionFormatString(
            json_format=_json_fields(settings.access_log_format),
            json_format_options=JsonFormatOptions(sort_properties=False),
        )
    text = settings.access_log_format if _is_substitutable(settings.access_log_format) else ""
    return SubstitutionFormatString(text_format_source=DataSource(inline_string=text or default_text_format()))


def _json_fields(text: str) -> Struct:
    """The fields that `text`, a JSON object, asks for; the default ones where it is empty or no such object."""
    try:
        fields = json.loads(text) if text and _is_substitutable(text) else None
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not fields:
        fields = dict(FIELDS)
    return Struct(fields={str(name): _value(value) for name, value in fields.items()})


def _is_substitutable(text: str) -> bool:
    """Whether every `%` belongs to something of a command's shape: a lone one makes Envoy refuse the listener."""
    return "%" not in _LITERAL_PERCENT.sub("", text)


def _value(value: object) -> Value:
    match value:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=float(value))
        case dict():
            return Value(struct_value=Struct(fields={str(key): _value(item) for key, item in value.items()}))
        case list():
            return Value(list_value=ListValue(values=[_value(item) for item in value]))
        case _:
            return Value(string_value=str(value))
