"""A real Kubernetes control plane on this machine: etcd, the API server and the controller manager, as our processes.

It has no kubelet, no scheduler and no network: Pods stay Pending until somebody plays those. The fixture is in
`tests/kubernetes/conftest.py`; `python -m tests.cluster` is one to use by hand.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import itertools
import secrets
import signal
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from tests.cluster import build
from tests.cluster.client import Client, write_kubeconfig
from tests.cluster.components import SERVICE_RANGE, Ports, api_server, controller_manager, etcd
from tests.cluster.keeper import Keeper
from tests.cluster.keys import write_keys

API_SERVER: Final = "kube-apiserver"
CONTROLLERS: Final = "kube-controller-manager"
ETCD: Final = "etcd"

_LIMIT_SECONDS: Final = {ETCD: 60.0, API_SERVER: 180.0, CONTROLLERS: 120.0}
"""How long each may take until it serves: many times what it takes on an idle machine of two cores."""
_STOP_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.05
_REPORT_SECONDS: Final = 10.0


class ControlPlane:
    """A running control plane. Make one with `start` or `running`; whoever calls `start` calls `stop`.

    `url` is the API server's base URL, `ca_file` the PEM file that its certificate is verified with, `admin_token` a
    bearer token that may do everything. Methods may be called from any thread.
    """

    def __init__(
        self, bind_address: str, service_ranges: str, api_server_flags: Sequence[str], progress: build.Progress
    ) -> None:
        self._progress = progress
        self._programs = build.component_folder(progress)
        self._ports = Ports.free(bind_address)
        self.directory = Path(tempfile.mkdtemp(prefix="heddle-cluster-"))
        """Logs, keys and data; gone after `stop`."""
        self._keeper = Keeper(self.directory)
        self._bind_address = bind_address
        self._service_ranges = service_ranges
        self._api_server_flags = tuple(api_server_flags)
        self._numbers = itertools.count()
        host = f"[{bind_address}]" if ":" in bind_address else bind_address
        self.url = f"https://{host}:{self._ports.api_server}"
        self.ca_file = self.directory / "ca.crt"
        self.admin_token = secrets.token_urlsafe(24)

    @cached_property
    def admin(self) -> Client:
        """The administrator."""
        return self._client("admin", self.admin_token)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.admin.kubeconfig

    @property
    def programs(self) -> Path:
        """The folder with kubectl and the components."""
        return self._programs

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of a kubectl command of the administrator. Raises CommandFailed unless it ends with 0."""
        return self.admin.kubectl(*arguments, stdin=stdin)

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of a helm command of the administrator. Raises CommandFailed, ClusterUnavailable."""
        return self.admin.helm(*arguments, stdin=stdin)

    def token(
        self,
        namespace: str,
        service_account: str,
        *,
        audience: str | None = None,
        pod: str | None = None,
        life_seconds: int = 3600,
    ) -> str:
        """A token by TokenRequest, for the API server or for `audience`, bound to `pod` (its name) if one is given.

        `life_seconds` must be at least 600, the API server's limit. Raises CommandFailed.
        """
        options = [f"--duration={life_seconds}s"]
        if audience is not None:
            options.append(f"--audience={audience}")
        if pod is not None:
            options += ["--bound-object-kind=Pod", f"--bound-object-name={pod}"]
        return self.kubectl("create", "token", service_account, "-n", namespace, *options).strip()

    def service_account(self, namespace: str, name: str) -> Client:
        """kubectl and helm with the rights of a ServiceAccount that exists, for an hour. Raises CommandFailed."""
        return self._client(f"{namespace}-{name}-{next(self._numbers)}", self.token(namespace, name))

    def log(self, component: str) -> str:
        """All that a component has said so far."""
        file = self.directory / f"{component}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def pid(self, component: str) -> int:
        return self._keeper.pid(component)

    def status(self, component: str) -> int | None:
        """None while it runs, then its exit status, negative for a signal."""
        return self._keeper.status(component)

    def stop_api_server(self) -> None:
        """SIGTERM, as in an upgrade; returns when it has ended. What it stored stays."""
        self._keeper.end(API_SERVER, signal.SIGTERM, within_seconds=_STOP_SECONDS)

    def kill_api_server(self) -> None:
        """SIGKILL, as in a crash; returns when it has ended. What it stored stays."""
        self._keeper.end(API_SERVER, signal.SIGKILL, within_seconds=_STOP_SECONDS)

    def start_api_server(self) -> None:
        """Starts it again, at the same address, and returns when it is ready. Does nothing if it runs."""
        if self._keeper.status(API_SERVER) is None:
            return
        self._start_api_server()

    def restart_controllers(self) -> None:
        """Kills the controller manager and starts it again. After outages it otherwise backs off, up to a minute."""
        self._keeper.end(CONTROLLERS, signal.SIGKILL, within_seconds=_STOP_SECONDS)
        self._start_controllers()

    def stop(self) -> None:
        """Ends everything and removes every file. A second call does nothing."""
        self._keeper.close()

    def bring_up(self) -> None:
        """Starts the components and returns when they serve. Raises ClusterUnavailable."""
        began = time.monotonic()
        self._write_files()
        self._start(ETCD, etcd(self._ports, self.directory), self._etcd_serves)
        self._start_api_server()
        self._start_controllers()
        self._progress(f"control plane ready at {self.url} in {time.monotonic() - began:.1f} s")

    def _write_files(self) -> None:
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        addresses = dict.fromkeys((self._bind_address, "127.0.0.1", _first_address(self._service_ranges)))
        write_keys(self.directory, tuple(addresses), names)
        tokens = self.directory / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self.admin_token},admin,1,"system:masters"\n')

    def _start_api_server(self) -> None:
        argv = api_server(self._ports, self.directory, self._bind_address, self._service_ranges, self._api_server_flags)
        self._start(API_SERVER, argv, self._api_server_serves)

    def _start_controllers(self) -> None:
        self._start(CONTROLLERS, controller_manager(self.directory, self.kubeconfig), self._controllers_work)

    def _start(self, component: str, argv: tuple[str, ...], serves: Callable[[], bool]) -> None:
        self._keeper.start(component, (str(self._programs / component), *argv), self.directory / f"{component}.log")
        began = reported = time.monotonic()
        while not serves():
            status = self._keeper.status(component)
            if status is not None:
                raise build.ClusterUnavailable(f"{component} ended with {status}:\n{self._last_lines(component)}")
            now = time.monotonic()
            if now - began > _LIMIT_SECONDS[component]:
                waited = f"{component} does not serve after {now - began:.0f} s"
                raise build.ClusterUnavailable(f"{waited}:\n{self._last_lines(component)}")
            if now - reported > _REPORT_SECONDS:
                reported = now
                self._progress(f"  waiting for {component}, {now - began:.0f} s")
            time.sleep(_POLL_SECONDS)

    def _etcd_serves(self) -> bool:
        return b'"true"' in self._fetch(f"{self._ports.etcd_url}/health")

    def _api_server_serves(self) -> bool:
        return self._fetch(f"{self.url}/readyz") == b"ok"

    def _controllers_work(self) -> bool:
        # Two controllers make these; a pod cannot be created before the first is there.
        core = f"{self.url}/api/v1/namespaces/default"
        return all(self._fetch(f"{core}/{made}") for made in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"))

    def _fetch(self, url: str) -> bytes:
        """The body of a GET with the administrator's token; nothing unless it is a 200."""
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        request = urllib.request.Request(url)
        if url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.ca_file))))
            request.add_header("Authorization", f"Bearer {self.admin_token}")
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=5) as response:
                body: bytes = response.read()
                return body
        except urllib.error.HTTPError as refused:
            refused.close()
            return b""
        except (OSError, http.client.HTTPException):
            return b""

    def _client(self, name: str, token: str) -> Client:
        kubeconfig = self.directory / f"{name}.kubeconfig"
        write_kubeconfig(kubeconfig, url=self.url, authority=self.ca_file, token=token)
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return Client(kubeconfig, home, self._programs, lambda: build.helm_folder(self._progress))

    def _last_lines(self, component: str) -> str:
        return "\n".join(self.log(component).splitlines()[-15:])


