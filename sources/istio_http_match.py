"""What an HTTP route takes: `http[].match[]`."""

from __future__ import annotations

from model.matching import Exact, Present
from model.matching import Prefix as PrefixMatch
from model.problem_codes import ProblemCode
from model.problems import Severity
from model.routing import HttpMatch
from sources.bounded import plain_text, port_number
from sources.fields import Fields
from sources.gateway_names import to_gateway_name
from sources.labels import parse_labels
from sources.string_match import header_matches, query_matches, string_match

MAX_MATCHES = 1000


def parse_matches(fields: Fields, namespace: str) -> tuple[HttpMatch, ...]:
    """The list `match` of a route in an object of `namespace`."""
    entries = fields.each("match")
    if len(entries) > MAX_MATCHES:
        message = f"match has {len(entries)} entries, more than {MAX_MATCHES}"
        fields.problem(ProblemCode.TOO_LARGE, message, "Join them in one regex or prefix.", field="match")
        return ()
    return tuple(_match(entry, namespace) for entry in entries)


def takes_everything(match: HttpMatch) -> bool:
    """Whether no request escapes `match`, whoever sends it to whatever port."""
    if match.uri is not None and match.uri not in (PrefixMatch(value="/"), Present()):
        return False
    others = (match.scheme, match.method, match.authority, match.port, match.gateways)
    lists = (match.headers, match.without_headers, match.query_params, match.source_labels, match.source_namespace)
    return all(other is None for other in others) and not any(lists)


def _match(fields: Fields, namespace: str) -> HttpMatch:
    uri = string_match(fields, "uri")
    if isinstance(uri, Exact | PrefixMatch) and not uri.value.startswith("/"):
        _never(fields, "uri", f"a path begins with '/', {uri.value!r} does not", "Put '/' before it.")
    method = string_match(fields, "method")
    if isinstance(method, Exact) and method.value != method.value.upper():
        _never(
            fields, "method", f"methods are in upper case, {method.value!r} is not", f"Write {method.value.upper()}."
        )
    found = HttpMatch(
        name=plain_text(fields, "name"),
        uri=uri,
        ignore_uri_case=fields.boolean("ignoreUriCase"),
        scheme=string_match(fields, "scheme"),
        method=method,
        authority=string_match(fields, "authority"),
        headers=header_matches(fields, "headers"),
        without_headers=header_matches(fields, "withoutHeaders"),
        query_params=query_matches(fields, "queryParams"),
        port=port_number(fields, "port"),
        source_labels=parse_labels(fields, "sourceLabels"),
        source_namespace=plain_text(fields, "sourceNamespace"),
        gateways=tuple(to_gateway_name(text, namespace) for text in fields.texts("gateways")) or None,
    )
    fields.later("statPrefix")
    fields.finish()
    return found


def _never(fields: Fields, name: str, message: str, fix: str) -> None:
    fields.problem(ProblemCode.NEVER_MATCHES, message, fix, field=name, severity=Severity.WARNING)
