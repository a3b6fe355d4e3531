"""A program that starts anew with huge pages: a real process, its environment and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heddle.huge_pages import start_with_huge_pages

TUNABLES = "GLIBC_TUNABLES"
BOTH = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
PROGRAM = """
import os, sys
from pathlib import Path
from heddle.huge_pages import start_with_huge_pages
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:], flush=True)
start_with_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), [name for name in os.environ if name.startswith("HEDDLE")])
kept = [bytearray(1000) for _ in range(50_000)]
print(*(line.split()[1] for line in Path("/proc/self/smaps_rollup").open() if line.startswith("AnonHugePages")))
"""


def is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (OSError, ValueError):
        return False


pytestmark = pytest.mark.skipif(not is_glibc(), reason="the C library is not glibc")


def run(tunables: str | None) -> list[list[str]]:
    """What the program prints, in words, when it is started with these tunables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEDDLE")}
    environment.pop(TUNABLES, None)
    if tunables is not None:
        environment[TUNABLES] = tunables
    command = [sys.executable, "-X", "utf8", "-c", PROGRAM, "a word"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return [line.split(maxsplit=2) for line in done.stdout.splitlines()]


def test_the_same_process_starts_anew_once_and_leaves_no_trace() -> None:
    first, second, after, _ = run(None)
    assert first[1:] == ["None", "a word"]
    assert second == [first[0], BOTH, "a word"]
    assert after == ["None", "[]"]


def test_what_the_user_sets_counts_more_and_stays() -> None:
    given = "glibc.malloc.arena_max=4:glibc.malloc.tcache_count=9"
    _, second, after, _ = run(given)
    assert sorted(second[1].split(":")) == sorted(["glibc.malloc.hugetlb=1", *given.split(":")])
    assert after == [given, "[]"]


def test_where_all_is_set_nothing_starts_anew() -> None:
    lines = run("glibc.malloc.hugetlb=0:glibc.malloc.arena_max=1")
    assert len(lines) == 3
    assert lines[-1] == ["0"]


def test_it_has_huge_pages() -> None:
    given = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not given.exists() or "[never]" in given.read_text():
        pytest.skip("Linux gives no huge pages here")
    assert int(run(None)[-1][0]) > 0


def test_where_it_cannot_be_started_anew_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nothing")
    monkeypatch.delenv(TUNABLES, raising=False)
    start_with_huge_pages()
    assert TUNABLES not in os.environ
