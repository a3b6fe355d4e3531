"""Heddle's control plane in a process of its own (`python -m bench.plane_process`), with nothing else in it.

It runs as `heddle serve` does, with its log, its garbage collection and its memory, on a directory of manifests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.children import Json, reply, run_child
from heddle import garbage
from heddle.control_plane import ControlPlane, PlaneSettings
from heddle.log_output import configure_logging
from model.on_demand import SidecarConfig


async def _serve(given: AsyncIterator[Json]) -> None:
    first = await anext(given)
    garbage.while_loading()
    plane = ControlPlane(
        PlaneSettings(
            directory=Path(first["manifests"]),
            keys=Path(first["keys"]),
            host="127.0.0.1",
            sidecar_config=SidecarConfig(first["mode"]),
        )
    )
    async with plane.running():
        garbage.while_serving()
        reply(
            {
                "address": f"127.0.0.1:{plane.xds_address[1]}",
                "root": plane.trust_bundle.decode(),
                "server_name": plane.server_name,
                "tokens": {
                    f"sidecar~{pod.addresses[0]}~{name}.{namespace}~x": plane.mint_token(pod)
                    for (namespace, name), pod in plane.store.mesh.pods.items()
                },
            }
        )
        async for command in given:
            if "change" in command:
                at = time.time_ns()
                plane.store.replace_file(command["file"], command["change"].encode())
                reply({"at": at})
            elif "acks" in command:
                # Asked once the clients have answered: looking on meanwhile would cost what is measured.
                while plane.streams.acknowledged(plane.store.generation) < command["acks"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
                reply({"at": time.time_ns()})


if __name__ == "__main__":
    configure_logging(json_lines=True, verbose=False)
    run_child(_serve)
