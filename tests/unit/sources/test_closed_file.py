"""A file that is read once is read whole, whoever is writing it meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sources import open_files
from sources.closed_file import read_closed_file
from sources.held_file import QUIET_AT_MOST_SECONDS, QUIET_SECONDS


class Clock:
    """Time passes where somebody waits; `then` happens in the first pause after `at` seconds."""

    def __init__(self, path: Path, *, at: float = 0.0, then: Callable[[], object] = lambda: None) -> None:
        self.began = self.time = path.stat().st_mtime
        self._at, self._then = at, then

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds
        if self.time - self.began >= self._at:
            self._then()
            self._then = lambda: None


def test_a_file_that_is_being_written_is_read_once_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    writer = path.open("w")
    writer.write("half")
    writer.flush()

    def finish() -> None:
        writer.write(" and half")
        writer.close()

    clock = Clock(path, at=1.0, then=finish)
    assert read_closed_file(str(path), now=clock.now, pause=clock.pause) == b"half and half"
    assert clock.time - clock.began >= 1.0


def test_a_file_that_is_never_closed_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("w"):
        clock = Clock(path)
        with pytest.raises(OSError, match="writing") as raised:
            read_closed_file(str(path), now=clock.now, pause=clock.pause)
    assert (raised.value.errno, raised.value.filename) == (errno.ETXTBSY, str(path))
    assert clock.time - clock.began >= QUIET_AT_MOST_SECONDS


def test_where_nobody_can_tell_the_file_must_be_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "_SET_LEASE", None)
    path = tmp_path / "a.yaml"
    path.write_text("half")

    def finish() -> None:
        path.write_text("half and half")
        os.utime(path, (clock.time, clock.time))

    clock = Clock(path, at=QUIET_SECONDS / 2, then=finish)
    assert read_closed_file(str(path), now=clock.now, pause=clock.pause) == b"half and half"
    assert clock.time - clock.began >= QUIET_SECONDS


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"text"))
    writer.start()
    clock = Clock(pipe)
    assert read_closed_file(str(pipe), now=clock.now, pause=clock.pause) == b"text"
    writer.join()
