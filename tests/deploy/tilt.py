"""Executes a Tiltfile with Tilt's functions recorded, their arguments as Tilt documents them (docs.tilt.dev/api.html).

`local` runs its command; nothing else does anything. What Tilt itself would refuse of a configuration is checked by
`Recorded.check`: names that are taken, resources that wait for nobody, selectors that find no object or two.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import starlark
import yaml

CONTEXT: Final = "kind-test"
_TRIGGERS: Final = ("TRIGGER_MODE_AUTO", "TRIGGER_MODE_MANUAL")

# Starlark has no way to hand over something with fields, but can make it of what it is handed.
_PRELUDE: Final = """
TRIGGER_MODE_AUTO = "TRIGGER_MODE_AUTO"
TRIGGER_MODE_MANUAL = "TRIGGER_MODE_MANUAL"
os = struct(getcwd=_getcwd, getenv=_getenv, path=struct(abspath=_abspath, join=_join, exists=_exists))
config = struct(
    define_bool=_define_bool,
    define_string=_define_string,
    define_string_list=_define_string_list,
    parse=_parse,
    set_enabled_resources=_set_enabled_resources,
)
"""


class TiltfileError(AssertionError):
    """What Tilt would refuse."""


@dataclass
class Resource:
    """A resource in the UI. `command` is what it runs, `serve` what it keeps running."""

    name: str
    command: Any = ""
    serve: Any = ""
    waits_for: tuple[str, ...] = ()
    manual: bool = False
    objects: tuple[str, ...] = ()
    port_forwards: tuple[str, ...] = ()


@dataclass
class Recorded:
    """What a Tiltfile asked for."""

    arguments: Sequence[str] = ()
    resources: dict[str, Resource] = field(default_factory=dict)
    configured: dict[str, Resource] = field(default_factory=dict)
    objects: list[dict[str, Any]] = field(default_factory=list)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    ran: list[Any] = field(default_factory=list)
    defined: dict[str, str] = field(default_factory=dict)

    def workloads(self) -> set[str]:
        return {
            item["metadata"]["name"]
            for item in self.objects
            if item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod")
        }

    def check(self) -> None:
        """Raises TiltfileError for what Tilt refuses once a Tiltfile is read."""
        selectors = Counter(selector for item in self.objects for selector in _selectors(item))
        names = set(self.resources) | self.workloads() | {name for name, one in self.configured.items() if one.objects}
        for name, one in self.configured.items():
            if name not in self.workloads() and not one.objects:
                raise TiltfileError(f"k8s_resource({name!r}): there is no such workload")
            for selector in one.objects:
                if selectors[selector.lower()] != 1:
                    raise TiltfileError(f"{name}: {selector} selects {selectors[selector.lower()]} objects")
        claimed = Counter(selector for one in self.configured.values() for selector in one.objects)
        if twice := [selector for selector, times in claimed.items() if times > 1]:
            raise TiltfileError(f"in two resources: {twice}")
        for one in (*self.resources.values(), *self.configured.values()):
            if missing := set(one.waits_for) - names:
                raise TiltfileError(f"{one.name} waits for {missing}")
        used = {container["image"] for item in self.objects for container in _containers(item)}
        for image in self.images:
            if not any(name == image or name.startswith(f"{image}:") for name in used):
                raise TiltfileError(f"nothing runs the image {image}")


def run_tiltfile(file: Path, *arguments: str) -> Recorded:
    """`tilt up -- ARGUMENTS`. Raises TiltfileError and what Starlark raises."""
    recorded = Recorded(arguments=arguments)
    _Interpreter(recorded).run(file)
    recorded.check()
    return recorded


class _Interpreter:
    """`folder` is that of the Tiltfile that is being read: relative paths are relative to it."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._folder = Path()
        self._loaded: dict[Path, starlark.FrozenModule] = {}
        self._globals = starlark.Globals.extended_by(
            [starlark.LibraryExtension.StructType, starlark.LibraryExtension.Print]
        )

    def run(self, file: Path) -> starlark.Module:
        before, self._folder = self._folder, file.parent.resolve()
        module = starlark.Module()
        for name, function in self._functions().items():
            module.add_callable(name, function)
        dialect = starlark.Dialect.extended()
        starlark.eval(module, starlark.parse("prelude", _PRELUDE, dialect), self._globals)
        tree = starlark.parse(str(file), file.read_text(), dialect)
        try:
            starlark.eval(module, tree, self._globals, starlark.FileLoader(self._load))
        finally:
            self._folder = before
        return module

    def _load(self, path: str) -> starlark.FrozenModule:
        if path.startswith("ext://"):
            raise TiltfileError(f"{path} is fetched from elsewhere")
        file = (self._folder / path).resolve()
        if file not in self._loaded:
            self._loaded[file] = self.run(file).freeze()
        return self._loaded[file]

    def _place(self, path: str) -> Path:
        return (self._folder / path).resolve()

    def _functions(self) -> dict[str, Callable[..., Any]]:
        recorded = self._recorded

        def docker_build(
            ref: str,
            context: str,
            build_args: dict[str, str] = {},  # noqa: B006 - as documented
            dockerfile: str = "Dockerfile",
            dockerfile_contents: str = "",
            live_update: list[Any] = [],  # noqa: B006
            match_in_env_vars: bool = False,
            ignore: Any = (),
            only: Any = (),
            entrypoint: Any = (),
            target: str = "",
            ssh: Any = "",
            network: str = "",
            secret: Any = "",
            extra_tag: Any = "",
            container_args: list[str] | None = None,
            cache_from: Any = (),
            pull: bool = False,
            platform: str = "",
        ) -> None:
            root = self._place(context)
            if dockerfile_contents and dockerfile != "Dockerfile":
                raise TiltfileError("both dockerfile and dockerfile_contents")
            if not dockerfile_contents and not self._place(dockerfile).is_file():
                raise TiltfileError(f"there is no {dockerfile}")
            for name in only:
                if not (root / name).exists() or "*" in name:
                    raise TiltfileError(f"only takes paths that exist, not {name}")
            self._check_live_update(live_update)
            recorded.images[ref] = {"context": str(root), "live_update": live_update, "only": list(only)}

        def k8s_yaml(yaml: Any, allow_duplicates: bool = False) -> None:
            texts = [yaml] if isinstance(yaml, str) else yaml
            for text in texts:
                recorded.objects += _parse_stream(text if "\n" in text else self._place(text).read_text())
            keys = Counter((item["kind"], _namespace(item), item["metadata"]["name"]) for item in recorded.objects)
            if not allow_duplicates and keys and max(keys.values()) > 1:
                raise TiltfileError(f"twice in k8s_yaml: {keys.most_common(1)}")

        def k8s_resource(
            workload: str = "",
            new_name: str = "",
            port_forwards: Any = (),
            extra_pod_selectors: Any = (),
            trigger_mode: str = "TRIGGER_MODE_AUTO",
            resource_deps: Sequence[str] = (),
            objects: Sequence[str] = (),
            auto_init: bool = True,
            pod_readiness: str = "",
            links: Any = (),
            labels: Any = (),
            discovery_strategy: str = "",
        ) -> None:
            if not workload and not (objects and new_name):
                raise TiltfileError("k8s_resource needs a workload, or objects and new_name")
            assert trigger_mode in _TRIGGERS
            forwards = [port_forwards] if isinstance(port_forwards, str | int) else port_forwards
            name = new_name or workload
            recorded.configured[name] = Resource(
                name=name,
                waits_for=tuple(resource_deps),
                objects=tuple(objects),
                port_forwards=tuple(map(str, forwards)),
            )

        def local_resource(
            name: str,
            cmd: Any = "",
            deps: Any = None,
            trigger_mode: str = "TRIGGER_MODE_AUTO",
            resource_deps: Sequence[str] = (),
            ignore: Any = (),
            auto_init: bool = True,
            serve_cmd: Any = "",
            cmd_bat: Any = "",
            serve_cmd_bat: Any = "",
            allow_parallel: bool = False,
            links: Any = (),
            tags: Any = (),
            env: dict[str, str] = {},  # noqa: B006
            serve_env: dict[str, str] = {},  # noqa: B006
            readiness_probe: Any = None,
            dir: str = "",  # noqa: A002
            serve_dir: str = "",
            labels: Any = (),
        ) -> None:
            if name in recorded.resources:
                raise TiltfileError(f"{name} is taken")
            if not cmd and not serve_cmd:
                raise TiltfileError(f"{name} runs nothing")
            for path in deps or ():
                if not self._place(path).exists():
                    raise TiltfileError(f"{name} depends on {path}, which is not there")
            assert trigger_mode in _TRIGGERS
            recorded.resources[name] = Resource(
                name=name,
                command=cmd,
                serve=serve_cmd,
                waits_for=tuple(resource_deps),
                manual=trigger_mode == "TRIGGER_MODE_MANUAL",
            )

        def local(
            command: Any,
            quiet: bool = False,
            command_bat: Any = "",
            echo_off: bool = False,
            env: dict[str, str] = {},  # noqa: B006
            dir: str = "",  # noqa: A002
            stdin: str | None = None,
        ) -> str:
            words = ["sh", "-c", command] if isinstance(command, str) else list(command)
            recorded.ran.append(words)
            done = subprocess.run(
                words,
                cwd=dir or self._folder,
                env={**os.environ, **env},
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if done.returncode != 0:
                raise TiltfileError(f"{words}: {done.returncode}\n{done.stderr}")
            return done.stdout

        def watch_file(file_path: str) -> None:
            recorded.watched.add(str(self._place(file_path)))

        def read_yaml_stream(path: str, default: Any = None) -> list[Any]:
            watch_file(path)
            return _parse_stream(self._place(path).read_text())

        def include(path: str) -> None:
            self.run(self._place(path))

        def define(kind: str) -> Callable[..., None]:
            def define_one(name: str, args: bool = False, usage: str = "") -> None:
                recorded.defined[name] = f"{kind}{' args' if args else ''}"

            return define_one

        def parse() -> dict[str, Any]:
            return _parse_arguments(recorded.arguments, recorded.defined)

        def probe(
            initial_delay_secs: int = 0,
            timeout_secs: int = 1,
            period_secs: int = 10,
            success_threshold: int = 1,
            failure_threshold: int = 3,
            exec: Any = None,  # noqa: A002
            http_get: Any = None,
            tcp_socket: Any = None,
        ) -> dict[str, Any]:
            if sum(one is not None for one in (exec, http_get, tcp_socket)) != 1:
                raise TiltfileError("a probe has one action")
            return {"action": exec or http_get or tcp_socket}

        return {
            "docker_build": docker_build,
            "k8s_yaml": k8s_yaml,
            "k8s_resource": k8s_resource,
            "local_resource": local_resource,
            "local": local,
            "watch_file": watch_file,
            "include": include,
            "probe": probe,
            "read_yaml_stream": read_yaml_stream,
            "exec_action": lambda command: {"exec": command},
            "sync": lambda local_path, remote_path: {"step": "sync", "local": local_path, "remote": remote_path},
            "run": lambda cmd, trigger=(): {"step": "run", "cmd": cmd},
            "fall_back_on": lambda files: {"step": "fall_back_on", "files": files},
            "k8s_context": lambda: CONTEXT,
            "decode_yaml_stream": lambda yaml: _parse_stream(yaml),
            "encode_yaml_stream": lambda objs: yaml.safe_dump_all(objs),
            "encode_json": lambda obj: json.dumps(obj),
            "set_enabled_resources": lambda resources: None,
            "_getcwd": lambda: str(self._folder),
            "_getenv": lambda key, default=None: os.environ.get(key, default),
            "_abspath": lambda path: str(self._place(path)),
            "_join": os.path.join,
            "_exists": lambda path: self._place(path).exists(),
            "_define_bool": define("bool"),
            "_define_string": define("string"),
            "_define_string_list": define("list"),
            "_parse": parse,
            "_set_enabled_resources": lambda resources: None,
        }

    def _check_live_update(self, steps: Sequence[dict[str, Any]]) -> None:
        """initial_sync?, fall_back_on*, sync*, run*: in this order; what is synced is there, and where is absolute."""
        order = [("fall_back_on", "sync", "run").index(step["step"]) for step in steps]
        if order != sorted(order):
            raise TiltfileError("live_update: first fall_back_on, then sync, then run")
        for step in steps:
            if step["step"] == "sync" and not (self._place(step["local"]).exists() and step["remote"].startswith("/")):
                raise TiltfileError(f"{step} syncs nothing, or to nowhere")
            if step["step"] == "fall_back_on" and not all(self._place(file).exists() for file in step["files"]):
                raise TiltfileError(f"{step} names what is not there")


def _parse_stream(text: str) -> list[Any]:
    return [item for item in yaml.safe_load_all(text) if item is not None]


def _namespace(item: dict[str, Any]) -> str:
    return str(item["metadata"].get("namespace", "default"))


def _selectors(item: dict[str, Any]) -> list[str]:
    name, kind = item["metadata"]["name"], item["kind"].lower()
    return [name, f"{name}:{kind}", f"{name}:{kind}:{_namespace(item)}"]


def _containers(item: dict[str, Any]) -> list[dict[str, Any]]:
    spec = item.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or (spec if item["kind"] == "Pod" else {})
    return [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]


def _parse_arguments(arguments: Sequence[str], defined: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and defined.get(name, "").startswith("bool"):
            found[name] = value != "false" if equals else True
        elif argument.startswith("--"):
            raise TiltfileError(f"{argument}: no such flag")
        else:
            (positional,) = (key for key, kind in defined.items() if kind == "list args")
            found.setdefault(positional, []).append(argument)
    return found
