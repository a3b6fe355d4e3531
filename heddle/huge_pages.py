"""Huge pages for a process that serves, which the C library decides on as a program starts.

What a thousand connections keep is spread over hundreds of MiB and looked at now and then: gRPC walks the timers of all
of them every second. In pages of 4 KiB nearly every such look misses what the processor keeps of page tables, which
under some hypervisors costs 80 us; in pages of 2 MiB few do.

Source: glibc manual, "Memory Allocation Tunables"; of its arenas only the main one has huge pages. Where Linux gives
none to programs that ask for them (`never` in /sys/kernel/mm/transparent_hugepage/enabled) there are none.
"""

from __future__ import annotations

import contextlib
import os
import sys

_TUNABLES = "GLIBC_TUNABLES"
_BEFORE = "HEDDLE_TUNABLES_BEFORE"
_OURS = {"glibc.malloc.hugetlb": "1", "glibc.malloc.arena_max": "1"}


def start_with_huge_pages() -> None:
    """Starts the program anew with them, as the same process with the same arguments; the second time it returns.

    To be called before anything else is done. What the user has in GLIBC_TUNABLES counts more, and the programs that
    this one starts find it as it was. With another C library than glibc nothing happens.
    """
    if _BEFORE in os.environ:
        before = os.environ.pop(_BEFORE)
        os.environ[_TUNABLES] = before
        if not before:
            del os.environ[_TUNABLES]
        return
    before = os.environ.get(_TUNABLES, "")
    settings = dict(one.partition("=")[::2] for one in before.split(":") if one)
    if _OURS.keys() <= settings.keys() or not sys.executable or not _is_glibc():
        return
    tunables = ":".join(f"{name}={value}" for name, value in (_OURS | settings).items())
    with contextlib.suppress(OSError):  # then it serves without
        os.execve(sys.executable, sys.orig_argv, {**os.environ, _BEFORE: before, _TUNABLES: tunables})


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (OSError, ValueError):
        return False
