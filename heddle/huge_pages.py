"""Huge pages for a process that serves, which the C library decides on as a program starts.

What a thousand connections keep is spread over hundreds of MiB and looked at now and then: gRPC walks the timers of all
of them every second. In pages of 4 KiB nearly every such look misses what the processor keeps of page tables, which
under some hypervisors costs 80 us; in pages of 2 MiB few do.

Source: glibc manual, "Memory Allocation Tunables"; only the first of its arenas has huge pages, so there is no other.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_TUNABLES = "GLIBC_TUNABLES"
_BEFORE = "HEDDLE_TUNABLES_BEFORE"
_HUGE, _ARENAS = "glibc.malloc.hugetlb", "glibc.malloc.arena_max"
_SINCE = (2, 35)
"""The glibc that knows of huge pages."""
_LINUX = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start_with_huge_pages() -> None:
    """Starts the program anew with them, as the same process with the same arguments; the second time it returns.

    To be called before anything else is done. What the user has in GLIBC_TUNABLES and MALLOC_ARENA_MAX counts more, and
    the programs that this one starts find them as they were. Where there are no huge pages for who asks, or the program
    cannot be started anew, nothing happens.
    """
    if _BEFORE in os.environ:
        before = os.environ.pop(_BEFORE)
        os.environ[_TUNABLES] = before
        if not before:
            del os.environ[_TUNABLES]
        _take_the_name_of_the_script()
        return
    tunables = _with_ours(os.environ)
    # Under another name than Python's, Python may not know where it is.
    if tunables is None or not os.path.basename(sys.executable).startswith("python") or not _are_there():
        return
    environment = {**os.environ, _BEFORE: os.environ.get(_TUNABLES, ""), _TUNABLES: tunables}
    with contextlib.suppress(OSError, ValueError):
        os.execve(sys.executable, sys.orig_argv, environment)


def _with_ours(environment: Mapping[str, str]) -> str | None:
    """The tunables with what they lack. None: the user has decided on huge pages."""
    settings = [one for one in environment.get(_TUNABLES, "").split(":") if one]
    named = {one.partition("=")[0] for one in settings}
    if _HUGE in named:
        return None
    if _ARENAS not in named and "MALLOC_ARENA_MAX" not in environment:
        settings.append(f"{_ARENAS}=1")
    return ":".join([*settings, f"{_HUGE}=1"])


def _are_there() -> bool:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return name == "glibc" and tuple(map(int, version.split("."))) >= _SINCE and "[never]" not in _LINUX.read_text()
    except (OSError, ValueError):
        return False


def _take_the_name_of_the_script() -> None:
    """As the kernel had named the process, for `pgrep heddle`: by its script, where one was started."""
    if sys.argv[:1] == sys.orig_argv[1:2]:
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(os.path.basename(sys.argv[0]))
