"""The process that is a mesh: control plane, name server and pod runner in one event loop.

`heddle local up` starts it inside the mesh's namespaces as `python -m heddle.local.supervisor OPTIONS`, OPTIONS being
`SupervisorOptions` as JSON. SIGTERM or SIGINT end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from heddle.admin import About, admin_api
from heddle.control_plane import ControlPlane, PlaneSettings
from heddle.local import namespaces
from heddle.local.addresses import AddressUnavailable
from heddle.local.dns import serve_names
from heddle.local.environment import inherited_environment
from heddle.local.isolated_places import IsolatedPlaces
from heddle.local.isolation import Isolation, MeshProcess, mesh_process
from heddle.local.loopback_places import LoopbackPlaces, reserve_loopback
from heddle.local.mesh_state import MeshState, encode_state, read_state, write_state
from heddle.local.network import MeshNetwork, NetworkFailed
from heddle.local.places import Places
from heddle.local.progress import Progress
from heddle.local.runtime import Runtime, RuntimeSettings, sidecars_at_once
from heddle.local.sidecar import SidecarProgram, find_envoy
from heddle.local.subnets import host_networks, reserve_subnet
from heddle.local.supervisor_options import KEYS_REFUSED, SupervisorOptions, decode_options
from heddle.log_output import configure_logging
from heddle.meshes import MeshHome, MeshRecord, home_of
from heddle.output import complain
from model.asker import Capture
from model.on_demand import SidecarConfig
from model.pods import Pod
from sds.certificate_policy import CertificatePolicy
from sds.keyfiles import KeyFileError

XDS_PORT: Final = 15012
_TOLD_SECONDS: Final = 3.0
_LOOK_EVERY_SECONDS: Final = 0.01
_APPLICATIONS_GRACE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What an isolation gives a mesh to stand on."""

    places: Places
    isolation: str
    process: tuple[int, int] | None
    xds_host: IPv4Address
    xds_port: int
    scratch: Path
    binary: Path
    capture: Callable[[Pod], tuple[Capture, str]]


async def supervise(options: SupervisorOptions, home: MeshHome) -> int:
    """Runs the mesh until it is told to end; the exit status."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _ground(home) as ground:
        try:
            plane = _control_plane(options, home, ground)
        except KeyFileError as refused:
            # Caught here, because the task groups around would wrap it.
            complain(f"{refused}; `heddle local down --mesh {home.name}` clears away a crashed mesh with its keys")
            return KEYS_REFUSED
        runtime = _runtime(options, home, ground, plane)
        plane.set_pending(runtime.pending)
        async with plane.running(), admin_api(plane, About(mesh=home.name), home.admin_socket):
            starting = MeshState(isolation=ground.isolation, process=ground.process, settled=False)
            write_state(home, encode_state(starting))
            home.write_record(
                MeshRecord(name=home.name, directory=options.directory, started=time.time(), kind="local")
            )
            running = asyncio.create_task(runtime.run())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await runtime.end(grace_seconds=_APPLICATIONS_GRACE_SECONDS)
                running.cancel()
            stopping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
    return 0


def _control_plane(options: SupervisorOptions, home: MeshHome, ground: _Ground) -> ControlPlane:
    """Raises KeyFileError if the keys that are there are not this mesh's."""
    life = timedelta(seconds=options.certificate_seconds)
    return ControlPlane(
        PlaneSettings(
            directory=Path(options.directory),
            keys=home.path / "ca",
            host=str(ground.xds_host),
            port=ground.xds_port,
            certificates=CertificatePolicy(life=life) if life else CertificatePolicy(),
            capture=ground.capture,
            sidecar_config=SidecarConfig(options.sidecar_config),
            unused_after=timedelta(seconds=options.unused_seconds) or None,
        )
    )


def _runtime(options: SupervisorOptions, home: MeshHome, ground: _Ground, plane: ControlPlane) -> Runtime:
    folders = ground.scratch / "pods"
    folders.mkdir(mode=0o711)
    progress = Progress(mesh=home.name, write=lambda line: print(line, flush=True))

    def save(encoded: bytes) -> None:
        write_state(home, encoded)
        state = read_state(home)
        if state is not None:
            progress.show(state)

    settings = RuntimeSettings(
        directory=Path(options.directory) if Path(options.directory).is_dir() else Path(options.directory).parent,
        folders=folders,
        logs=home.path / "logs",
        node_name=os.uname().nodename,
        inherited=inherited_environment(os.environ),
        program=SidecarProgram(
            binary=ground.binary,
            user=ground.places.sidecar_user,
            marks=ground.places.marks,
            log_level=options.envoy_log_level,
        ),
        starting=sidecars_at_once(),
        isolation=ground.isolation,
        process=ground.process,
        told=lambda: _until_told(plane),
        save=save,
    )
    return Runtime(settings=settings, store=plane.store, plane=plane, places=ground.places)


