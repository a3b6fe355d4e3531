"""Regular expressions as Envoy will read them: RE2, compiled here first. Python's `re` never sees a user's pattern."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import re2

MAX_CHARACTERS = 1024
"""Istio's limit."""
MAX_PROGRAM_SIZE = 32768
"""What the bootstrap lets Envoy accept (`re2.max_program_size.error_level`); Envoy's own default is 100."""
MAX_OBJECT_SIZE = 500_000
"""Instructions of all expressions of one object together: a second of compiling, in every sidecar again."""

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
# Enough for MAX_PROGRAM_SIZE; RE2's own 8 MiB let it work twice as long on what is refused afterwards.
_OPTIONS.max_mem = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A pattern that RE2 took. `groups` are its capturing groups, `size` the instructions of its program."""

    pattern: str
    groups: int
    size: int


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> Compiled:
    """Raises ValueError, with RE2's reason, if Envoy would refuse `pattern`."""
    if not pattern:
        raise ValueError("a regular expression must not be empty")
    if len(pattern) > MAX_CHARACTERS:
        raise ValueError(f"the regular expression has {len(pattern)} characters, more than {MAX_CHARACTERS}")
    if "\0" in pattern:
        raise ValueError("the regular expression holds a NUL character")
    try:
        compiled = re2.compile(pattern, _OPTIONS)
    except re2.error as refused:
        raise ValueError(f"RE2 refuses {pattern[:80]!r}: {_reason(refused)}") from None
    except UnicodeEncodeError:
        raise ValueError("the regular expression is no valid Unicode text") from None
    if compiled.programsize > MAX_PROGRAM_SIZE:
        raise ValueError(
            f"the regular expression compiles to {compiled.programsize} instructions, more than {MAX_PROGRAM_SIZE}"
        )
    return Compiled(pattern=pattern, groups=compiled.groups, size=compiled.programsize)


class UnknownGroup(ValueError):
    """A substitution names a group that its expression does not have."""


def check_substitution(pattern: Compiled, substitution: str) -> str:
    r"""`substitution` itself: text in which `\0` to `\9` stand for what the groups matched, and `\\` for a backslash.

    Raises UnknownGroup if it names a group that `pattern` lacks, which Envoy takes silently and then never rewrites;
    ValueError if a backslash stands before anything else.
    """
    characters = iter(substitution)
    for character in characters:
        if character != "\\":
            continue
        follower = next(characters, "")
        if follower == "\\":
            continue
        if not (follower.isascii() and follower.isdigit()):
            raise ValueError(rf"'\{follower}' in the substitution stands for nothing: a backslash is written '\\'")
        if int(follower) > pattern.groups:
            has = f"has {pattern.groups or 'no'} groups" if pattern.groups != 1 else "has 1 group"
            raise UnknownGroup(rf"the substitution names group \{follower}, the expression {has}")
    return substitution


def _reason(refused: re2.error) -> str:
    reason = refused.args[0] if refused.args else refused
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
