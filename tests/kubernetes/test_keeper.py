"""What a keeper started is gone when its owner is, however that ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cluster.keeper import Keeper

ROOT = Path(__file__).resolve().parents[2]
SLEEP = ("sleep", "600")
OWNER = """
import pathlib, signal, sys
from tests.cluster.keeper import Keeper
folder = pathlib.Path(sys.argv[1])
keeper = Keeper(folder)
keeper.start("sleep", ("sleep", "600"), folder / "log")
print(keeper.pid("sleep"), flush=True)
signal.pause()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "kept"
    made.mkdir()
    return made


def test_closing_ends_the_processes_and_removes_the_folder(folder: Path) -> None:
    keeper = Keeper(folder)
    keeper.start("sleep", SLEEP, folder / "log")
    pid = keeper.pid("sleep")
    keeper.close()
    keeper.close()
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_owner_that_is_killed_takes_all_with_it(folder: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.send_signal(number)
        # The keeper holds the owner's standard error: its end is the end of the keeper's clean-up.
        owner.communicate(timeout=60)
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_a_process_outlives_the_thread_that_started_it(folder: Path) -> None:
    keeper = Keeper(folder)
    try:
        thread = threading.Thread(target=keeper.start, args=("sleep", SLEEP, folder / "log"))
        thread.start()
        thread.join()
        assert keeper.status("sleep") is None
        assert keeper.end("sleep", signal.SIGTERM, within_seconds=30) == -signal.SIGTERM
        assert keeper.status("sleep") == -signal.SIGTERM
    finally:
        keeper.close()


def test_a_program_that_is_not_there_is_named(folder: Path) -> None:
    keeper = Keeper(folder)
    try:
        with pytest.raises(RuntimeError, match="no-such-program"):
            keeper.start("etcd", ("/no-such-program",), folder / "log")
    finally:
        keeper.close()


def test_a_process_that_will_not_end_is_reported(folder: Path) -> None:
    keeper = Keeper(folder)
    try:
        script = (
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
        )
        keeper.start("deaf", (sys.executable, "-c", script), folder / "log")
        while "deaf" not in (folder / "log").read_text():
            assert keeper.status("deaf") is None
        with pytest.raises(RuntimeError, match="TimeoutExpired"):
            keeper.end("deaf", signal.SIGTERM, within_seconds=0.2)
        assert keeper.end("deaf", signal.SIGKILL, within_seconds=30) == -signal.SIGKILL
    finally:
        keeper.close()
