"""The schema of one entry of a VirtualService's `http`."""

from __future__ import annotations

from sources.bounded import MAX_COUNT
from sources.header_values import MAX_NAME_BYTES, MAX_VALUE_BYTES
from sources.istio_destination import MAX_DESTINATIONS
from sources.istio_http_actions import DERIVE_PORT, MAX_BODY_BYTES, REDIRECT_CODES
from sources.istio_http_match import MAX_MATCHES
from sources.istio_http_route import ACTIONS
from sources.istio_resilience import GRPC_CODES, MAX_ATTEMPTS
from sources.regex import MAX_CHARACTERS
from sources.schemas.parts import (
    Schema,
    at_most,
    boolean,
    by_key,
    choice,
    duration,
    exactly_one,
    integer,
    items,
    or_null,
    record,
    some_of,
    text,
    unbuilt,
)
from sources.schemas.shared import (
    host,
    labels,
    needed_string_match,
    percentage,
    port,
    port_selector,
    string_match,
)

_SUBSET = "^[A-Za-z0-9_.-]{0,63}$"
_LARGEST_BODY = MAX_BODY_BYTES // 3 * 4 + 4
"""In base64."""


def http_route() -> Schema:
    """One entry of `http`."""
    return record(
        {
            "name": text(),
            "match": items(_match(), most=MAX_MATCHES),
            "route": items(_weighted(), least=1, most=MAX_DESTINATIONS, rules=[_WEIGHTS]),
            "redirect": _redirect(),
            "directResponse": _direct_response(),
            "delegate": unbuilt(record({"name": text(), "namespace": text()})),
            "rewrite": _rewrite(),
            "timeout": duration("1ms"),
            "retries": _retries(),
            "fault": _fault(),
            "mirror": destination(),
            "mirrors": items(record({"destination": destination(), "percentage": percentage()}, required=_DESTINATION)),
            "mirrorPercent": integer(0, 100),
            "mirror_percent": integer(0, 100),
            "mirrorPercentage": percentage(),
            "corsPolicy": unbuilt(_cors()),
            "headers": _headers(),
        },
        rules=[exactly_one(*ACTIONS), at_most("mirror", "mirrors"), _NO_REWRITE],
    )


def destination() -> Schema:
    """Where a route sends."""
    return record({"host": host(), "subset": text(pattern=_SUBSET), "port": port_selector()}, required=["host"])


_DESTINATION = ["destination"]
_WEIGHTS = (
    "self.size() < 2 || self.exists(each, has(each.weight) && each.weight > 0)",
    "at least one destination needs a weight above 0",
)
_NO_REWRITE = (
    "!has(self.rewrite) || !(has(self.redirect) || has(self.directResponse))",
    "rewrite excludes redirect and directResponse",
)


def _match() -> Schema:
    by_name = by_key(or_null(string_match()))
    return record(
        {
            "name": text(),
            "uri": needed_string_match(),
            "scheme": needed_string_match(),
            "method": needed_string_match(),
            "authority": needed_string_match(),
            "headers": by_name,
            "port": port(),
            "sourceLabels": labels(),
            "gateways": items(text()),
            "queryParams": by_name,
            "ignoreUriCase": boolean(),
            "withoutHeaders": by_name,
            "sourceNamespace": text(),
            "statPrefix": unbuilt(text()),
        }
    )


def _weighted() -> Schema:
    return record(
        {"destination": destination(), "weight": integer(0, MAX_COUNT), "headers": _headers()}, required=_DESTINATION
    )


def _headers() -> Schema:
    values = by_key(text(most=MAX_VALUE_BYTES))
    names = items(text(least=1, most=MAX_NAME_BYTES))
    changes = record({"set": values, "add": values, "remove": names})
    return record({"request": changes, "response": changes})


def _redirect() -> Schema:
    target = ("uri", "prefixRewrite", "authority", "scheme", "port", "derivePort")
    return record(
        {
            "uri": text(),
            "authority": text(most=260),
            "port": port(),
            "derivePort": choice(DERIVE_PORT),
            "scheme": choice(("http", "https")),
            "redirectCode": {"type": "integer", "enum": list(REDIRECT_CODES)},
            "prefixRewrite": text(),
        },
        rules=[at_most("port", "derivePort"), at_most("uri", "prefixRewrite"), some_of(*target)],
    )


def _direct_response() -> Schema:
    body = record(
        {"string": text(most=MAX_BODY_BYTES), "bytes": text(most=_LARGEST_BODY)},
        rules=[exactly_one("string", "bytes")],
    )
    return record({"status": integer(200, 599), "body": body}, required=["status"])


def _rewrite() -> Schema:
    regex = record({"match": text(least=1, most=MAX_CHARACTERS), "rewrite": text()}, required=["match"])
    return record(
        {"uri": text(), "authority": text(most=260), "uriRegexRewrite": regex},
        rules=[at_most("uri", "uriRegexRewrite"), some_of("uri", "authority", "uriRegexRewrite")],
    )


def _retries() -> Schema:
    found = record(
        {
            "attempts": integer(0, MAX_ATTEMPTS),
            "perTryTimeout": duration("1ms"),
            "retryOn": text(least=1),
            "retryRemoteLocalities": boolean(),
            "retryIgnorePreviousHosts": boolean(),
            "backoff": duration("1ms"),
        }
    )
    return {**found, "anyOf": [{"required": ["attempts"]}, {"maxProperties": 0}]}


def _fault() -> Schema:
    delay = record(
        {
            "fixedDelay": duration("1ms"),
            "percentage": percentage(),
            "percent": integer(0, 100),
            "exponentialDelay": unbuilt(duration()),
        },
        required=["fixedDelay"],
    )
    abort = record(
        {
            "httpStatus": integer(200, 599),
            "grpcStatus": text(pattern=f"^({'|'.join(GRPC_CODES)}|[0-9]{{1,2}})$"),
            "http2Error": unbuilt(text()),
            "percentage": percentage(),
        },
        rules=[exactly_one("httpStatus", "grpcStatus", "http2Error")],
    )
    return record({"delay": delay, "abort": abort}, rules=[some_of("delay", "abort")])


def _cors() -> Schema:
    texts = items(text())
    return record(
        {
            "allowOrigin": texts,
            "allowOrigins": items(string_match()),
            "allowMethods": texts,
            "allowHeaders": texts,
            "exposeHeaders": texts,
            "maxAge": duration(),
            "allowCredentials": boolean(),
            "unmatchedPreflights": choice(("UNSPECIFIED", "FORWARD", "IGNORE")),
        }
    )
