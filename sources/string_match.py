"""Istio's StringMatch: `exact`, `prefix` or `regex`."""

from __future__ import annotations

from model.matching import Exact, Prefix, Present, Regex, StringMatch
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.bounded import checked, one_of, plain_text
from sources.fields import Fields
from sources.header_values import check_header_name
from sources.regex import MAX_OBJECT_SIZE, MAX_PROGRAM_SIZE, Compiled, compile_regex

REGEX_FIX = "Write an expression of RE2: no lookaround, no backreference, at most 1024 characters ('.*' for anything)."


def parse_string_match(fields: Fields) -> StringMatch | None:
    """The match in a mapping, None if it is empty or wrong. An empty prefix matches anything. Finishes `fields`."""
    one_of(fields, "exact", "prefix", "regex")
    found: StringMatch | None = None
    if fields.has("regex"):
        compiled = regex(fields, "regex")
        found = Regex(value=compiled.pattern) if compiled is not None else None
    elif fields.has("prefix"):
        prefix = plain_text(fields, "prefix")
        found = Prefix(value=prefix) if prefix else Present()
    elif fields.has("exact"):
        found = Exact(value=plain_text(fields, "exact"))
    for name in ("exact", "prefix", "regex"):
        fields.node(name)
    fields.finish()
    return found


def string_match(fields: Fields, name: str) -> StringMatch | None:
    """The match in a field, None if absent or wrong. An empty mapping is a mistake here."""
    child = fields.child(name)
    if child is None:
        return None
    if not child.names():
        fields.problem(
            ProblemCode.MISSING_FIELD, f"{name} says nothing to match", "Add exact, prefix or regex.", field=name
        )
        return None
    return parse_string_match(child)


def header_matches(fields: Fields, name: str) -> tuple[tuple[str, StringMatch], ...]:
    """The matches by header in a field, in the order of the file; `{}` is presence. Names in lower case."""
    outer = fields.child(name)
    if outer is None:
        return ()
    found: dict[str, StringMatch] = {}
    for written, match in _matches(outer, name):
        if written.startswith("@"):
            outer.later(written, severity=Severity.ERROR)
            continue
        if written.startswith(":") or written.lower() in ("host", "uri", "scheme", "method", "authority"):
            instead = {":path": "uri", "host": "authority"}.get(written.lower(), written.lower().lstrip(":"))
            outer.problem(
                ProblemCode.MISPLACED_FIELD,
                f"{written!r} is no header that {name} can match",
                f"Use the field {instead} of the match instead.",
                field=written,
            )
            continue
        try:
            lower = check_header_name(written)
        except ValueError as error:
            outer.problem(ProblemCode.INVALID_HEADER, str(error), "Write the header's name.", field=written)
            continue
        if lower in found:
            fix = "Keep one of the two."
            outer.problem(ProblemCode.CONFLICTING_FIELDS, f"{lower} stands twice, but for case", fix, field=written)
        found[lower] = match
    return tuple(found.items())


def query_matches(fields: Fields, name: str) -> tuple[tuple[str, StringMatch], ...]:
    """The matches by query parameter in a field, in the order of the file; `{}` is presence."""
    outer = fields.child(name)
    if outer is None:
        return ()
    found = []
    for written, match in _matches(outer, name):
        if not written or len(written.encode("utf-8", "replace")) > 1024 or not written.isprintable():
            fix = "Write the parameter's name: 1 to 1024 printable bytes."
            outer.problem(ProblemCode.INVALID_VALUE, f"{written[:80]!r} is no query parameter", fix, field=written)
            continue
        found.append((written, match))
    return tuple(found)


def _matches(outer: Fields, name: str) -> list[tuple[str, StringMatch]]:
    found: list[tuple[str, StringMatch]] = []
    for written in outer.names():
        child = outer.child(written)
        if child is not None:
            found.append((written, parse_string_match(child) or Present()))
        elif not outer.has(written):
            fix = "Write {} for mere presence, or exact, prefix or regex."
            outer.problem(ProblemCode.MISSING_FIELD, f"{name}: {written[:80]} has no match", fix, field=written)
    return found


def regex(fields: Fields, name: str) -> Compiled | None:
    """The regular expression in a field, None if absent or wrong. All of one object share a budget."""
    report = fields.report
    if report.regex_size > MAX_OBJECT_SIZE:
        fields.ignore(name)
        return None
    found = checked(fields, name, compile_regex, None, fix=REGEX_FIX, code=ProblemCode.INVALID_REGEX)
    if fields.has(name):
        # A refused one costs as much as the largest that is taken.
        report.regex_size += found.size if found is not None else MAX_PROGRAM_SIZE
    if report.regex_size > MAX_OBJECT_SIZE:
        message = f"the regular expressions of the object have more than {MAX_OBJECT_SIZE} instructions together"
        fields.problem(ProblemCode.TOO_LARGE, message, "Use exact and prefix matches, or split the object.", field=name)
    return found
