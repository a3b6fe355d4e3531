"""`python -m tests.network.probe_behind_capture ADDRESS`: a sidecar as its own user behind capture rules.

Run in the pod's network by `test_injected_capture.py`. Prints what the sidecar answers a kubelet, and what becomes of
a call of the sidecar's user that the rules do not let through.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import aiohttp

from injector.capture import SIDECAR_USER
from tests.injector.application import http_application
from tests.injector.sidecar_process import running, sidecar_argv, without_control_plane
from tests.unit.injector.pods import pod
from tests.unit.translators.test_bootstrap import root_pem

AS_SIDECAR = ("setpriv", f"--reuid={SIDECAR_USER}", f"--regid={SIDECAR_USER}", "--clear-groups", "--no-new-privs")


async def main(address: str) -> None:
    # pytest's own folders are closed to the sidecar's user.
    with tempfile.TemporaryDirectory(prefix="heddle-test-") as folder:
        await probe(Path(folder), address)


async def probe(folder: Path, address: str) -> None:
    async with http_application(address) as application:
        probes = {
            "readinessProbe": {"httpGet": {"path": "/", "port": application.port}},
            "livenessProbe": {"tcpSocket": {"port": application.port}},
        }
        before = pod(containers=[{"name": "app", **probes}])
        argv = without_control_plane(sidecar_argv(before, folder, address=address, roots=root_pem()))
        for path in (folder, *folder.rglob("*")):
            os.chown(path, SIDECAR_USER, SIDECAR_USER)
        async with (
            running([*AS_SIDECAR, *argv], folder / "envoy.log"),
            aiohttp.ClientSession(f"http://{address}:15020") as kubelet,
        ):
            tcp = await until_answered(kubelet, "/app-health/app/livez")
            http = await until_answered(kubelet, "/app-health/app/readyz")
            call = (*AS_SIDECAR, "curl", "-s", "--max-time", "5", f"http://{address}:{application.port}/")
            captured = await (await asyncio.create_subprocess_exec(*call)).wait()
            refused = 7
            print("tcp", tcp, "http", http, "captured", "refused" if captured == refused else captured)


async def until_answered(kubelet: aiohttp.ClientSession, path: str) -> int:
    """The first answer other than 503, which is also given before the first check."""
    status = 0
    async with asyncio.timeout(15):
        while status in (0, 503):
            try:
                async with kubelet.get(path) as answer:
                    status = answer.status
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
    return status


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