async def _until_told(plane: ControlPlane) -> None:
    """Returns once every sidecar has acknowledged the present snapshot. One that is stuck is not waited for long."""
    generation = plane.store.generation
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TOLD_SECONDS):
            while not all(stream.acknowledged(generation) for stream in plane.streams.state()):  # noqa: ASYNC110
                # An acknowledgement is no event outside its stream.
                await asyncio.sleep(_LOOK_EVERY_SECONDS)


@asynccontextmanager
async def _ground(home: MeshHome) -> AsyncIterator[_Ground]:
    try:
        process = mesh_process(os.environ)
    except KeyError:
        async with _loopback_ground(home) as ground:
            yield ground
        return
    async with _isolated_ground(home, process) as ground:
        yield ground


@asynccontextmanager
async def _isolated_ground(home: MeshHome, process: MeshProcess) -> AsyncIterator[_Ground]:
    reservation = reserve_subnet(home.path.parent, taken=host_networks(process.host_network))
    scratch = _cover_state(home)
    network = MeshNetwork(subnet=reservation.subnet, files=scratch / "files")
    binary = scratch / "envoy"
    binary.touch()
    # Where it is installed, the sidecar's user may not be allowed to go (/root, say).
    namespaces.bind(find_envoy(), binary)
    places = IsolatedPlaces(network=network, isolation=process.isolation)
    gateway = reservation.subnet.gateway
    async with (
        serve_names([str(gateway)], new_id=lambda: secrets.randbits(16), resolvers=process.resolvers) as names,
        contextlib.AsyncExitStack() as at_end,
    ):
        at_end.callback(os.close, reservation.lock)
        if process.host_network is not None:
            at_end.callback(network.disconnect_host)
            try:
                network.connect_host(process.host_network)
            except NetworkFailed as error:
                complain(f"pods cannot be reached from the host, only by `heddle local exec`: {error}")
        places.serve_names_with(names)
        yield _Ground(
            places=places,
            isolation="root" if process.isolation is Isolation.ROOT else "user",
            process=(process.pid, process.started),
            xds_host=gateway,
            xds_port=XDS_PORT,
            scratch=scratch,
            binary=binary,
            capture=lambda pod: (Capture.REDIRECT, ""),
        )


@asynccontextmanager
async def _loopback_ground(home: MeshHome) -> AsyncIterator[_Ground]:
    # Pid 1 of a mesh sees to this where there is one.
    namespaces.die_with_parent(signal.SIGTERM)
    network, guard = reserve_loopback()
    scratch = home.path / "run"
    scratch.mkdir(mode=0o700)
    with contextlib.closing(guard):
        places = LoopbackPlaces(network=network, mesh=str(home.path))
        yield _Ground(
            places=places,
            isolation="loopback",
            process=None,
            xds_host=IPv4Address(places.host_address),
            xds_port=XDS_PORT,
            scratch=scratch,
            binary=find_envoy(),
            capture=places.capture_of,
        )


def _cover_state(home: MeshHome) -> Path:
    """Covers the state root, inside the mesh, by memory that goes with it; only the mesh's own directory shows through.

    The sidecars' user may pass through it, which it may not through the directory itself, and applications see
    nothing of other meshes.
    """
    root = home.path.parent
    own = os.open(home.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    namespaces.mount_scratch(root)
    home.path.mkdir(mode=0o700)
    namespaces.bind(f"/proc/self/fd/{own}", home.path)
    os.close(own)
    scratch = root / ".run"
    scratch.mkdir(mode=0o711)
    return scratch


def main() -> int:
    options = decode_options(sys.argv[1])
    configure_logging(json_lines=False, verbose=options.verbose)
    try:
        return asyncio.run(supervise(options, home_of(options.mesh)))
    except (OSError, ValueError, NetworkFailed, AddressUnavailable) as error:
        complain(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
