"""`accessLogFormat`: what Envoy would refuse, together with every listener that logs so.

Source: Envoy, "Access logging", command operators.
"""

from __future__ import annotations

import json
import re

from sources.header_values import HEADER_COMMANDS, PLAIN_COMMANDS, check_header_name

LOG_COMMANDS = PLAIN_COMMANDS | {
    "ACCESS_LOG_TYPE",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "FILTER_CHAIN_NAME",
    "LOCAL_REPLY_BODY",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
}
"""Those that need no argument. A test holds them against a real Envoy."""
NAMING_COMMANDS = HEADER_COMMANDS | {"TRAILER"}
"""`%REQ(name)%`, `%REQ(name?other)%`."""

_COMMAND = re.compile(r"%(?:%|([A-Z][A-Z0-9_]*)(?:\(([^()]*)\))?(?::[0-9]{1,6})?%)")


def check_log_format(text: str, *, as_json: bool) -> None:
    """Raises ValueError if Envoy would refuse the format; as JSON it must be an object."""
    if not as_json:
        _check_text(text)
        return
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("accessLogEncoding is JSON, and the format is not") from error
    if not isinstance(fields, dict) or not fields:
        raise ValueError("accessLogEncoding is JSON, and the format is no object with fields")
    _check_value(fields)


def _check_value(value: object) -> None:
    match value:
        case str():
            _check_text(value)
        case dict():
            for member in value.values():
                _check_value(member)
        case list():
            for member in value:
                _check_value(member)
        case _:
            pass


def _check_text(text: str) -> None:
    at = text.find("%")
    while at >= 0:
        found = _COMMAND.match(text, at)
        if found is None:
            raise ValueError(f"a lone '%' at {text[at : at + 40]!r}")
        if found[1] is not None:
            _check_command(found[1], found[2])
        at = text.find("%", found.end())


def _check_command(name: str, argument: str | None) -> None:
    if name in NAMING_COMMANDS:
        if not argument:
            raise ValueError(f"%{name}% names no header, as in %{name}(x-request-id)%")
        main, _, other = argument.partition("?")
        for header in (main, other) if "?" in argument else (main,):
            check_header_name(header.removeprefix(":"))
    elif name not in LOG_COMMANDS or (argument is not None and name != "START_TIME"):
        shown = f"%{name[:60]}{'' if argument is None else '(...)'}%"
        raise ValueError(f"{shown} is no command that Heddle knows for an access log")
