"""Header changes of a VirtualService: `headers.{request,response}.{set,add,remove}`."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from model.routing import HeaderChanges, Headers, HeaderValue
from sources.bounded import checked_texts
from sources.fields import Fields
from sources.header_values import ALLOWED, check_changed_header, parse_header_value

NAME_FIX = "Name a header of your own; for the host use rewrite.authority."
VALUE_FIX = f"Write '%%' for a percent sign; commands that may stand here: {ALLOWED}."


def parse_headers(fields: Fields) -> Headers:
    """The field `headers` of a route or a destination."""
    outer = fields.child("headers")
    if outer is None:
        return Headers()
    found = Headers(request=_changes(outer, "request"), response=_changes(outer, "response"))
    outer.finish()
    return found


def _changes(outer: Fields, name: str) -> HeaderChanges:
    fields = outer.child(name)
    if fields is None:
        return HeaderChanges()
    found = HeaderChanges(
        set=_values(fields, "set"),
        add=_values(fields, "add"),
        remove=checked_texts(fields, "remove", check_changed_header, fix=NAME_FIX, code=ProblemCode.INVALID_HEADER),
    )
    fields.finish()
    return found


def _values(outer: Fields, name: str) -> tuple[tuple[str, HeaderValue], ...]:
    fields = outer.child(name)
    if fields is None:
        return ()
    found: dict[str, HeaderValue] = {}
    for written in fields.names():
        value = _value(fields, written)
        try:
            header = check_changed_header(written)
        except ValueError as error:
            fields.problem(ProblemCode.INVALID_HEADER, str(error), NAME_FIX, field=written)
            continue
        if header in found:
            message = f"{header!r} stands twice, but for case"
            fields.problem(ProblemCode.CONFLICTING_FIELDS, message, "Keep one of the two.", field=written)
        found[header] = value
    return tuple(found.items())


def _value(fields: Fields, name: str) -> HeaderValue:
    try:
        return parse_header_value(fields.text(name))
    except ValueError as error:
        fields.problem(ProblemCode.INVALID_HEADER, str(error), VALUE_FIX, field=name)
        return ""
