"""The nodes of a test cluster from outside: starting them, entering their pods, what those have said."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from heddle.local.addresses import MeshSubnet
from heddle.local.log_files import log_path
from heddle.local.programs import find_program
from heddle.local.subnets import reserve_subnet
from tests.cluster.keeper import Keeper
from tests.kubelet.images import CHECKOUT
from tests.kubelet.options import NodeOptions, encode

_AGENT: Final = "nodes"
_UP_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.02

_MESHES: Final = tuple(IPv4Network(f"10.{second}.0.0/16") for second in range(210, 240))
"""What `heddle local up` takes first, which may start at the same moment under another state folder."""

TWO_ZONES: Final = {
    "n1": {"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1"},
    "n2": {"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z2"},
}


class Nodes:
    """Nodes that run. `subnet` has all addresses of the cluster; `host` is where the machine itself is, for pods."""

    def __init__(self, nodes: Mapping[str, Mapping[str, str]] = TWO_ZONES, *, renew_tokens_after: float = 0.0) -> None:
        """Returns when the network is there; pods run once `join` was called. Raises RuntimeError."""
        # Not below a folder that only its maker may enter: sidecars have a user of their own.
        self.directory = Path(tempfile.mkdtemp(prefix="heddle-nodes-"))
        self.directory.chmod(0o755)
        self._keeper = Keeper(self.directory)
        state = Path(tempfile.gettempdir()) / "heddle-test-subnets"
        self._reservation = reserve_subnet(state, taken=(*_own_networks(), *_MESHES))
        self.subnet: MeshSubnet = self._reservation.subnet
        self.host = str(self.subnet.host)
        options = NodeOptions(
            directory=str(self.directory),
            subnet=str(self.subnet.network),
            nodes=nodes,
            renew_tokens_after=renew_tokens_after,
        )
        environment = ("env", f"PYTHONPATH={CHECKOUT}", "PYTHONDONTWRITEBYTECODE=1")
        argv = (*environment, sys.executable, "-m", "tests.kubelet", encode(options))
        try:
            self._keeper.start(_AGENT, argv, self.directory / "agent.log")
            self._process = self._wait_until_up()
        except BaseException:
            self.close()
            raise

    @property
    def service_ranges(self) -> str:
        """The ranges for the API server: what of the subnet is not pods', and one of IPv6."""
        return f"{self.subnet.services},{self.subnet.network6.network_address + (1 << 32)}/112"

    def join(self, kubeconfig: Path) -> None:
        """From now on they follow this API server."""
        temporary = self.directory / ".kubeconfig"
        temporary.write_text(kubeconfig.read_text())
        temporary.rename(self.directory / "kubeconfig")

    def command(self, namespace: str, pod: str, container: str, *argv: str) -> tuple[str, ...]:
        """The command line that runs `argv` in a container, as `kubectl exec` would. Raises KeyError."""
        line = self._state(namespace, pod)["containers"][container]
        enter = (find_program("nsenter"), f"--target={self._process}", "--pid", "--mount")
        return (*enter, *line, *argv)

    def moments(self, namespace: str, pod: str) -> dict[str, float]:
        """When what of a pod's start was done, in seconds of the machine's monotonic clock. Raises KeyError."""
        found: dict[str, float] = self._state(namespace, pod)["moments"]
        return found

    def _state(self, namespace: str, pod: str) -> dict[str, Any]:
        file = self.directory / "pods" / f"{namespace}_{pod}.json"
        try:
            found: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            raise KeyError(f"{namespace}/{pod} does not run here") from None
        return found

    def log(self, namespace: str, pod: str, container: str) -> str:
        """All that a container has said; pods that are gone have said it too."""
        file = log_path(self.directory / "logs", namespace, pod, container)
        return file.read_text(errors="replace") if file.exists() else ""

    def said(self) -> str:
        """The agent's own log."""
        return (self.directory / "agent.log").read_text(errors="replace")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody looks after pods as long as the block lasts: what runs goes on running."""
        children = Path(f"/proc/{self._process}/task/{self._process}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(int(children[0]), signal.SIGCONT)

    def close(self) -> None:
        """Ends everything at once and removes every file."""
        with contextlib.suppress(RuntimeError):
            self._keeper.end(_AGENT, signal.SIGTERM, within_seconds=30)
        self._keeper.close()
        os.close(self._reservation.lock)

    def _wait_until_up(self) -> int:
        up, until = self.directory / "up", time.monotonic() + _UP_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return int(json.loads(up.read_text())["pid"])
            if self._keeper.status(_AGENT) is not None:
                break
            time.sleep(_LOOK_SECONDS)
        raise RuntimeError(f"the nodes did not come up:\n{self.said()}")


@contextlib.contextmanager
def nodes_up(nodes: Mapping[str, Mapping[str, str]] = TWO_ZONES, *, renew_tokens_after: float = 0.0) -> Iterator[Nodes]:
    """Nodes as long as the block lasts."""
    made = Nodes(nodes, renew_tokens_after=renew_tokens_after)
    try:
        yield made
    finally:
        made.close()


def _own_networks() -> tuple[IPv4Network, ...]:
    output = subprocess.run(
        (find_program("ip"), "-j", "-4", "route", "show", "table", "all"), check=True, capture_output=True, text=True
    ).stdout
    found = (route["dst"] for route in json.loads(output or "[]"))
    return tuple(IPv4Network(destination) for destination in found if destination != "default")
