"""Manifests as `heddle inject` prints them: `golden/<case>.in.yaml` and `.out.yaml`, which `--update-golden` writes.

Long arguments stand for themselves: the script of the init container and the bootstrap are tested elsewhere, but for
what the pod itself puts into the bootstrap, which follows as documents of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from injector.capture_container import SCRIPT
from injector.kubelet_text import to_literal
from injector.manifests import inject_text
from injector.pod_templates import find_pods
from injector.settings import InjectionSettings
from injector.yaml_output import dump_yaml

DIRECTORY = Path(__file__).parent / "golden"
INPUTS = sorted(DIRECTORY.glob("*.in.yaml"))
SETTINGS = InjectionSettings()


def output_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".in.yaml", ".out.yaml"))


def injected(text: bytes) -> str:
    done = inject_text(text, file="case.yaml", settings=SETTINGS)
    assert done.text is not None, done.problems
    return done.text


def readable(text: str) -> str:
    """The same, the bootstrap's part for the application's probes as YAML at the end."""
    parts = []
    for document in yaml.safe_load_all(text):
        for place in find_pods(document, namespace="default"):
            for container in [*place.pod["spec"].get("initContainers", ()), *place.pod["spec"]["containers"]]:
                arguments = container.get("args", ())
                for number, argument in enumerate(arguments):
                    if arguments[number - 1] == "--config-yaml":
                        shown, arguments[number] = of_probes(argument), "BOOTSTRAP"
                        parts += [{"bootstrap": str(place.ref), **shown}] if shown else []
                    elif argument == to_literal(SCRIPT):
                        arguments[number] = "SCRIPT"
        parts.append(document)
    documents = [part for part in parts if "bootstrap" not in part] + [part for part in parts if "bootstrap" in part]
    return "---\n".join(map(dump_yaml, documents))


def of_probes(bootstrap: str) -> dict[str, Any]:
    static = json.loads(bootstrap)["staticResources"]
    own = {kind: [one for one in static[kind] if one["name"].startswith("app-health")] for kind in static}
    return own if own["listeners"] else {}


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name.removesuffix(".in.yaml"))
def test_output_is_as_recorded(path: Path, update_golden: bool) -> None:
    text = readable(injected(path.read_bytes()))
    if update_golden:
        output_of(path).write_text(text)
    assert output_of(path).read_text() == text


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name.removesuffix(".in.yaml"))
def test_twice_is_once(path: Path) -> None:
    once = injected(path.read_bytes())
    assert injected(once.encode()) == once
    assert injected(path.read_bytes()) == once


def test_every_output_has_an_input(update_golden: bool) -> None:
    orphans = set(DIRECTORY.glob("*.out.yaml")) - {output_of(path) for path in INPUTS}
    if update_golden:
        for orphan in orphans:
            orphan.unlink()
        orphans = set()
    assert orphans == set()
