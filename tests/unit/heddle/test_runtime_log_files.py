from __future__ import annotations

import os
from pathlib import Path

from heddle.local.log_files import LogReader, log_path, open_log, rotate_logs


def test_the_end_and_then_what_is_added(tmp_path: Path) -> None:
    path = log_path(tmp_path, "shop", "web", "app")
    descriptor = open_log(path)
    os.write(descriptor, b"1\n2\n3\n")
    reader = LogReader(path)
    assert reader.tail(2) == b"2\n3\n"
    os.write(descriptor, b"4\n")
    assert b"".join(reader.added()) == b"4\n"
    assert b"".join(reader.added()) == b""
    os.close(descriptor)


def test_a_log_that_is_cut_loses_nothing_new(tmp_path: Path) -> None:
    path = log_path(tmp_path, "shop", "web", "app")
    descriptor = open_log(path)
    os.write(descriptor, b"old\n" * 100)
    reader = LogReader(path)
    reader.tail(None)
    rotate_logs(tmp_path, limit=10)
    os.write(descriptor, b"new\n")
    os.close(descriptor)
    assert path.read_bytes() == b"new\n"
    assert b"".join(reader.added()) == b"new\n"
    assert LogReader(path).tail(2) == b"old\nnew\n"
    assert LogReader(path).tail(None) == b"old\n" * 100 + b"new\n"


def test_a_short_log_is_left_alone_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    path = log_path(tmp_path, "shop", "web", "app")
    os.close(open_log(path))
    rotate_logs(tmp_path, limit=10)
    assert sorted(tmp_path.rglob("*.log*")) == [path]
    missing = LogReader(tmp_path / "no" / "app.log")
    assert missing.tail(None) == b""
    assert list(missing.added()) == []


def test_the_longest_names_have_logs_that_are_cut_too(tmp_path: Path) -> None:
    pods = [f"{'p' * 252}{last}" for last in "ab"]
    paths = [log_path(tmp_path, "n" * 63, pod, "c" * 63) for pod in pods]
    for path in paths:
        descriptor = open_log(path)
        os.write(descriptor, b"old\n" * 100)
        os.close(descriptor)
    rotate_logs(tmp_path, limit=10)
    assert [path.read_bytes() for path in paths] == [b"", b""]
    assert [LogReader(path).tail(1) for path in paths] == [b"old\n"] * 2
