"""`heddle serve`: the control plane on a directory of YAML or on a cluster, for sidecars that somebody else starts."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heddle import garbage
from heddle.injection_arguments import add_settings_argument
from heddle.log_output import configure_logging
from heddle.meshes import MeshExists, MeshHome, MeshRecord, claim
from heddle.output import complain
from heddle.sidecar_arguments import add_sidecar_arguments, to_unused_after
from heddle.spans import span
from model.problems import ObjectRef
from sds.certificate_policy import CertificatePolicy
from sds.keyfiles import KeyFileError
from sources.kubernetes_names import is_dns_label, is_dns_name
from sources.mesh_config import MESH_CONFIG

if TYPE_CHECKING:
    from heddle.cluster.settings_reload import SettingsReload
    from heddle.control_plane import Cluster, ControlPlane, PlaneSettings

_ON_CLUSTERS = (
    "kubeconfig",
    "context",
    "secrets_of",
    "namespace",
    "revision",
    "webhook",
    "health",
    "admin",
    "admin_token",
    "settings",
)
"""Arguments that mean something only with --kubernetes."""

SHED = timedelta(seconds=15)
"""Over how long a replica that is told to end (SIGTERM) hands its sidecars over: its pod's grace period is a minute."""
_STREAM_AGE = timedelta(minutes=30)
"""Half the life of a pod's token: a stream never outlives by much what it was opened with."""
_SWITCH_SECONDS = 0.001
"""What sidecars are sent is worked out in one thread; it waits for this long at most for those beside it."""
_DEFAULT_CONFIG = f"{MESH_CONFIG.namespace}/{MESH_CONFIG.name}"
_REFUSALS = (MeshExists, ValueError, OSError, KeyFileError)
"""What the user is told in one line: everything else is our own mistake."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle serve --config manifests/ --xds 127.0.0.1:15010\n"
        "  heddle bootstrap POD -n NAMESPACE > envoy.yaml && envoy -c envoy.yaml\n"
        "Every file under DIR ending in .yaml, .yml or .json is read and watched; several documents a file are fine.\n"
        "With --kubernetes everything comes from a cluster: by a kubeconfig, or in a pod by its service account.\n"
        "Nothing is served before all of it was read; when the API server goes away, what was read stays in force.\n"
        "With --webhook it also answers the API server's questions on /inject and /validate (docs/injection.md).\n"
        "Sidecars connect over TLS and show their pod's token. Ctrl-C ends it; sidecars keep what they have."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="DIR", help="manifests: a directory or a file")
    source.add_argument("--kubernetes", action="store_true", help="a cluster instead of a directory")
    cluster = parser.add_argument_group("only with --kubernetes")
    cluster.add_argument("--kubeconfig", type=Path, metavar="FILE", help="which kubeconfig (as kubectl finds it)")
    cluster.add_argument("--context", default="", metavar="NAME", help="which of its contexts (the current one)")
    cluster.add_argument(
        "--secrets-of", action="append", default=[], metavar="NS", help="a namespace whose Secrets may be read (none)"
    )
    cluster.add_argument(
        "--namespace", default="", metavar="NS", help="Heddle's own ($POD_NAMESPACE, or heddle-system)"
    )
    cluster.add_argument("--revision", default="", help="which revision of Heddle this is (heddle)")
    cluster.add_argument(
        "--webhook",
        type=_address,
        metavar="ADDR",
        help="where webhooks are answered, over TLS (nowhere)",
    )
    cluster.add_argument(
        "--health", type=_address, metavar="ADDR", help="where /healthz/ready, /healthz/live and /metrics are (nowhere)"
    )
    cluster.add_argument(
        "--admin",
        type=_address,
        metavar="ADDR",
        help="where `heddle status --kubernetes` and other replicas are answered, over TLS (nowhere)",
    )
    cluster.add_argument(
        "--admin-token", type=Path, metavar="FILE", help="this pod's token, audience heddle-admin, to ask others (none)"
    )
    add_settings_argument(cluster)
    parser.add_argument(
        "--mesh-config",
        type=_config_map,
        default=MESH_CONFIG,
        metavar="NS/NAME",
        help="the ConfigMap with the mesh's settings (istio-system/istio)",
    )
    parser.add_argument(
        "--xds",
        type=_address,
        default=("127.0.0.1", 15010),
        metavar="ADDR",
        help="where sidecars connect (127.0.0.1:15010)",
    )
    parser.add_argument("--mesh", default="serve", metavar="NAME", help="the name other commands find it by (serve)")
    parser.add_argument(
        "--cert-life", type=span, default=CertificatePolicy().life, metavar="SPAN", help="life of a certificate (24h)"
    )
    add_sidecar_arguments(parser)
    parser.add_argument("--log-json", action="store_true", help="log lines as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")


def run_command(args: argparse.Namespace) -> int:
    configure_logging(json_lines=args.log_json, verbose=args.verbose, audit=True)
    if args.config is not None and not args.config.exists():
        complain(f"{args.config} does not exist: name a directory (or a file) of manifests with --config")
        return 2
    misplaced = [f"--{name.replace('_', '-')}" for name in _ON_CLUSTERS if getattr(args, name)]
    if args.config is not None and misplaced:
        complain(f"{', '.join(misplaced)}: only with --kubernetes, not with --config")
        return 2
    garbage.while_loading()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        return asyncio.run(_serve(args))
    except _REFUSALS as error:
        complain(str(error))
        return 2
    except ExceptionGroup as group:
        refused, other = group.split(_REFUSALS)
        if refused is None or other is not None:
            raise
        complain(str(_first(refused)))
        return 2
    finally:
        garbage.as_usual()


async def _serve(args: argparse.Namespace) -> int:
    home, lock = claim(args.mesh)
    stop = asyncio.Event()
    leaving = asyncio.Event()

    def leave() -> None:
        leaving.set()
        stop.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
    try:
        serving = asyncio.create_task(_serve_for_ever(args, home, leaving))
        stopping = asyncio.create_task(stop.wait())
        # In its own task, because neither a cluster nor a kubeconfig's program that does not answer must keep Ctrl-C
        # from working.
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
    finally:
        for left in home.path.iterdir():
            if left.name not in ("ca", "lock") and not left.is_dir():
                left.unlink(missing_ok=True)
        os.close(lock)
    return 0


async def _serve_for_ever(args: argparse.Namespace, home: MeshHome, leaving: asyncio.Event) -> None:
    """`leaving`: whoever cancels this means that other replicas go on."""
    installation = _installation(args) if args.kubernetes else None
    async with AsyncExitStack() as opened:
        settings = await opened.enter_async_context(_settings(args, home, installation))
        # Not before a cluster is being read: see `_settings`.
        from heddle.admin import About, admin_api
        from heddle.control_plane import ControlPlane

        plane = ControlPlane(settings)
        with_cluster: AbstractAsyncContextManager[None] = nullcontext()
        if settings.cluster is not None and installation is not None:
            with_cluster = await _prepare_cluster(args, plane, settings.cluster, installation, opened)
        record = MeshRecord(name=home.name, directory=plane.source.name, started=time.time(), kind="serve")
        about = About(mesh=home.name)
        if installation is not None:
            about = About(mesh=home.name, replica=_own_pod(), revision=installation.current.injection.revision)
        async with admin_api(plane, about, home.admin_socket):
            if settings.cluster is not None:
                # From now on `heddle status` says what is waited for.
                home.write_record(record)
            async with plane.running(), with_cluster:
                garbage.while_serving()
                home.write_record(record)
                host, port = plane.xds_address
                said = f"heddle serves {plane.source.name} on {host}:{port} (mesh {home.name}); Ctrl-C ends it"
                print(said, file=sys.stderr)
                try:
                    await asyncio.Event().wait()
                finally:
                    if leaving.is_set() and settings.cluster is not None:
                        plane.shed = SHED


def _installation(args: argparse.Namespace) -> SettingsReload:
    """Raises OSError or ValueError if the file of settings is none."""
    from heddle.cluster.settings_reload import SettingsReload
    from injector.settings import SYSTEM_NAMESPACE
    from injector.settings_file import Given

    own = os.environ.get("POD_NAMESPACE") or SYSTEM_NAMESPACE
    return SettingsReload(args.settings, Given(namespace=args.namespace, revision=args.revision, default_namespace=own))


async def _prepare_cluster(
    args: argparse.Namespace,
    plane: ControlPlane,
    cluster: Cluster,
    installation: SettingsReload,
    opened: AsyncExitStack,
) -> AbstractAsyncContextManager[None]:
    """Opens what is there before anything is served; the answer is what else runs once it is."""
    from heddle.cluster.beside import Beside, running_beside
    from heddle.cluster.health import Health, running_health
    from heddle.cluster.metrics import describe_plane

    health = Health(lambda: plane.source.pending)
    if args.health is not None:
        host, port = args.health
        metrics = partial(describe_plane, plane)
        await opened.enter_async_context(running_health(health, metrics=metrics, host=host, port=port))
    # A pod that starts again is another process, which must not take the Lease of the one before for its own.
    replica = f"{_own_pod()}_{secrets.token_hex(4)}"
    beside = Beside(
        settings=installation,
        webhook=args.webhook,
        admin=args.admin,
        admin_token=args.admin_token,
        pod=_own_pod(),
        replica=replica,
    )
    return running_beside(plane, cluster.api, beside, health)


def _own_pod() -> str:
    return os.environ.get("POD_NAME") or socket.gethostname()


@asynccontextmanager
async def _settings(
    args: argparse.Namespace, home: MeshHome, installation: SettingsReload | None
) -> AsyncIterator[PlaneSettings]:
    host, port = args.xds
    given: dict[str, Any] = {
        "keys": home.path / "ca",
        "host": host,
        "port": port,
        "certificates": CertificatePolicy(life=args.cert_life),
        "sidecar_config": args.sidecar_config,
        "unused_after": to_unused_after(args.unused_after),
    }
    if installation is None:
        from heddle.control_plane import PlaneSettings

        yield PlaneSettings(directory=args.config.resolve(), **given)
        return

    from heddle.cluster.reading import reading
    from sources.kubernetes.access import ClusterAccess
    from sources.kubernetes.api import open_api
    from sources.kubernetes.resources import Scope

    scope = Scope(mesh_config=args.mesh_config, secret_namespaces=tuple(dict.fromkeys(args.secrets_of)))
    async with (
        open_api(ClusterAccess(kubeconfig=args.kubeconfig, context=args.context)) as api,
        reading(api, scope) as read,
    ):
        # The API server takes its time to answer; so does all that Heddle is made of to be loaded.
        for module in ("heddle.control_plane", "heddle.cluster.beside", "heddle.admin"):
            await asyncio.to_thread(import_module, module)
        from heddle.control_plane import Cluster, PlaneSettings

        ours = installation.current.injection
        cluster = Cluster(
            api=api, scope=scope, reading=read, namespace=ours.system_namespace, server_name=ours.server_name
        )
        yield PlaneSettings(cluster=cluster, max_age=_STREAM_AGE, **given)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: HOST:PORT, such as 127.0.0.1:15010 or [::1]:15010")
    return host.strip("[]"), int(port)


def _config_map(text: str) -> ObjectRef:
    namespace, slash, name = text.partition("/")
    if not (slash and is_dns_label(namespace) and is_dns_name(name)):
        raise argparse.ArgumentTypeError(f"{text!r} names no ConfigMap: NAMESPACE/NAME, such as {_DEFAULT_CONFIG}")
    return ObjectRef(kind="ConfigMap", namespace=namespace, name=name)


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group
