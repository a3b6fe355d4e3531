"""The command line that runs a container's process in its namespaces, as the user and with the rights of its pod."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heddle.local.enter import CONTAINER_CAPABILITIES
from heddle.local.programs import find_program

_NOBODY_ELSE: Final = ()


class CannotRun(Exception):
    """The container may not be run as its pod says; the text is the kubelet's reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a process may do. `capabilities` without `CAP_`, None for all that there are."""

    user: int = 0
    group: int = 0
    groups: tuple[int, ...] = _NOBODY_ELSE
    capabilities: tuple[str, ...] | None = CONTAINER_CAPABILITIES
    no_new_privileges: bool = False
    read_only_root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Open descriptors of this process."""

    network: int
    mounts: int
    hostname: int


def parse_rights(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Rights:
    """The rights of a container; its own security context wins over its pod's. Raises CannotRun."""
    shared = pod["spec"].get("securityContext") or {}
    own = {**shared, **{k: v for k, v in (container.get("securityContext") or {}).items() if v is not None}}
    user = own.get("runAsUser") or 0
    if own.get("runAsNonRoot") and user == 0:
        raise CannotRun("container has runAsNonRoot and image will run as root")
    groups = {*(shared.get("supplementalGroups") or ()), *((shared["fsGroup"],) if shared.get("fsGroup") else ())}
    capabilities = None if own.get("privileged") else _capabilities(own.get("capabilities") or {})
    return Rights(
        user=user,
        group=own.get("runAsGroup") or 0,
        groups=tuple(sorted(groups)),
        capabilities=capabilities,
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
    )


def command_line(where: Namespaces, rights: Rights, argv: Sequence[str], *, directory: str = "/") -> tuple[str, ...]:
    """Each program on the way replaces itself by the next, so the process is that of `argv`."""
    own = f"/proc/{os.getpid()}/fd"
    enter = (
        find_program("nsenter"),
        f"--net={own}/{where.network}",
        f"--mount={own}/{where.mounts}",
        f"--uts={own}/{where.hostname}",
        f"--wdns={directory}",
    )
    groups = f"--groups={','.join(map(str, rights.groups))}" if rights.groups else "--clear-groups"
    limits: tuple[str, ...] = ()
    if rights.capabilities is not None:
        bounding = ",".join(("-all", *(f"+{name}" for name in rights.capabilities)))
        limits = (f"--bounding-set={bounding}", "--inh-caps=-all")
    more = ("--no-new-privs",) if rights.no_new_privileges else ()
    become = (find_program("setpriv"), *limits, f"--reuid={rights.user}", f"--regid={rights.group}", groups, *more)
    return (*enter, "--", *become, "--", *argv)


def _capabilities(given: Mapping[str, Any]) -> tuple[str, ...]:
    dropped, added = ([_plain(name) for name in given.get(kind) or ()] for kind in ("drop", "add"))
    kept = [] if "all" in dropped else [name for name in CONTAINER_CAPABILITIES if name not in dropped]
    return tuple(dict.fromkeys((*kept, *added)))


def _plain(name: str) -> str:
    return name.lower().removeprefix("cap_")
