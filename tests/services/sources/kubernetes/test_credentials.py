"""Who we are to an API server, whom we believe, and what becomes of both while we run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from sources.kubernetes import api as api_module
from sources.kubernetes import credential_program
from sources.kubernetes.access import ClusterAccess, NoCluster
from sources.kubernetes.api import Api, Refused, Unreachable, open_api
from tests.kubernetes_api.certificates import write_certificate
from tests.kubernetes_api.server import TOKEN, FakeApiServer, running

MAPS = "/api/v1/configmaps"
TIMEOUT_SECONDS = 20.0


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with running(FakeApiServer()) as server:
        yield server


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[FakeApiServer]:
    """One that speaks TLS with `server.crt`, and asks for the certificates `one` and `two`."""
    server = FakeApiServer()
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(*write_certificate(tmp_path, "server"))
    server.tls.verify_mode = ssl.CERT_OPTIONAL
    for name in ("one", "two"):
        server.tls.load_verify_locations(write_certificate(tmp_path, name)[0])
    async with running(server):
        yield server


def kubeconfig(folder: Path, fake: FakeApiServer, user: dict[str, Any], **cluster: Any) -> ClusterAccess:
    scheme = "https" if fake.tls else "http"
    named = {"cluster": {"server": f"{scheme}://127.0.0.1:{fake.port}", **cluster}, "name": "fake"}
    context = {"context": {"cluster": "fake", "user": "tester"}, "name": "fake"}
    head = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
    users = [{"user": user, "name": "tester"}]
    file = folder / "config"
    file.write_text(yaml.safe_dump({**head, "clusters": [named], "users": users, "contexts": [context]}))
    return ClusterAccess(kubeconfig=file)


def plugin(folder: Path, token: str) -> dict[str, Any]:
    """A kubeconfig's user whose program prints a token, and leaves a line in `runs` each time."""
    program = folder / "plugin"
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s"}}'
    program.write_text(f"#!/bin/sh\necho ran >> {folder}/runs\necho '{answer % token}'\n")
    program.chmod(0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}}


async def get(api: Api) -> bytes:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await api.get(MAPS, {})


async def watch_until_it_breaks(api: Api, version: int, opened: asyncio.Event, goes_on: asyncio.Event) -> bool:
    try:
        async with api.stream(MAPS, {"watch": "true", "resourceVersion": str(version)}) as pieces:
            opened.set()
            await goes_on.wait()
            async for _ in pieces:
                pass
    except Unreachable:
        return True
    return False


async def test_everybody_who_waits_uses_what_one_program_gave(server: FakeApiServer, tmp_path: Path) -> None:
    async with open_api(kubeconfig(tmp_path, server, plugin(tmp_path, TOKEN))) as api:
        await get(api)
        server.tokens = {"next"}
        plugin(tmp_path, "next")
        refused = await asyncio.gather(*(get(api) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(each, Refused) for each in refused)
        await asyncio.gather(*(get(api) for _ in range(10)))
        assert (tmp_path / "runs").read_text() == "ran\n" * 2


async def test_without_what_its_program_should_give_nobody_is_asked(server: FakeApiServer, tmp_path: Path) -> None:
    user = plugin(tmp_path, TOKEN)
    async with open_api(kubeconfig(tmp_path, server, user)) as api:
        await get(api)
        server.tokens = {"next"}
        with pytest.raises(Refused):
            await get(api)
        (tmp_path / "plugin").write_text("#!/bin/sh\nexit 1\n")
        before = len(server.requests)
        with pytest.raises(Unreachable, match="plugin"):
            await get(api)
        assert len(server.requests) == before
        # Asked for without a name, most servers would say 403, which no new credentials are expected to change.
        plugin(tmp_path, "next")
        await get(api)
    (tmp_path / "plugin").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(NoCluster, match="plugin"):
        async with open_api(kubeconfig(tmp_path, server, user)):
            pass


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "exit status 3"),
        ("echo hello", "no JSON"),
        ("echo '[]'", "no ExecCredential"),
        ("""echo '{"apiVersion": "v9", "kind": "ExecCredential", "status": {"token": "t"}}'""", "of v9"),
        (
            """echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}}'""",
            "neither a token nor a certificate",
        ),
    ],
)
async def test_a_program_that_gives_nothing_is_told(
    server: FakeApiServer, tmp_path: Path, script: str, why: str
) -> None:
    user = plugin(tmp_path, TOKEN)
    (tmp_path / "plugin").write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(NoCluster, match=why):
        async with open_api(kubeconfig(tmp_path, server, user)):
            pass


