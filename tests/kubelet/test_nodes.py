"""What is left of nodes whose owner was killed: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kubelet.images import CHECKOUT
from tests.kubelet.running_cluster import eventually

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(os.geteuid() != 0, reason="pods have users of their own, which only root can give them"),
]

OWNER = """
import json, time
from tests.kubelet.nodes import Nodes
nodes = Nodes()
print(json.dumps([str(nodes.directory), str(nodes.subnet.network), nodes._process]), flush=True)
time.sleep(600)
"""


def test_nothing_is_left_when_the_owner_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    with owner.stdout:
        directory, subnet, process = json.loads(owner.stdout.readline())
    assert subnet in routes()
    assert Path(f"/proc/{process}").exists()
    owner.send_signal(signal.SIGKILL)
    owner.wait(30)
    eventually(lambda: Path(directory).exists(), lambda there: not there)
    eventually(lambda: Path(f"/proc/{process}").exists(), lambda there: not there)
    eventually(routes, lambda text: subnet not in text)


def routes() -> str:
    return subprocess.run(("ip", "route", "show"), capture_output=True, text=True, check=True).stdout
