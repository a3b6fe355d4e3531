"""A program that starts anew with huge pages: a real process, its environment and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heddle import huge_pages, main

TUNABLES = "GLIBC_TUNABLES"
BOTH = "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"
PROGRAM = """
import os, sys
from pathlib import Path
from heddle.huge_pages import start_with_huge_pages
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:], flush=True)
start_with_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), [name for name in os.environ if name.startswith("HEDDLE")])
print(Path("/proc/self/comm").read_text())
kept = [bytearray(1000) for _ in range(50_000)]
maps = Path("/proc/self/smaps").read_text()
print("hg" in maps[maps.index("[heap]"):].partition("VmFlags:")[2].splitlines()[0].split())
"""


pytestmark = pytest.mark.skipif(not huge_pages._are_there(), reason="no huge pages for who asks, or not by glibc")


def run(*command: str, **environment: str) -> list[list[str]]:
    """What the program prints, in words, when it is started so."""
    ours = ("HEDDLE", TUNABLES, "MALLOC")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = command or (sys.executable, "-X", "utf8", "-c", PROGRAM)
    done = subprocess.run(
        [*command, "a word"], env=inherited | environment, capture_output=True, text=True, check=True, timeout=60
    )
    return [line.split(maxsplit=2) for line in done.stdout.splitlines() if line]


def test_the_same_process_starts_anew_once_and_leaves_no_trace() -> None:
    first, second, after, _, huge = run()
    assert first[1:] == ["None", "a word"]
    assert second == [first[0], BOTH, "a word"]
    assert after == ["None", "[]"]
    assert huge == ["True"]


def test_what_the_user_sets_counts_more_and_stays() -> None:
    given = "glibc.malloc.arena_max=4:glibc.malloc.tcache_count=9"
    _, second, after, *_ = run(**{TUNABLES: given})
    assert second[1] == f"{given}:glibc.malloc.hugetlb=1"
    assert after == [given, "[]"]
    _, second, *_ = run(MALLOC_ARENA_MAX="4")
    assert second[1] == "glibc.malloc.hugetlb=1"


def test_where_the_user_has_decided_nothing_starts_anew() -> None:
    _, *rest = run(**{TUNABLES: "glibc.malloc.hugetlb=0"})
    assert rest[-1] == ["False"]
    assert len(rest) == 3


def test_a_script_keeps_its_name(tmp_path: Path) -> None:
    script = tmp_path / "heddle"
    script.write_text(f"#!{sys.executable}\n{PROGRAM}")
    script.chmod(0o755)
    first, second, _, name, _ = run(str(script), PYTHONPATH=os.getcwd())
    assert first[0] == second[0]
    assert name == ["heddle"]


@pytest.mark.parametrize("program", ["/nothing/python3", "/nothing/heddle", ""])
def test_where_it_cannot_be_started_anew_it_goes_on(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "executable", program)
    monkeypatch.delenv(TUNABLES, raising=False)
    huge_pages.start_with_huge_pages()
    assert TUNABLES not in os.environ


def test_python_under_another_name_is_not_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def execve(*_: object) -> None:
        raise AssertionError("it is another program")

    monkeypatch.delenv(TUNABLES, raising=False)
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(sys, "executable", "/venv/bin/heddle")
    huge_pages.start_with_huge_pages()
    monkeypatch.setattr(sys, "executable", "/venv/bin/python3.11")
    with pytest.raises(AssertionError):
        huge_pages.start_with_huge_pages()


@pytest.mark.parametrize(("command", "times"), [("serve", 1), ("analyze", 0), ("none", 0)])
def test_heddle_serve_is_started_so(monkeypatch: pytest.MonkeyPatch, command: str, times: int) -> None:
    started: list[None] = []
    monkeypatch.setattr(main, "start_with_huge_pages", lambda: started.append(None))
    monkeypatch.setattr(sys, "argv", ["heddle", command, "--help"])
    with pytest.raises(SystemExit):
        main.main()
    assert len(started) == times
