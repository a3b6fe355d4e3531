"""Real processes, of `sh` alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from heddle.local.container_process import Command, ContainerProcess, Phase, RestartPolicy


def container(
    tmp_path: Path, script: str, policy: RestartPolicy, changed: Callable[[], None] = lambda: None
) -> ContainerProcess:
    command = Command(
        argv=("/bin/sh", "-c", script), environment={"PATH": os.defpath}, log=tmp_path / "pod" / "app.log"
    )
    return ContainerProcess(command=command, policy=policy, changed=changed)


async def test_output_is_kept_and_success_is_final(tmp_path: Path) -> None:
    ran = container(tmp_path, "echo out; echo err >&2", RestartPolicy.ON_FAILURE)
    await ran.run()
    assert (ran.phase, ran.restarts) == (Phase.COMPLETED, 0)
    assert (tmp_path / "pod" / "app.log").read_text() == "out\nerr\n"


async def test_a_failure_is_final_where_the_policy_says_so(tmp_path: Path) -> None:
    ran = container(tmp_path, "exit 3", RestartPolicy.NEVER)
    await ran.run()
    assert (ran.phase, ran.reason) == (Phase.FAILED, "exit status 3")


async def test_what_ends_is_started_again_after_a_pause(tmp_path: Path) -> None:
    phases: list[Phase] = []
    ran = container(
        tmp_path, f"test -e {tmp_path}/second || {{ touch {tmp_path}/second; kill -9 $$; }}", RestartPolicy.ON_FAILURE,
        lambda: phases.append(ran.phase),
    )  # fmt: skip
    await ran.run()
    assert phases == [Phase.RUNNING, Phase.BACKING_OFF, Phase.RUNNING, Phase.COMPLETED]
    assert ran.restarts == 1


async def test_a_pause_is_as_long_as_it_may_be_and_no_longer(tmp_path: Path) -> None:
    command = Command(argv=("/bin/sh", "-c", f"echo >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -gt 4"),
                      environment={"PATH": "/usr/bin:/bin"}, log=tmp_path / "pod" / "app.log")  # fmt: skip
    ran = ContainerProcess(command=command, policy=RestartPolicy.ON_FAILURE, changed=lambda: None, longest_delay=0.01)
    # It would be 7.5 s with the pauses of a laptop.
    async with asyncio.timeout(5):
        await ran.run()
    assert (ran.phase, ran.restarts) == (Phase.COMPLETED, 4)


async def test_a_stop_in_the_pause_is_at_once(tmp_path: Path) -> None:
    resting = asyncio.Event()
    ran = container(
        tmp_path, "exit 1", RestartPolicy.ALWAYS, lambda: resting.set() if ran.phase is Phase.BACKING_OFF else None
    )
    running = asyncio.create_task(ran.run())
    async with asyncio.timeout(10):
        await resting.wait()
        await ran.stop(grace_seconds=5)
        await running


@pytest.mark.parametrize(
    ("script", "grace_seconds", "last_words"),
    [
        # A shell waits for what it runs in the foreground before it hears its trap, and a child that is just being made
        # may lose the signal.
        ("trap 'echo asked; exit 0' TERM; sleep 60 & echo up; wait", 10.0, True),
        ("trap '' TERM; echo up; sleep 60", 0.1, False),
    ],
)
async def test_a_stop_asks_first_and_then_insists(
    tmp_path: Path, script: str, grace_seconds: float, last_words: bool
) -> None:
    log = tmp_path / "pod" / "app.log"
    ran = container(tmp_path, script, RestartPolicy.ALWAYS)
    running = asyncio.create_task(ran.run())
    async with asyncio.timeout(20):
        while not log.exists() or "up" not in log.read_text():  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.01)
        await ran.stop(grace_seconds=grace_seconds)
        await running
    assert ran.phase is Phase.COMPLETED
    assert ("asked" in log.read_text()) is last_words


async def test_nothing_that_it_started_outlives_it(tmp_path: Path) -> None:
    ran = container(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child", RestartPolicy.NEVER)
    await ran.run()
    child = int((tmp_path / "child").read_text())
    async with asyncio.timeout(10):
        while _runs(child):  # noqa: ASYNC110 - its new parent reaps it
            await asyncio.sleep(0.01)


async def test_what_runs_beside_it_ends_with_each_process(tmp_path: Path) -> None:
    entered: list[str] = []

    async def beside() -> None:
        entered.append("in")
        try:
            await asyncio.Event().wait()
        finally:
            entered.append("out")

    await container(tmp_path, "sleep 0.1", RestartPolicy.NEVER).run(beside)
    assert entered == ["in", "out"]


async def test_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    command = Command(argv=("/no/such/program",), environment={}, log=tmp_path / "pod" / "app.log")
    ran = ContainerProcess(command=command, policy=RestartPolicy.ALWAYS, changed=lambda: None)
    await ran.run()
    assert ran.phase is Phase.CANNOT_RUN
    assert "/no/such/program" in ran.reason


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
