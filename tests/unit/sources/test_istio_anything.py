"""Whatever stands in an Istio object: parsing answers, and what comes into force can be printed and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from heddle.analyze import analyze
from sources.manifests import parse_documents
from sources.registry import KINDS

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

CORPUS = Path(__file__).parents[2] / "analyze"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ISTIO = sorted((kind.kind, f"{kind.group}/{kind.versions[0]}") for kind in KINDS.values() if "istio" in kind.group)


def names_in(value: object) -> Iterator[str]:
    """Every key in a value, at any depth."""
    if isinstance(value, dict):
        yield from map(str, value)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from names_in(inner)


MANIFESTS = [each for path in sorted(CORPUS.glob("*/*.yaml")) for each in yaml.load_all(path.read_text(), _LOADER)]
NAMES = sorted({name for each in MANIFESTS for name in names_in(each) if len(name) < 40})

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["*", "a.b", "1s", "0s", "GET", "/a", "/{*}", "ALLOW", "STRICT", "mesh", "%", "(", "10.0.0.0/33"])
)
values: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)


def parse(objects: list[Json]) -> None:
    text = "\n---\n".join(json.dumps(each) for each in objects).encode()
    parsed = parse_documents("any.yaml", text)
    assert parsed.readable
    for entry in parsed.objects:
        assert repr(entry.value)
        assert entry.value == entry.value
        assert not [
            problem for problem in parsed.problems if problem.object == entry.ref and problem.severity == "error"
        ]
    for problem in parsed.problems:
        assert problem.position is not None
        assert 1 <= problem.position.line <= text.count(b"\n") + 1
        assert problem.fix


def valid_objects() -> Iterator[dict[str, Json]]:
    """The Istio objects of the corpus that come into force."""
    for path in sorted(CORPUS.glob("together/*.yaml")):
        for each in yaml.load_all(path.read_text(), _LOADER):
            if "istio" in each["apiVersion"]:
                yield each


VALID = list(valid_objects())


@pytest.mark.parametrize(("kind", "version"), ISTIO)
@given(spec=values)
def test_any_spec_is_answered(kind: str, version: str, spec: Json) -> None:
    parse([{"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec}])


@given(st.data())
def test_a_right_object_with_one_part_replaced_is_answered(data: st.DataObject) -> None:
    mutated = json.loads(json.dumps(data.draw(st.sampled_from(VALID))))
    node = mutated["spec"]
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], (dict, list)) or data.draw(st.booleans()):
            node[key] = data.draw(values)
            break
        node = node[key]
    parse([mutated])


@given(st.lists(st.sampled_from(VALID), min_size=1, max_size=6), values)
def test_checks_between_objects_answer_whatever_is_there(objects: list[dict[str, Json]], extra: Json) -> None:
    text = "\n---\n".join(json.dumps(each) for each in (*objects, extra)).encode()
    for problem in analyze({"a.yaml": text, "mesh.yaml": (CORPUS / "mesh.yaml").read_bytes()}):
        assert problem.fix


HEAD = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}}


def test_the_regexes_of_one_object_have_a_budget() -> None:
    """Without one, 1 MiB of hostile expressions would keep the control plane compiling for minutes."""
    routes = [
        {"match": [{"uri": {"regex": rf"(\pL{{1,{size}}})"}}], "redirect": {"uri": "/"}} for size in range(27, 427)
    ]
    spec = {"hosts": ["a"], "http": routes}
    text = json.dumps({**HEAD, "spec": spec})
    codes = [str(problem.code) for problem in parse_documents("a.yaml", text.encode()).problems]
    assert codes.count("TooLarge") == 1
    assert 10 < codes.count("InvalidRegex") < 20


def test_of_many_unknown_fields_only_some_are_named() -> None:
    spec: dict[str, int | list[str]] = {"hosts": ["a"], **{f"field{number}": 1 for number in range(1000)}}
    text = json.dumps({**HEAD, "spec": spec})
    problems = [p for p in parse_documents("a.yaml", text.encode()).problems if p.code == "UnknownField"]
    assert len(problems) == 100
    assert problems[-1].message.endswith("and 900 more like it")
