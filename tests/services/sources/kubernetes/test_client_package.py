"""What is loaded of the `kubernetes` client."""

from __future__ import annotations

import subprocess
import sys

from tests.kubelet.images import CHECKOUT

_LOADS = """
import sys
import sources.kubernetes.api
print("requests" in sys.modules, "kubernetes.aio.client" in sys.modules)
from kubernetes import client, config
print(client.V1Pod.__name__, config.load_kube_config.__name__)
"""


def test_the_synchronous_client_is_loaded_only_when_it_is_asked_for() -> None:
    run = subprocess.run((sys.executable, "-c", _LOADS), cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["False True", "V1Pod load_kube_config"]
