"""What a route does instead of forwarding, or to the request it forwards: redirect, direct response, rewrite."""

from __future__ import annotations

import base64
import binascii

from model.problem_codes import ProblemCode
from model.routing import DirectResponse, Redirect, Rewrite
from sources.bounded import checked, one_of, plain_text, port_number
from sources.fields import Fields
from sources.regex import Compiled, UnknownGroup, check_substitution
from sources.string_match import regex

MAX_BODY_BYTES = 1 << 20
"""Istio's limit, which the route configuration raises Envoy's 4 KiB to."""

REDIRECT_CODES = (301, 302, 303, 307, 308)
DERIVE_PORT = ("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT")

AUTHORITY_FIX = "Write a host, perhaps with ':PORT'."


def parse_redirect(fields: Fields) -> Redirect | None:
    """The field `redirect`, None if absent."""
    inner = fields.child("redirect")
    if inner is None:
        return None
    one_of(inner, "port", "derivePort")
    one_of(inner, "uri", "prefixRewrite")
    code = inner.integer("redirectCode", default=301)
    if code not in REDIRECT_CODES:
        fix = f"Use one of {', '.join(map(str, REDIRECT_CODES))}."
        inner.problem(ProblemCode.INVALID_VALUE, f"redirectCode is {code}", fix, field="redirectCode")
    found = Redirect(
        uri=plain_text(inner, "uri"),
        prefix_rewrite=plain_text(inner, "prefixRewrite"),
        authority=checked(inner, "authority", _authority, "", fix=AUTHORITY_FIX),
        scheme=inner.choice("scheme", ("http", "https")),
        port=port_number(inner, "port"),
        derive_port=inner.choice("derivePort", DERIVE_PORT),
        code=code,
    )
    if not any(inner.has(name) for name in ("uri", "prefixRewrite", "authority", "scheme", "port", "derivePort")):
        fix = "Add uri, authority, scheme or port."
        inner.problem(ProblemCode.MISSING_FIELD, "a redirect that changes nothing never ends", fix)
    inner.finish()
    return found


def parse_direct_response(fields: Fields) -> DirectResponse | None:
    """The field `directResponse`, None if absent."""
    inner = fields.child("directResponse")
    if inner is None:
        return None
    inner.required("status")
    status = inner.integer("status", default=200, minimum=200, maximum=599)
    body = None
    body_fields = inner.child("body")
    if body_fields is not None:
        one_of(body_fields, "string", "bytes")
        if body_fields.has("bytes"):
            body = checked(body_fields, "bytes", _base64, None, fix="Write the bytes in base64.")
        elif body_fields.required("string"):
            body = checked(body_fields, "string", _utf8, None, fix="Write valid Unicode text.")
        body_fields.ignore("string", "bytes")
        body_fields.finish()
    if body is not None and len(body) > MAX_BODY_BYTES:
        message = f"the body has {len(body)} bytes, more than {MAX_BODY_BYTES}"
        inner.problem(ProblemCode.TOO_LARGE, message, "Serve it from a workload.", field="body")
    inner.finish()
    return DirectResponse(status=status, body=body)


def parse_rewrite(fields: Fields) -> Rewrite | None:
    """The field `rewrite`, None if absent."""
    inner = fields.child("rewrite")
    if inner is None:
        return None
    one_of(inner, "uri", "uriRegexRewrite")
    if not any(inner.has(name) for name in ("uri", "authority", "uriRegexRewrite")):
        fix = "Add uri, authority or uriRegexRewrite."
        inner.problem(ProblemCode.MISSING_FIELD, "rewrite says nothing to rewrite", fix)
    found = Rewrite(
        uri=plain_text(inner, "uri"),
        authority=checked(inner, "authority", _authority, "", fix=AUTHORITY_FIX),
        uri_regex=_regex_rewrite(inner),
    )
    inner.finish()
    return found


def _regex_rewrite(outer: Fields) -> tuple[str, str] | None:
    fields = outer.child("uriRegexRewrite")
    if fields is None:
        return None
    fields.required("match")
    pattern = regex(fields, "match")
    substitution = plain_text(fields, "rewrite")
    if pattern is not None:
        try:
            check_substitution(pattern, substitution)
        except UnknownGroup as error:
            fields.problem(ProblemCode.INVALID_REGEX, f"rewrite: {error}", _group_fix(pattern), field="rewrite")
        except ValueError as error:
            fix = r"Write '\\' for a backslash, and '\' before a group's number alone."
            fields.problem(ProblemCode.INVALID_REGEX, f"rewrite: {error}", fix, field="rewrite")
    fields.finish()
    return (pattern.pattern, substitution) if pattern is not None else None


def _group_fix(pattern: Compiled) -> str:
    if pattern.groups == 0:
        return r"Put what you refer to in brackets in match, or use \0 for the whole match."
    last = rf" to \{min(pattern.groups, 9)}" if pattern.groups > 1 else ""
    return rf"Use \1{last}, or \0 for the whole match."


def _authority(text: str) -> str:
    if not text.isascii() or not text.isprintable() or any(character in text for character in " /?#@\\"):
        raise ValueError(f"{text[:80]!r} is no authority")
    if len(text) > 260:
        raise ValueError("an authority has at most 260 characters")
    return text


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the text is no base64") from None


def _utf8(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is no valid Unicode") from None
