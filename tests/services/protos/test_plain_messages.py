"""Envoy's messages are plain dataclasses in every process of ours, whatever is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = (
    "from envoy_data_plane.envoy.config.cluster.v3 import Cluster; import dataclasses, sys;"
    "print(hasattr(Cluster, '__pydantic_validator__'), dataclasses.is_dataclass(Cluster))"
)


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("first", ["translators.clusters", "sds.envoy_secrets", "xds.server", "heddle.admin", "protos"])
def test_they_are_plain_whoever_loads_them_first(first: str) -> None:
    assert run(f"import {first}; {LOOK}") == "False True"


def test_by_themselves_they_are_the_library_s() -> None:
    assert run(LOOK) == "True True"


def test_nobody_loads_pydantic_who_needs_no_message() -> None:
    assert run("import protos, sys; print('pydantic' in sys.modules)") == "False"


def test_others_classes_are_validated_as_ever() -> None:
    program = (
        "import translators.clusters, pydantic.dataclasses as p;"
        "A = p.dataclass(type('A', (), {'__annotations__': {'n': int}}));"
        "print(hasattr(A, '__pydantic_validator__'), A(n='3').n)"
    )
    assert run(program) == "True 3"
