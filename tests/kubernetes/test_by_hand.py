"""`make cluster`: a control plane in the foreground that leaves nothing, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def processes_naming(directory: Path) -> list[str]:
    """Command lines of this machine that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in line:
            found.append(line)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_prints_a_kubeconfig_that_works_and_leaves_nothing(cluster: ControlPlane, number: signal.Signals) -> None:
    # The session's fixture has seen to it that the programs are built.
    kubectl = cluster.programs / "kubectl"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cluster", "--no-helm"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            match = re.fullmatch(r"export KUBECONFIG=(\S+)\n", line)
            assert match, line + process.communicate()[1]
            directory = Path(match[1]).parent
            environment = {**os.environ, "KUBECONFIG": match[1]}
            done = subprocess.run(
                [str(kubectl), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"],
                env={**environment, "HOME": str(directory)},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert done.stdout == "admin"
            assert len(processes_naming(directory)) == 4, processes_naming(directory)
        finally:
            process.send_signal(number)
            # The keeper has the same standard error: its end is the end of the clean-up.
            process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert processes_naming(directory) == []
    assert not directory.exists()
