"""Running a scenario inside a mesh's namespaces, as root or as an ordinary user, from a test outside of them.

`python -m tests.network.mesh_under_test ISOLATION SCENARIO FOLDER` is the mesh: it leaves the host and starts itself
again as the supervisor, which calls the function `SCENARIO` of `scenarios.py` or `restart.py`.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from heddle.local.isolation import Isolation, IsolationRefused, probe, run_isolated

WORLD = "HEDDLE_TEST_WORLD"
"""The environment variable with the port of a name server that the test runs."""

ROOT = Path(__file__).resolve().parents[2]


def command(isolation: Isolation, scenario: str, folder: Path) -> tuple[str, ...]:
    """The command line that runs a scenario; skips the test where this host cannot."""
    if isolation is Isolation.ROOT or os.geteuid() != 0:
        try:
            probe(isolation)
        except IsolationRefused as refused:
            pytest.skip(str(refused))
        launcher: tuple[str, ...] = (sys.executable,)
    else:
        launcher = ordinary_user()
    folder.chmod(0o777)
    return (*launcher, "-m", "tests.network.mesh_under_test", isolation.value, scenario, str(folder))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}


def run_scenario(isolation: Isolation, scenario: str, folder: Path) -> str:
    """What a scenario printed. Fails, with all it said, unless it ended with status 0."""
    # Not pytest's own folder for temporary files: only its maker may enter that.
    done = subprocess.run(
        command(isolation, scenario, folder),
        cwd="/",
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@cache
def ordinary_user() -> tuple[str, ...]:
    """How root starts Python as somebody else; with no interpreter that somebody else can read, root plays the part."""
    for user in pwd.getpwall():
        if user.pw_uid >= 1000 and user.pw_uid != 65534:
            break
    else:
        return (sys.executable,)
    become = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    # What setpriv executes is still opened with root's powers; what the shell executes is not.
    become = (*become, "sh", "-c", 'exec "$0" "$@"')
    for python in (sys.executable, shutil.which("python3", path="/usr/bin")):
        check = (*become, python or "", "-c", "import sys, heddle.local.network, dns; print(sys.version_info[:2])")
        tried = subprocess.run(check, env=environment(), cwd="/", capture_output=True, text=True, check=False)
        if python and tried.returncode == 0 and tried.stdout.strip() == str(sys.version_info[:2]):
            return (*become, python)
    return (sys.executable,)


def resolvers() -> tuple[int, ...]:
    """A socket to the test's own name server, which is on the host's loopback: no pod could reach that."""
    port = os.environ.get(WORLD)
    if port is None:
        return ()
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection.connect(("127.0.0.1", int(port)))
    return (connection.detach(),)


def main() -> int:
    isolation, scenario, folder = Isolation(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    if len(sys.argv) == 4:
        again = (sys.executable, "-m", "tests.network.mesh_under_test", *sys.argv[1:], "inside")
        return run_isolated(isolation, again, resolvers=resolvers())
    from tests.network import restart, scenarios

    getattr(restart if hasattr(restart, scenario) and not hasattr(scenarios, scenario) else scenarios, scenario)(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
