"""A mesh from outside: entering its pods, ending it, and what is left when it is killed (nothing)."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heddle.local.init import start_time
from heddle.local.isolation import Isolation
from tests.network.mesh_under_test import command, environment

pytestmark = pytest.mark.network

MARKER = "1234567"  # what the pods' processes sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A mesh of twenty pods."""

    isolation: Isolation
    parent: subprocess.Popen[str]
    said: Mapping[str, Any]
    launcher: tuple[str, ...]

    def enter(self, *argv: str, pod: int = 0, directory: str = "/") -> tuple[str, ...]:
        """The command line that runs `argv` in a pod, as `heddle local exec` does."""
        mesh = json.dumps({"pid": self.said["pid"], "started": self.said["started"]})
        handle = json.dumps(self.said["pods"][pod])
        return (*self.launcher, "-m", "tests.network.enter_under_test", mesh, handle, directory, *argv)

    def run(self, *argv: str, pod: int = 0, directory: str = "/", **options: Any) -> subprocess.CompletedProcess[str]:
        line = self.enter(*argv, pod=pod, directory=directory)
        return subprocess.run(
            line, env=environment(), cwd="/", text=True, capture_output=True, timeout=30, check=False, **options
        )


@pytest.fixture(params=(Isolation.ROOT, Isolation.USER_NAMESPACE), ids=lambda mode: mode.value)
def mesh(request: pytest.FixtureRequest) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="heddle-test-") as name:
        line = command(request.param, "twenty_pods_then_hold", Path(name))
        parent = subprocess.Popen(
            line, cwd="/", env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        try:
            said = json.loads(parent.stdout.readline())
            launcher = line[: line.index("-m")]
            yield Running(isolation=request.param, parent=parent, said=said, launcher=launcher)
        finally:
            parent.kill()
            parent.wait()
            parent.stdout.close()


def test_exec_passes_streams_status_and_directory(mesh: Running) -> None:
    done = mesh.run("sh", "-c", "cat; echo to stderr >&2; pwd; hostname; exit 7", pod=3, directory="/usr", input="in\n")
    assert (done.stdout, done.stderr, done.returncode) == ("in\n/usr\np3\n", "to stderr\n", 7)
    assert mesh.run("sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert mesh.run("no-such-program").returncode == 127
    assert mesh.run("/etc").returncode == 126
    assert mesh.run("pwd", directory="/no/such/folder").stdout == "/\n"
    found = mesh.run("ip", "-4", "-br", "address", "show", "eth0", pod=5).stdout
    assert mesh.said["pods"][5]["address"] in found
    # Its processes are the mesh's: they die with it.
    assert "pid 1\n" in mesh.run("sh", "-c", "test -d /proc/1 && echo pid $(cat /proc/1/stat | cut -d' ' -f1)").stdout


def test_exec_works_twenty_times_at_once(mesh: Running) -> None:
    running = [
        subprocess.Popen(
            mesh.enter("sh", "-c", f"read line; echo $line from $(hostname); exit {number}", pod=number),
            env=environment(),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(20)
    ]
    for number, one in enumerate(running):
        assert one.communicate(f"hello {number}\n", timeout=60)[0] == f"hello {number} from p{number}\n"
        assert one.returncode == number


def test_exec_keeps_its_terminal(mesh: Running) -> None:
    controller, terminal = pty.openpty()
    one = subprocess.Popen(
        mesh.enter("sh", "-c", "test -t 0 && test -t 1 && read line && echo got $line"),
        env=environment(),
        cwd="/",
        stdin=terminal,
        stdout=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.write(controller, b"typed\n")
    seen = b""
    while b"got typed" not in seen:
        assert select.select([controller], [], [], 30)[0], seen
        seen += os.read(controller, 1024)
    assert one.wait(30) == 0
    os.close(controller)


def test_exec_passes_signals_on_and_takes_its_command_along(mesh: Running) -> None:
    script = 'trap "echo asked; exit 3" TERM; echo ready; while :; do read line; done'
    for number, expected in ((signal.SIGTERM, "asked\n"), (signal.SIGKILL, "")):
        # The command has its own standard input, so that only the signal can end it.
        source, held_open = os.pipe()
        one = subprocess.Popen(
            mesh.enter("sh", "-c", script),
            env=environment(),
            cwd="/",
            stdin=source,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
        one.send_signal(number)
        # Read to the end: it comes when the command is gone, and not only the one who waits for it.
        assert one.stdout.read() == expected
        assert one.wait(30) == (3 if number == signal.SIGTERM else -signal.SIGKILL)
        one.stdout.close()
        os.close(source)
        os.close(held_open)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_mesh_ends_when_told(mesh: Running, number: signal.Signals) -> None:
    mesh.parent.send_signal(number)
    told = signal.SIGTERM if number == signal.SIGHUP else number
    # The supervisor of these tests is Python: SIGINT is a KeyboardInterrupt, and ends it by that signal too.
    assert mesh.parent.wait(30) == 128 + told
    assert_nothing_left(mesh)


@pytest.mark.parametrize("victim", ["parent", "init", "supervisor"])
def test_a_killed_mesh_leaves_nothing(mesh: Running, victim: str) -> None:
    pid = int(mesh.said["pid"])
    match victim:
        case "parent":
            mesh.parent.kill()
        case "init":
            os.kill(pid, signal.SIGKILL)
        case _:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
    assert mesh.parent.wait(30) in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert_nothing_left(mesh)
    assert mesh.run("true").returncode == 125


def test_the_host_reaches_pods_and_has_no_rules(mesh: Running) -> None:
    if mesh.isolation is not Isolation.ROOT:
        pytest.skip("an ordinary user's mesh cannot reach into the host's network")
    with socket.create_connection((mesh.said["pods"][0]["address"], 8080), 10) as connection:
        assert connection.makefile().readline().startswith("p0 from=10.199.0.3 ")


def assert_nothing_left(mesh: Running) -> None:
    """The mesh's first process is gone (wait for it), and every other process, interface and route with it."""
    pid = int(mesh.said["pid"])
    try:
        with os.fdopen(os.pidfd_open(pid)) as descriptor:
            if start_time(pid) == mesh.said["started"]:
                assert select.select([descriptor], [], [], 30)[0], "the mesh's first process lives on"
    except (ProcessLookupError, FileNotFoundError):
        pass
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().decode().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if MARKER in arguments:
                left.append(arguments)
    assert left == []
    # The kernel takes the interfaces away soon after the last process; `ip monitor` would tell, but may miss it.
    watch = subprocess.run(
        ("sh", "-c", "while ip route show | grep -q '^10.199'; do :; done; ip -br link show type veth"),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "heddle199" not in watch.stdout
