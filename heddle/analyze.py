"""`heddle analyze`: what is wrong with manifests, with file, line and fix. The parser is the validator."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from heddle import clock
from heddle.output import printable
from model.problems import Problem, Severity
from sources.closed_file import read_closed_file
from sources.file_scan import MAX_FILE_BYTES, list_files
from sources.store import Store

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2

STDIN = "-"

TEACHING = """\
Errors and warnings are findings (exit status 1); remarks of severity info alone are not (0).
2: a path does not exist or cannot be read. Nothing is contacted: what a manifest refers to
(Services, subsets, service accounts) is looked for in the given manifests only.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.epilog = TEACHING
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a file, a directory (with all below it), or - for stdin"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print (table)")


def run_command(args: argparse.Namespace) -> int:
    """Runs the command on the process's own streams."""
    return run(args.paths, args.output, stdin=sys.stdin.buffer, stdout=sys.stdout, stderr=sys.stderr)


def run(paths: Sequence[str], output: str, *, stdin: BinaryIO, stdout: TextIO, stderr: TextIO) -> int:
    """Prints the findings in `paths` as `table` or `json`.

    Answers 0 without findings (of severity info at most), 1 with some, 2 if a path cannot be read: then what is
    wrong with it goes to `stderr` and nothing else is printed.
    """
    try:
        files = read_manifests(paths, stdin)
    except OSError as error:
        print(f"heddle analyze: {error.filename}: {error.strerror}", file=stderr)
        return EXIT_ERROR
    problems = analyze(files)
    if output == "json":
        json.dump({"findings": [to_json(problem) for problem in problems]}, stdout, indent=2)
        stdout.write("\n")
    else:
        stdout.writelines(to_lines(problems, len(files)))
    return EXIT_FINDINGS if any(problem.severity is not Severity.INFO for problem in problems) else EXIT_FINE


def analyze(files: Mapping[str, bytes]) -> tuple[Problem, ...]:
    """All that is wrong with manifests, by file and line. Keys are the names to show."""
    store = Store(now=clock.now)
    store.replace_files(files)
    return store.problems


def read_manifests(paths: Iterable[str], stdin: BinaryIO) -> dict[str, bytes]:
    """The content of every manifest in `paths`, each file once, as a directory source would choose them.

    A file that is being written is waited for. Raises OSError for what cannot be read, is still being written after
    5 s, or has more than 64 MiB.
    """
    found: dict[str, bytes] = {}
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if path == STDIN:
            found["<stdin>"] = _read(stdin, "<stdin>")
            continue
        for file, stamp in list_files(Path(path), _refuse):
            if (stamp.device, stamp.inode) not in seen:
                seen.add((stamp.device, stamp.inode))
                found[file] = read_closed_file(file, now=lambda: clock.now().timestamp(), pause=time.sleep)
    return found


def to_json(problem: Problem) -> dict[str, str | int]:
    """One finding as programs read it. `line` is 0 where only the file is known."""
    position = problem.position
    return {
        "severity": str(problem.severity),
        "code": str(problem.code),
        "message": problem.message,
        "fix": problem.fix,
        "file": position.file if position else "",
        "line": position.line if position else 0,
        "resource": str(problem.object) if problem.object else "",
        "field": problem.field,
    }


def to_lines(problems: Sequence[Problem], files: int) -> Iterable[str]:
    """The findings as people read them: a line for the place, one for what is wrong, one for the fix."""
    for problem in problems:
        place = str(problem.position) if problem.position else "-"
        subject = " ".join(part for part in (str(problem.object or ""), problem.field) if part)
        yield printable(f"{place}  {problem.severity}  {problem.code}  {subject}".rstrip()) + "\n"
        yield printable(f"    {problem.message}") + "\n"
        yield printable(f"    fix: {problem.fix}") + "\n"
    counts = {severity: sum(problem.severity is severity for problem in problems) for severity in Severity}
    listed = ", ".join(_count(number, str(severity)) for severity, number in counts.items() if number)
    yield f"{_count(files, 'file')}: {listed or 'nothing to mend'}\n"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 or what == "info" else f"{number} {what}s"


def _refuse(folder: str, error: OSError) -> None:
    raise error


def _read(stream: BinaryIO, name: str) -> bytes:
    text = stream.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
    return text
