"""`heddle certificates` against a whole control plane: what it writes, and what it says when it is given nothing."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from heddle.control_plane import ControlPlane, PlaneSettings
from model.pods import Pod
from sds.certificate_policy import CertificatePolicy

MESH = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: web}
spec: {serviceAccountName: web, containers: [{name: web, image: web}]}
status: {podIP: 127.0.0.4}
"""


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "mesh.yaml").write_text(MESH)
    settings = PlaneSettings(
        directory=tmp_path / "manifests",
        keys=tmp_path / "keys",
        host="127.0.0.1",
        certificates=CertificatePolicy(life=timedelta(seconds=10)),
    )
    plane = ControlPlane(settings)
    async with plane.running():
        (tmp_path / "roots.pem").write_bytes(plane.trust_bundle)
        (tmp_path / "token").write_text(plane.mint_token(the_pod(plane)))
        yield plane


def the_pod(plane: ControlPlane) -> Pod:
    return plane.store.mesh.pods["shop", "web"]


async def start(plane: ControlPlane, directory: Path, *more: str) -> asyncio.subprocess.Process:
    host, port = plane.xds_address
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "heddle.main", "certificates", "--server", f"{host}:{port}",
        "--roots", str(directory / "roots.pem"), "--token", str(directory / "token"), "--out", str(directory / "out"),
        *more, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def run(plane: ControlPlane, directory: Path, *more: str) -> tuple[int | None, str]:
    process = await start(plane, directory, *more)
    async with asyncio.timeout(60):
        _, complaints = await process.communicate()
    return process.returncode, complaints.decode()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not met():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.02)


async def replace_pod(plane: ControlPlane, directory: Path) -> None:
    """Another of the same name, for which the token is not."""
    (directory / "manifests" / "mesh.yaml").write_text(MESH.replace("uid: web", "uid: another"))
    await until(lambda: the_pod(plane).uid == "another")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_once_they_are_there_for_their_owner_alone(plane: ControlPlane, tmp_path: Path) -> None:
    assert await run(plane, tmp_path, "--once") == (0, "")
    current = tmp_path / "out" / "current"
    assert sorted(path.name for path in current.iterdir()) == ["chain.pem", "key.pem", "roots.pem"]
    assert (mode_of(current), mode_of(current / "key.pem")) == (0o700, 0o600)
    leaf, _ = x509.load_pem_x509_certificates((current / "chain.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/ns/shop/sa/web"]
    key = load_pem_private_key((current / "key.pem").read_bytes(), None)
    assert key.public_key() == leaf.public_key()
    assert (current / "roots.pem").read_bytes() == plane.trust_bundle


async def test_the_next_ones_take_the_place_of_all_files_at_once(plane: ControlPlane, tmp_path: Path) -> None:
    process = await start(plane, tmp_path)
    current = tmp_path / "out" / "current"
    await until(current.exists)
    chains: set[bytes] = set()

    def three_were_there() -> bool:
        chains.add((current / "chain.pem").read_bytes())
        return len(chains) == 3

    await until(three_were_there)
    process.terminate()
    assert await process.wait() == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


async def test_a_stream_that_ends_is_followed_by_another(plane: ControlPlane, tmp_path: Path) -> None:
    """It ends with the pod that it was opened for, and the next one shows the token that is there by then."""
    process = await start(plane, tmp_path)
    chain = tmp_path / "out" / "current" / "chain.pem"
    await until(chain.exists)
    await replace_pod(plane, tmp_path)
    await until(lambda: not plane.streams.state())
    first = chain.read_bytes()
    (tmp_path / "token").write_text(plane.mint_token(the_pod(plane)))
    await until(lambda: chain.read_bytes() != first)
    process.terminate()
    assert await process.wait() == 0


async def test_what_cannot_be_is_said(plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("no token")
    status, said = await run(plane, tmp_path)
    assert (status, said.count("\n")) == (2, 1)
    assert "holds no token of a pod for Heddle" in said
    (tmp_path / "token").unlink()
    status, said = await run(plane, tmp_path)
    assert status == 2
    assert said.startswith(f"heddle: {tmp_path / 'token'}: no such file or directory; is it there")


async def test_a_place_that_cannot_be_written_ends_it(plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "out" / "current").mkdir(parents=True)
    status, said = await run(plane, tmp_path)
    assert status == 2
    assert said.startswith(f"heddle: {tmp_path / 'out'}")
    assert not list((tmp_path / "out").glob(".certificates-*"))


async def test_a_refusal_is_said_when_the_time_is_up(plane: ControlPlane, tmp_path: Path) -> None:
    await replace_pod(plane, tmp_path)
    status, said = await run(plane, tmp_path, "--once", "--timeout", "3s")
    assert status == 2
    assert "heddle: no certificate within 3 s: UNAUTHENTICATED: the token was not accepted" in said
    assert not (tmp_path / "out").exists()
