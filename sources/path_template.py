"""Path templates of an AuthorizationPolicy: `{*}` is one path segment, `{**}` any number of them.

An invalid template is not refused by Envoy 1.40: the process ends (tried). So they are checked completely here.
"""

from __future__ import annotations

MAX_CHARACTERS = 256
"""Envoy's limit for a template."""

ONE = "{*}"
ANY = "{**}"

_LITERALS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()+,;:@=")
"""What Envoy takes in a literal segment; anything else ends the process."""


def is_template(path: str) -> bool:
    """Whether `path` means to be a template, right or wrong."""
    return "{" in path or "}" in path


def check_path_template(path: str) -> str:
    """`path` itself. Raises ValueError if Envoy would not survive it, or would read it otherwise than Istio."""
    if not path.startswith("/"):
        raise ValueError("a path template begins with '/'")
    if len(path) > MAX_CHARACTERS:
        raise ValueError(f"a path template has at most {MAX_CHARACTERS} characters, this one has {len(path)}")
    segments = path[1:].split("/")
    if "" in segments[:-1]:
        raise ValueError("a path template has no empty segment ('//')")
    after_any = False
    for segment in segments:
        if segment in (ONE, ANY):
            if after_any:
                raise ValueError(f"nothing but text may follow {ANY}: {segment} does")
            after_any = segment == ANY
        elif "{" in segment or "}" in segment or "*" in segment:
            raise ValueError(f"{segment!r}: {ONE} and {ANY} stand alone between slashes")
        elif not _LITERALS.issuperset(segment):
            wrong = next(character for character in segment if character not in _LITERALS)
            raise ValueError(f"{wrong!r} cannot stand in a path template")
    return path
