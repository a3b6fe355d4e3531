from __future__ import annotations

import random
import re
from dataclasses import replace
from types import MappingProxyType

from heddle.local.pod_names import ordinal_name, replica_name, revision_of
from model.pods import Container, EnvVar, FieldPath, Literal, PodTemplate

TEMPLATE = PodTemplate(
    labels=MappingProxyType({"a": "1", "b": "2"}), containers=(Container(name="app", command=("true",)),)
)


def test_a_name_is_shaped_as_kubernetes_makes_it() -> None:
    name = replica_name("users-v1", revision_of(TEMPLATE), chance=random.Random(1))
    assert re.fullmatch(r"users-v1-[bcdf-hj-np-tv-xz2456789]{10}-[bcdf-hj-np-tv-xz2456789]{5}", name)
    assert name == replica_name("users-v1", revision_of(TEMPLATE), chance=random.Random(1))
    assert ordinal_name("web", 0) == "web-0"


def test_a_long_name_is_a_host_name_still() -> None:
    assert len(replica_name("x" * 80, revision_of(TEMPLATE), chance=random.Random(1))) == 63


def test_the_revision_is_of_the_content() -> None:
    reordered = replace(TEMPLATE, labels={"b": "2", "a": "1"})
    assert revision_of(reordered) == revision_of(TEMPLATE)
    assert revision_of(replace(TEMPLATE, labels={"a": "1"})) != revision_of(TEMPLATE)


def test_the_revision_tells_alternatives_apart() -> None:
    literal = EnvVar(name="X", value=Literal(value="metadata.name"))
    assert revision_of(literal) != revision_of(EnvVar(name="X", value=FieldPath(path="metadata.name")))
