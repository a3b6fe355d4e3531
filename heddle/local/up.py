"""`heddle local up`: start a mesh, in the foreground or detached."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Final

from heddle.admin_client import MeshUnreachable, Refused, ask
from heddle.local.down import clear_home
from heddle.local.held_child import run_in_child
from heddle.local.host_names import open_resolvers
from heddle.local.isolation import Isolation, IsolationRefused, Probe, probe, run_isolated
from heddle.local.loopback import NOT_COVERED
from heddle.local.mesh_process_file import record_own_process
from heddle.local.mesh_state import read_state
from heddle.local.progress import Progress
from heddle.local.supervisor_options import KEYS_REFUSED, SupervisorOptions
from heddle.meshes import MeshExists, MeshHome, all_homes, claim, state_root
from heddle.output import complain
from heddle.sidecar_arguments import to_unused_after

ISOLATIONS: Final = {
    "auto": None,
    "root": Isolation.ROOT,
    "user": Isolation.USER_NAMESPACE,
    "loopback": Isolation.LOOPBACK,
}
_LOOK_EVERY_SECONDS: Final = 0.02
_NAME_LENGTH: Final = 24
_CODE: Final = Path(__file__).resolve().parents[2]
_LOG: Final = "up.log"


def start_mesh(args: argparse.Namespace) -> int:
    """Runs `up`; see its help for the exit status."""
    directory: Path = args.directory.resolve()
    if not directory.exists():
        complain(f"{args.directory} does not exist: name a directory (or a file) of manifests")
        return 2
    try:
        if directory.is_relative_to(root := state_root().resolve()):
            raise ValueError(f"{directory} is within {root}, which a mesh does not see: move it, or set HEDDLE_STATE")
        unused_after = to_unused_after(args.unused_after)
        found = probe(ISOLATIONS[args.isolation])
        home, lock = claim(args.mesh or _default_name(directory))
    except (IsolationRefused, MeshExists, ValueError, OSError) as error:
        complain(str(error))
        return 2
    options = SupervisorOptions(
        mesh=home.name,
        directory=str(directory),
        certificate_seconds=args.cert_life.total_seconds() if args.cert_life else 0.0,
        sidecar_config=args.sidecar_config.value,
        unused_seconds=unused_after.total_seconds() if unused_after else 0.0,
        envoy_log_level=args.envoy_log_level,
        verbose=args.verbose,
    )
    _tell_isolation(found)
    os.environ["HEDDLE_STATE"] = str(home.path.parent)
    # The code that runs now is the code that runs inside, whatever the present directory holds.
    os.environ["PYTHONPATH"] = str(_CODE)
    if not args.detach:
        print(f"starting mesh {home.name} from {directory}; Ctrl-C ends it", flush=True)
        return _hold(found.isolation, home, lock, options)
    child = os.fork()
    if child == 0:
        status = 2
        try:
            _leave_terminal(home)
            status = _hold(found.isolation, home, lock, options)
        finally:
            os._exit(status)
    os.close(lock)
    return _follow(home, child, wait=args.wait, timeout_seconds=args.timeout)


def _hold(isolation: Isolation, home: MeshHome, lock: int, options: SupervisorOptions) -> int:
    """Holds the mesh until it ends, and clears up after it; keys that it could not use are left to a person."""
    record_own_process(home)
    status = run_in_child(lambda: _be_mesh(isolation, lock, options))
    if status != 0 and (home.path / _LOG).exists():
        (home.path / _LOG).rename(home.path.with_suffix(".failed"))
    if status != KEYS_REFUSED:
        clear_home(home)
    os.close(lock)
    return 0 if status == 0 else 2


def _be_mesh(isolation: Isolation, lock: int, options: SupervisorOptions) -> int:
    argv = (sys.executable, "-P", "-m", "heddle.local.supervisor", options.encode())
    try:
        if isolation is not Isolation.LOOPBACK:
            return run_isolated(isolation, argv, resolvers=_resolvers())
        # If this process's parent is killed, its supervisor still holds the lock while it ends.
        os.set_inheritable(lock, True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execv(argv[0], argv)
    except OSError as error:
        complain(f"the mesh could not be started: {error}")
        return 2


def _follow(home: MeshHome, child: int, *, wait: bool, timeout_seconds: float) -> int:
    """Returns when the mesh answers commands, with `wait` when its pods are ready."""
    deadline = time.monotonic() + timeout_seconds
    progress = Progress(mesh=home.name, write=lambda line: print(line, flush=True))
    while True:
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            _tell_failure(home)
            return 2
        if home.record() is not None:
            if not wait:
                print(f"mesh {home.name} runs; `heddle local status` shows its pods")
                return 0
            state = read_state(home)
            if state is not None and state.pods:
                progress.show(state)
            if state is not None and state.settled:
                return _finish(home, state.stuck, deadline)
        if time.monotonic() > deadline:
            state = read_state(home)
            for late in state.pending if state is not None else ("the control plane",):
                complain(f"after {timeout_seconds:g} s: {late}")
            return 1
        time.sleep(_LOOK_EVERY_SECONDS)


def _finish(home: MeshHome, stuck: tuple[str, ...], deadline: float) -> int:
    """Waits until every sidecar knows of every pod."""
    left = max(1.0, deadline - time.monotonic())
    try:
        answer = ask(home, "/wait", {"timeout": str(left)}, timeout=left + 5)
    except (MeshUnreachable, Refused) as error:
        complain(str(error))
        return 2
    late = answer.get("late")
    for name in late if isinstance(late, list) else ():
        complain(f"late: {name}")
    for reason in stuck:
        complain(reason)
    return 1 if stuck or late else 0


def _default_name(directory: Path) -> str:
    """The directory's own name, made fit; with a number if a mesh of another directory has it."""
    name = re.sub(r"[^a-z0-9]+", "-", directory.stem.lower())[:_NAME_LENGTH].strip("-") or "mesh"
    taken = {
        home.name
        for home in all_homes()
        if home.is_running() and (record := home.record()) and record.directory != str(directory)
    }
    number, chosen = 2, name
    while chosen in taken:
        chosen, number = f"{name}-{number}", number + 1
    return chosen


def _tell_isolation(found: Probe) -> None:
    if found.isolation is Isolation.LOOPBACK:
        why = f" ({found.reason})" if found.reason else ""
        print(f"loopback mode{why}. Not covered:")
        for line in NOT_COVERED:
            print(f"  {line}")


def _leave_terminal(home: MeshHome) -> None:
    """Becomes a process of its own, which prints to the mesh's log."""
    os.setsid()
    log = os.open(home.path / _LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _tell_failure(home: MeshHome) -> None:
    complain("the mesh did not start")
    log = home.path.with_suffix(".failed")
    if log.exists():
        sys.stderr.write(log.read_text(errors="replace"))
        log.unlink()


def _resolvers() -> tuple[int, ...]:
    try:
        return open_resolvers(Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ()