def _first_address(ranges: str) -> str:
    """What the API server itself is as a Service."""
    return str(ipaddress.ip_network(ranges.partition(",")[0])[1])


def start(
    bind_address: str = "127.0.0.1",
    *,
    service_ranges: str = SERVICE_RANGE,
    api_server_flags: Sequence[str] = (),
    progress: build.Progress = build.say,
) -> ControlPlane:
    """Starts a control plane and returns when it serves, after building its programs if need be.

    The API server listens at `bind_address` (one of this machine's, IPv4 or IPv6; for pods in network namespaces the
    bridge's; etcd stays on loopback) and gets `api_server_flags` last. Services get addresses of `service_ranges`, one
    or two separated by a comma. Raises ClusterUnavailable, and OSError if the
    address is not this machine's; nothing is left then.
    """
    control_plane = ControlPlane(bind_address, service_ranges, api_server_flags, progress)
    try:
        control_plane.bring_up()
    except BaseException:
        control_plane.stop()
        raise
    return control_plane


@contextlib.contextmanager
def running(
    bind_address: str = "127.0.0.1",
    *,
    service_ranges: str = SERVICE_RANGE,
    api_server_flags: Sequence[str] = (),
    progress: build.Progress = build.say,
) -> Iterator[ControlPlane]:
    """`start` and, at the end of the block, `stop`."""
    control_plane = start(
        bind_address, service_ranges=service_ranges, api_server_flags=api_server_flags, progress=progress
    )
    try:
        yield control_plane
    finally:
        control_plane.stop()
