"""Manifests in, Envoy's messages out: the translators as a user sees them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.envoy_validation import refusals
from tests.golden.cases import cases_in, outcome_of, read_case, run_case

DIRECTORY = Path(__file__).parent
INPUTS = cases_in(DIRECTORY)
SHUFFLES = 2


def output_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".in.yaml", ".out.yaml"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name.removesuffix('.in.yaml')}")
def test_output_is_as_recorded(path: Path, update_golden: bool) -> None:
    text = outcome_of(path).text
    output = output_of(path)
    if update_golden:
        output.write_text(text)
    assert output.read_text() == text


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name.removesuffix('.in.yaml')}")
def test_order_of_the_manifests_does_not_matter(path: Path) -> None:
    case = read_case(path)
    text = outcome_of(path).text
    for seed in range(SHUFFLES):
        assert run_case(case, shuffle=random.Random(seed)).text == text


def test_every_output_has_an_input(update_golden: bool) -> None:
    orphans = set(DIRECTORY.glob("*/*.out.yaml")) - {output_of(path) for path in INPUTS}
    if update_golden:
        for orphan in orphans:
            orphan.unlink()
        orphans = set()
    assert orphans == set()


def test_envoy_takes_every_output() -> None:
    assert refusals({read_case(path).name: outcome_of(path).resources for path in INPUTS}) == {}
