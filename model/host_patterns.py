"""Hosts and wildcards: what covers what. Hosts are in lower case; a wildcard is `*` or `*.` before a name."""

from __future__ import annotations

from collections.abc import Iterator


def patterns(host: str) -> Iterator[str]:
    """The keys under which an object for `host` may stand, most specific first: `a.b.c`, `*.b.c`, `*.c`, `*`.

    A wildcard host yields itself and the wider ones.
    """
    yield host
    rest = host.removeprefix("*.")
    if rest != host:
        rest = rest.partition(".")[2]
    else:
        rest = host.partition(".")[2]
    while rest:
        yield f"*.{rest}"
        rest = rest.partition(".")[2]
    if host != "*":
        yield "*"


def covers(pattern: str, host: str) -> bool:
    """Whether every host that `host` means is meant by `pattern` too."""
    if pattern in (host, "*"):
        return True
    return pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