def waiting_plugin(folder: Path) -> dict[str, Any]:
    """One that waits for somebody; `pid` has its number."""
    user = plugin(folder, TOKEN)
    (folder / "plugin").write_text(
        f"#!/bin/sh\necho $$ > {folder}/pid.new && mv {folder}/pid.new {folder}/pid\nsleep 60\n"
    )
    return user


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_program_that_takes_too_long_is_ended_and_told(
    server: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_program, "PROGRAM_SECONDS", 0.5)
    with pytest.raises(NoCluster, match=r"plugin gave no credentials within 0\.5 s; .*running it yourself"):
        async with open_api(kubeconfig(tmp_path, server, waiting_plugin(tmp_path))):
            pass
    assert not is_running(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("command", [["check"], ["serve", "--kubernetes", "--mesh", "waits"]])
def test_whoever_waits_for_a_program_can_give_up(server: FakeApiServer, tmp_path: Path, command: list[str]) -> None:
    access = kubeconfig(tmp_path, server, waiting_plugin(tmp_path))
    argv = [sys.executable, "-m", "heddle.main", *command, "--kubeconfig", str(access.kubeconfig)]
    with subprocess.Popen(argv, env={**os.environ, "HEDDLE_STATE": str(tmp_path / "state")}) as process:
        try:
            until = time.monotonic() + TIMEOUT_SECONDS
            while not (tmp_path / "pid").exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_SECONDS) in (0, 130)
        finally:
            process.kill()
    assert not is_running(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("steps", range(6))
async def test_whoever_gives_up_while_a_program_is_being_started_does_not_wait_for_its_children(
    tmp_path: Path, steps: int
) -> None:
    script = f"sleep 30 & echo $! > {tmp_path}/child.new && mv {tmp_path}/child.new {tmp_path}/child; wait"
    running = asyncio.create_task(
        credential_program.run_program(("sh", "-c", script), version="v", environment={}, interactive=False)
    )
    for _ in range(steps):
        await asyncio.sleep(0)
    # The loop stands still meanwhile, so that it is as far as those steps when the child holds the pipe, if those steps
    # have started one.
    until = time.monotonic() + 1.0
    while steps and not (tmp_path / "child").exists() and time.monotonic() < until:
        time.sleep(0.005)  # noqa: ASYNC251
    running.cancel()
    try:
        done, _ = await asyncio.wait((running,), timeout=5)
        assert done
        assert running.cancelled()
    finally:
        if (tmp_path / "child").exists():
            os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


UNNOTICED = """
import asyncio, signal, sys, threading, time
from sources.kubernetes.credential_program import run_program

def interrupt():
    time.sleep(0.5)
    # Tripped in another thread, it leaves the main one asleep, as one that comes just before its sleep does.
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=interrupt, daemon=True).start()
try:
    asyncio.run(run_program(("sleep", "60"), version="v", environment={}, interactive=False))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_that_wakes_nobody_is_noticed() -> None:
    done = subprocess.run([sys.executable, "-c", UNNOTICED], timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 130


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(NoCluster, match=r"missing leads to no cluster: there is no such file; name a kubeconfig"):
        async with open_api(ClusterAccess(kubeconfig=missing)):
            pass
    monkeypatch.setenv("KUBECONFIG", f"{missing}:{tmp_path / 'other'}")
    with pytest.raises(NoCluster, match=r"missing:.*other leads to no cluster: there is no such file"):
        async with open_api(ClusterAccess()):
            pass


async def test_a_pods_token_is_read_again_when_it_is_not_accepted(
    secure: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    for module in ("sources.kubernetes.access", "kubernetes.aio.config.incluster_config"):
        monkeypatch.setattr(f"{module}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
        monkeypatch.setattr(f"{module}.SERVICE_CERT_FILENAME", str(tmp_path / "server.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(secure.port))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    async with open_api(ClusterAccess()) as api:
        await get(api)
        secure.tokens = {"next"}
        (tmp_path / "token").write_text("next")
        with pytest.raises(Refused):
            await get(api)
        await get(api)


async def test_a_pod_may_be_told_of_another_cluster(
    server: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sources.kubernetes.access.is_in_cluster", lambda: True)
    named = kubeconfig(tmp_path, server, {"token": TOKEN}).kubeconfig
    monkeypatch.setenv("KUBECONFIG", str(named))
    async with open_api(ClusterAccess()) as api:
        await get(api)


async def test_a_certificate_that_was_replaced_is_shown(secure: FakeApiServer, tmp_path: Path) -> None:
    shown = {"client-certificate": str(tmp_path / "me.crt"), "client-key": str(tmp_path / "me.key")}

    def become(name: str) -> None:
        for suffix in ("crt", "key"):
            (tmp_path / f"me.{suffix}").write_bytes((tmp_path / f"{name}.{suffix}").read_bytes())

    become("one")
    secure.users = {"one"}
    trust = {"certificate-authority": str(tmp_path / "server.crt")}
    async with open_api(kubeconfig(tmp_path, secure, shown, **trust)) as api:
        async with asyncio.TaskGroup() as tasks:
            opened, goes_on = asyncio.Event(), asyncio.Event()
            watching = tasks.create_task(watch_until_it_breaks(api, secure.version, opened, goes_on))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await opened.wait()
            secure.users = {"two"}
            become("two")
            with pytest.raises(Refused):
                await get(api)
            await get(api)
            # A watch of the one we were before ends, as it does when a connection breaks.
            goes_on.set()
            async with asyncio.timeout(TIMEOUT_SECONDS):
                assert await watching


async def test_a_server_with_a_new_authority_is_believed_once_it_is_in_the_file(
    secure: FakeApiServer, tmp_path: Path
) -> None:
    trust = {"certificate-authority": str(tmp_path / "server.crt")}
    async with open_api(kubeconfig(tmp_path, secure, {"token": TOKEN}, **trust)) as api:
        await get(api)
        await secure.stop()
        assert secure.tls is not None
        secure.tls.load_cert_chain(*write_certificate(tmp_path, "server"))
        await secure.start()
        with pytest.raises(Unreachable):
            await get(api)
        await get(api)


async def test_a_server_is_verified_as_strictly_as_kubectl_does(
    secure: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python 3.13 does by default, and refuses the certificates of many a cluster.
    create = ssl.create_default_context

    def strict(*args: Any, **options: Any) -> ssl.SSLContext:
        context = create(*args, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    assert secure.tls is not None
    secure.tls.load_cert_chain(*write_certificate(tmp_path, "leaf", signer="server"))
    trust = {"certificate-authority": str(tmp_path / "server.crt")}
    async with open_api(kubeconfig(tmp_path, secure, {"token": TOKEN}, **trust)) as api:
        await get(api)


async def test_there_may_be_more_watches_than_a_client_has_connections_by_default(
    server: FakeApiServer, tmp_path: Path
) -> None:
    async with open_api(kubeconfig(tmp_path, server, {"token": TOKEN})) as api, AsyncExitStack() as watches:
        query = {"watch": "true", "resourceVersion": str(server.version)}
        async with asyncio.timeout(TIMEOUT_SECONDS):
            for _ in range(150):
                await watches.enter_async_context(api.stream(MAPS, query))
        await get(api)


def answer_a_watch_and_be_slow(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Of one client; its goodbye is read a moment after it was said."""
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        time.sleep(0.3)
        with suppress(OSError):
            connection.recv(65536)


async def test_no_connection_outlives_the_client(
    secure: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS one says goodbye first; also a watch that was broken off just before."""
    opened: list[socket.socket] = []
    make = api_module._kept_alive

    def remembered(address: Any) -> socket.socket:
        opened.append(make(address))
        return opened[-1]

    monkeypatch.setattr(api_module, "_kept_alive", remembered)
    trust = {"certificate-authority": str(tmp_path / "server.crt")}
    assert secure.tls is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = asyncio.create_task(asyncio.to_thread(answer_a_watch_and_be_slow, listener, secure.tls))
        access = kubeconfig(
            tmp_path, secure, {"token": TOKEN}, **trust, server=f"https://127.0.0.1:{listener.getsockname()[1]}"
        )
        async with asyncio.timeout(TIMEOUT_SECONDS), open_api(access) as api:
            async with api.stream(MAPS, {"watch": "true"}):
                pass
        assert [one.fileno() for one in opened] == [-1]
        await answering


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"token": TOKEN}, {"proxy-url": "socks5://127.0.0.1:1080"}),
        ({"token": TOKEN}, {"certificate-authority-data": "!", "server": "https://127.0.0.1"}),
        ({"token": TOKEN}, {"certificate-authority-data": "bm9uZQ==", "server": "https://127.0.0.1"}),
        ({"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="}, {"server": "https://127.0.0.1"}),
        ({"token": TOKEN}, {"server": "127.0.0.1:6443"}),
        ({"token": TOKEN}, {"server": 6443}),
        ({"exec": {"command": "true"}}, {}),
        ("someone", {}),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(
    server: FakeApiServer, tmp_path: Path, user: Any, cluster: dict[str, Any]
) -> None:
    with pytest.raises(NoCluster, match="config leads to no cluster"):
        async with open_api(kubeconfig(tmp_path, server, user, **cluster)):
            pass


@pytest.mark.parametrize("text", ["", "[]", "a: [", "clusters: 5", "contexts: [{}]", "\x00"])
async def test_what_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(NoCluster, match="config leads to no cluster"):
        async with open_api(ClusterAccess(kubeconfig=tmp_path / "config")):
            pass
